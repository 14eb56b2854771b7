package kube

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Unreachable is why the API server gave no answer: it may, later.
type Unreachable struct{ Err error }

func (e *Unreachable) Error() string { return "reach the API server: " + e.Err.Error() }
func (e *Unreachable) Unwrap() error { return e.Err }

// UntrustedError says that who answers is not who the kubeconfig means.
type UntrustedError struct{ Err error }

func (e *UntrustedError) Error() string {
	return "trust the API server: " + strings.TrimPrefix(e.Err.Error(), "tls: failed to verify certificate: ")
}
func (e *UntrustedError) Unwrap() error { return e.Err }

// wrap says what was tried, unless nobody was there to try it on.
func wrap(err error, format string, args ...any) error {
	var call *url.Error
	var dial *net.OpError
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(err, &untrusted):
		return &UntrustedError{untrusted}
	case errors.As(err, &dial) && dial.Addr != nil:
		return &Unreachable{fmt.Errorf("%s %v: %w", dial.Op, dial.Addr, dial.Err)}
	case errors.As(err, &call):
		return &Unreachable{call.Err}
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}

// immutable reports whether the API server refuses a change because the field is
// one that can never change. There is no reason code for it, only words: those of
// FieldImmutableErrorMsg (k8s.io/apimachinery/pkg/api/validation), or, of
// StorageClass and StatefulSet, "updates to … are forbidden".
func immutable(err error) bool {
	return apierrors.IsInvalid(err) && (strings.Contains(err.Error(), "immutable") || strings.Contains(err.Error(), "Forbidden: updates to"))
}
