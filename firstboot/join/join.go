// Package join is how cards become nodes: node0's join service and its client.
//
// A card proves itself by the certificate that was made for it on the desk. At
// first contact the Pi makes a device key and the service binds card, key and
// hardware to each other; the card's own key is spent then. What a card becomes
// stands in the signed inventory and nowhere in a request. For a card that may
// join the service makes a bootstrap token, valid for minutes, with which one
// certificate is approved: that of the card's own node.
//
// Whatever is answered is on the disk before. So every call can be repeated: an
// answer that was lost, a power cut at either end or a restart cost a repetition
// and nothing else.
//
// The package knows Kubernetes by the interface Cluster; package kube below it
// speaks to a real one. How a Pi is configured is package steps.
package join

import (
	"fmt"
	"time"

	"picluster/internal/joinapi"
)

// Sizes and times of the protocol.
const (
	maxBody  = 16 << 10 // bytes of a request
	maxEvent = 4 << 10  // bytes of an event

	tokenLife      = 15 * time.Minute
	tokensPerDay   = 5
	deviceLife     = 365 * 24 * time.Hour
	backdate       = 7 * 24 * time.Hour // for a Pi whose clock is behind
	pendingSeconds = 10                 // between two questions of a card that waits
)

func refuse(reason joinapi.Reason, format string, args ...any) *joinapi.Refusal {
	return &joinapi.Refusal{Reason: reason, Text: fmt.Sprintf(format, args...)}
}
