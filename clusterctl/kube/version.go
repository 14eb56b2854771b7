package kube

import (
	"context"
	"encoding/json"
	"fmt"
)

// Version is the API server's own: "v1.37.2".
func (c *Client) Version(ctx context.Context) (string, error) {
	data, err := c.raw.Get().AbsPath("/version").DoRaw(ctx)
	if err != nil {
		return "", wrap(err, "ask for the version of the API server")
	}
	var v struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return "", fmt.Errorf("read the version of the API server: %w", err)
	}
	return v.GitVersion, nil
}
