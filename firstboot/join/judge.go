package join

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"slices"
	"strings"

	"picluster/internal/joinapi"
)

// CSR is a kubelet's request for a certificate, as Kubernetes has it.
type CSR struct {
	Name     string
	Signer   string
	Username string // who asks; the API server has authenticated it
	Groups   []string
	Usages   []string
	Request  []byte // PEM
}

// Signers of kubelets.
const (
	ClientSigner  = "kubernetes.io/kube-apiserver-client-kubelet"
	ServingSigner = "kubernetes.io/kubelet-serving"
)

// TokenGroup is what the service's bootstrap tokens are in, and nothing else: its
// members may ask for a certificate. That it is given is decided by Judge.
const TokenGroup = "system:bootstrappers:picluster"

const (
	bootstrapUser = "system:bootstrap:"
	nodeUser      = "system:node:"
	nodesGroup    = "system:nodes"
)

var usages = map[string][]string{
	ClientSigner:  {"digital signature", "key encipherment", "client auth"},
	ServingSigner: {"digital signature", "key encipherment", "server auth"},
}

// Judge decides on a kubelet's request: nil to approve it, a *Refusal to deny it
// for good, another error to look at it again later. An approval is on the disk
// before it is given.
//
// A bootstrap token says only "may join", so without this whoever has one could
// become any node, the control plane too. Here a token is worth one certificate of
// the one node that it was made for.
func (s *Service) Judge(q CSR) error {
	request, err := parseRequest(q)
	if err != nil {
		return s.deny(q, nil, refuse(joinapi.BadRequest, "%v", err))
	}
	if q.Signer == ServingSigner {
		return s.judgeServing(q, request)
	}
	if refusal := noNames(request); refusal != nil {
		return s.deny(q, nil, refusal)
	}
	if id, ok := strings.CutPrefix(q.Username, bootstrapUser); ok {
		return s.judgeFirst(q, request, id)
	}
	return s.judgeNode(q, request)
}

func parseRequest(q CSR) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode(q.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(rest) > 0 {
		return nil, fmt.Errorf("the request is not one PEM block of type CERTIFICATE REQUEST")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	if err := request.CheckSignature(); err != nil {
		return nil, err
	}
	for _, u := range q.Usages {
		if !slices.Contains(usages[q.Signer], u) {
			return nil, fmt.Errorf("usage %q is not for signer %s", u, q.Signer)
		}
	}
	if !slices.Equal(request.Subject.Organization, []string{nodesGroup}) || len(request.EmailAddresses) > 0 || len(request.URIs) > 0 {
		return nil, fmt.Errorf("the subject is not a node's")
	}
	return request, nil
}

func noNames(request *x509.CertificateRequest) *joinapi.Refusal {
	if len(request.DNSNames) > 0 || len(request.IPAddresses) > 0 {
		return refuse(joinapi.BadRequest, "a client's certificate has no names or addresses")
	}
	return nil
}

// judgeFirst is about a request that was made with one of our tokens.
func (s *Service) judgeFirst(q CSR, request *x509.CertificateRequest, tokenID string) error {
	var cardID string
	for _, r := range s.all() {
		if r.Token != nil && r.Token.ID == tokenID {
			cardID = r.CardID
		}
	}
	if cardID == "" {
		return s.deny(q, nil, refuse(joinapi.NotAllowed, "token %s is none of the join service's", tokenID))
	}
	r, unlock := s.of(cardID)
	defer unlock()
	key := keyHash(request.RawSubjectPublicKeyInfo)
	switch {
	case r.outRefusal() != nil:
		return s.deny(q, r, r.outRefusal())
	case r.State != joinapi.TokenIssued || r.Token == nil || r.Token.ID != tokenID || !r.Token.live(s.now()):
		return s.deny(q, r, refuse(joinapi.NotAllowed, "token %s has expired or was used", tokenID))
	case request.Subject.CommonName != nodeUser+r.Node:
		return s.deny(q, r, refuse(joinapi.NotYourNode, "token %s is for %s, not for %s", tokenID, r.Node, request.Subject.CommonName))
	case r.CSRKey == key:
		return nil
	case r.CSRKey != "":
		return s.deny(q, r, refuse(joinapi.ForeignKey, "token %s has got a certificate for another key", tokenID))
	}
	next := r.clone()
	next.CSRKey = key
	return s.keep(kubeletEntry(q, "certificate"), next)
}

// judgeNode is about a node that renews its own certificate.
func (s *Service) judgeNode(q CSR, request *x509.CertificateRequest) error {
	_, r, refusal := s.nodeOf(q, request)
	if refusal != nil {
		return s.deny(q, r, refusal)
	}
	return s.allow(kubeletEntry(q, "renewal"), r)
}

// judgeServing is about the certificate that a kubelet serves logs and exec with:
// its names and addresses are the node's own.
func (s *Service) judgeServing(q CSR, request *x509.CertificateRequest) error {
	name, r, refusal := s.nodeOf(q, request)
	if refusal != nil {
		return s.deny(q, r, refusal)
	}
	for _, dns := range request.DNSNames {
		if dns != name && dns != name+".local" {
			return s.deny(q, r, refuse(joinapi.NotYourNode, "%q is no name of %s", dns, name))
		}
	}
	own := s.addressOf(name, r)
	for _, ip := range request.IPAddresses {
		if own == nil || !own.Equal(ip) {
			return s.deny(q, r, refuse(joinapi.NotYourNode, "%s is not the cluster address of %s", ip, name))
		}
	}
	if len(request.DNSNames)+len(request.IPAddresses) == 0 {
		return s.deny(q, r, refuse(joinapi.BadRequest, "a server's certificate has a name or an address"))
	}
	return s.allow(kubeletEntry(q, "serving certificate"), r)
}

func (s *Service) addressOf(name string, r *record) net.IP {
	address := s.rules.names.addressOf(name)
	if r != nil {
		address = r.Address
	}
	if !address.IsValid() {
		return nil
	}
	return address.Addr().AsSlice()
}

// nodeOf finds the node that asks about itself. The control plane has no record:
// kubeadm has made its first certificate.
func (s *Service) nodeOf(q CSR, request *x509.CertificateRequest) (string, *record, *joinapi.Refusal) {
	name, ok := strings.CutPrefix(q.Username, nodeUser)
	if !ok || !slices.Contains(q.Groups, nodesGroup) {
		return "", nil, refuse(joinapi.NotAllowed, "%s is no node", q.Username)
	}
	if request.Subject.CommonName != q.Username {
		return "", nil, refuse(joinapi.NotYourNode, "%s asks for a certificate of %s", q.Username, request.Subject.CommonName)
	}
	if name == s.rules.inventory.controlPlane() {
		return name, nil, nil
	}
	var last *record
	for _, r := range s.all() {
		if r.Node != name {
			continue
		}
		last = r
		if r.State == joinapi.Joined || r.State == joinapi.TokenIssued && r.CSRKey != "" {
			return name, r, nil
		}
	}
	if last != nil && last.outRefusal() != nil {
		return name, last, last.outRefusal()
	}
	return name, last, refuse(joinapi.NotAllowed, "no card has joined as %s", name)
}

func kubeletEntry(q CSR, action string) joinapi.Entry {
	return joinapi.Entry{Who: "kubelet", Action: action, Result: joinapi.Allowed, Text: q.Name + " by " + q.Username}
}

// allow and deny write the log, but not each time that a node asks the same: it
// must not be able to push older entries out.
func (s *Service) allow(e joinapi.Entry, r *record) error {
	if r != nil {
		e.CardID = r.CardID
	}
	if !s.limits.news(e) {
		return nil
	}
	_, err := s.note(e, r)
	return err
}

func (s *Service) deny(q CSR, r *record, refusal *joinapi.Refusal) error {
	e := kubeletEntry(q, "certificate")
	e.Result, e.Reason, e.Text = joinapi.Alarm, refusal.Reason, e.Text+": "+refusal.Text
	if err := s.allow(e, r); err != nil {
		return err
	}
	return refusal
}

// Shut notes that something was open in Kubernetes that the service takes the place
// of, and that it is being shut.
func (s *Service) Shut(what string) error {
	_, err := s.note(joinapi.Entry{Who: "service", Action: "shut", Result: joinapi.Allowed, Text: what}, nil)
	return err
}
