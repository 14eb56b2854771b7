// Package kube runs a real Kubernetes control plane for tests, on loopback: etcd
// and kube-apiserver, and where wanted controller-manager, scheduler and nodes
// that kwok plays.
//
// The programs are built from Go modules at pinned versions (modules/), once, into
// the lab's cache. What an API server accepts, refuses and defaults is then the
// true one; what needs a kubelet, like logs of a container, is not here.
package kube
