package kube

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
)

// Kubeconfig issues a client certificate and returns the path of a kubeconfig with
// it. The first call for a user decides its groups.
func (c *ControlPlane) Kubeconfig(user string, groups ...string) string {
	c.t.Helper()
	name := strings.ReplaceAll(user, ":", "-")
	path := filepath.Join(c.Dir, name+".conf")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if err := c.pki.client(name, user, groups...); err != nil {
		c.t.Fatal(err)
	}
	return c.CertificateKubeconfig(name, c.pki.path(name+".crt"), c.pki.path(name+".key"))
}

// CertificateKubeconfig returns the path of a kubeconfig with a client certificate
// and its key, which are in files.
func (c *ControlPlane) CertificateKubeconfig(name, certificate, key string) string {
	c.t.Helper()
	return c.writeKubeconfig(filepath.Join(c.Dir, name+".conf"), map[string]string{"client-certificate": certificate, "client-key": key})
}

// TokenKubeconfig returns the path of a kubeconfig with a bearer token.
func (c *ControlPlane) TokenKubeconfig(name, token string) string {
	c.t.Helper()
	return c.writeKubeconfig(filepath.Join(c.Dir, name+".conf"), map[string]string{"token": token})
}

// writeKubeconfig writes JSON, which is YAML too.
func (c *ControlPlane) writeKubeconfig(path string, user map[string]string) string {
	c.t.Helper()
	type named map[string]any
	data, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "lab",
		"clusters": []named{{"name": "lab", "cluster": named{"server": c.URL, "certificate-authority": c.CAFile()}}},
		"users":    []named{{"name": "lab", "user": user}},
		"contexts": []named{{"name": "lab", "context": named{"cluster": "lab", "user": "lab"}}},
	})
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return path
}
