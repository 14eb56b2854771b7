package kube

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"picluster/internal/secret"
)

// Token opens the API server, as its service account, until it ends.
type Token struct {
	Value   secret.Text
	Expires time.Time
}

func tokenOf(o *Object) (Token, error) {
	value, _, _ := unstructured.NestedString(o.Object, "status", "token")
	ends, _, _ := unstructured.NestedString(o.Object, "status", "expirationTimestamp")
	if value == "" {
		return Token{}, errors.New("read token: the API server's answer has none")
	}
	expires, err := time.Parse(time.RFC3339, ends)
	if err != nil {
		return Token{}, fmt.Errorf("read token's end: %w", err)
	}
	return Token{secret.New(value), expires}, nil
}
