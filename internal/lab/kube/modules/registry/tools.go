//go:build tools

// Package registry pins the registry of the distribution project.
package registry

import _ "github.com/distribution/distribution/v3/cmd/registry"
