package bundle

import (
	"errors"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// RegistryError says that a registry was not reached or did not give what it should.
type RegistryError struct {
	Missing bool // it has no such image, or none for the architecture
	Err     error
}

func (e *RegistryError) Error() string {
	if e.Missing {
		return "the registry does not have it"
	}
	return e.Err.Error()
}

func (e *RegistryError) Unwrap() error { return e.Err }

func registryError(err error) error {
	answer := (*transport.Error)(nil)
	return &RegistryError{Missing: errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound, Err: err}
}
