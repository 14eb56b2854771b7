package kube

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Kubeconfig says where a kubeconfig may be. The first that is there counts.
type Kubeconfig struct {
	Named   string // a person has named this one: no other is looked for
	Env     string // of KUBECONFIG: a list of files, merged
	Project string // the one that belongs to cluster.yaml
	Home    string // ~/.kube/config

	// Context is the one to use where a file has it; otherwise the file's current
	// one.
	Context string
}

// ErrNoKubeconfig is Load's where there is none.
var ErrNoKubeconfig = errors.New("find kubeconfig: there is none")

// ExpiredError says that the kubeconfig's own certificate has ended.
type ExpiredError struct {
	File string
	At   time.Time
}

func (e *ExpiredError) Error() string {
	return fmt.Sprintf("read %s: its certificate ended on %s", e.File, e.At.UTC().Format("2006-01-02"))
}

// Load reads the kubeconfig and returns where it was.
func (k Kubeconfig) Load() (config *rest.Config, file string, err error) {
	files, err := k.files()
	if err != nil {
		return nil, "", err
	}
	file = files[0]
	for _, f := range files { // Load's own message says it twice
		if _, err := clientcmd.LoadFromFile(f); err != nil {
			return nil, "", fmt.Errorf("read kubeconfig %s: %w", f, err)
		}
	}
	raw, err := (&clientcmd.ClientConfigLoadingRules{Precedence: files}).Load()
	if err != nil {
		return nil, "", fmt.Errorf("read kubeconfig %s: %w", file, err)
	}
	var overrides clientcmd.ConfigOverrides
	if _, ok := raw.Contexts[k.Context]; ok {
		overrides.CurrentContext = k.Context
	}
	config, err = clientcmd.NewDefaultClientConfig(*raw, &overrides).ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("read kubeconfig %s: %w", file, err)
	}
	return config, file, expired(config, file)
}

// files are those that count, at least one.
func (k Kubeconfig) files() ([]string, error) {
	if k.Named != "" {
		if _, err := os.Stat(k.Named); err != nil {
			return nil, fmt.Errorf("read kubeconfig: %w", err)
		}
		return []string{k.Named}, nil
	}
	for _, list := range [][]string{filepath.SplitList(k.Env), {k.Project}, {k.Home}} {
		var there []string
		for _, file := range list {
			if _, err := os.Stat(file); err == nil {
				there = append(there, file)
			} else if file != "" && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("read kubeconfig: %w", err)
			}
		}
		if len(there) > 0 {
			return there, nil
		}
	}
	return nil, ErrNoKubeconfig
}

// expired looks at the client's certificate before the API server does: it says
// "Unauthorized" and no more.
func expired(config *rest.Config, file string) error {
	data := config.CertData
	if len(data) == 0 && config.CertFile != "" {
		var err error
		if data, err = os.ReadFile(config.CertFile); err != nil {
			return fmt.Errorf("read kubeconfig %s: %w", file, err)
		}
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil // a token, or a program that makes one
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("read kubeconfig %s: its certificate: %w", file, err)
	}
	if time.Now().After(certificate.NotAfter) {
		return &ExpiredError{file, certificate.NotAfter}
	}
	return nil
}
