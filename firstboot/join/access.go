package join

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"

	"picluster/internal/joinapi"
	"picluster/internal/secret"
)

// Manifest is what an administrator applies once: the service account with its few
// rights, and what the service's bootstrap tokens may do.
//
//go:embed access.yaml
var Manifest string

// Of the manifest.
const (
	Namespace   = "kube-system"
	TokenSecret = "picluster-join" // its data.token is the service account's
)

// Access is how the service reaches the API server.
type Access struct {
	Server string      // URL
	CA     string      // PEM
	Token  secret.Text // of the service account
}

// kubeconfig is the part of one that an Access is. It is written as JSON, which is
// YAML: kubectl reads it too, and the agent needs no YAML to.
type kubeconfig struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Current    string         `json:"current-context"`
	Clusters   []namedCluster `json:"clusters"`
	Users      []namedUser    `json:"users"`
	Contexts   []namedContext `json:"contexts"`
}

type namedCluster struct {
	Name    string `json:"name"`
	Cluster struct {
		Server string `json:"server"`
		CA     []byte `json:"certificate-authority-data"`
	} `json:"cluster"`
}

type namedUser struct {
	Name string `json:"name"`
	User struct {
		Token secret.Wire `json:"token,omitzero"`
	} `json:"user"`
}

type namedContext struct {
	Name    string `json:"name"`
	Context struct {
		Cluster string `json:"cluster"`
		User    string `json:"user"`
	} `json:"context"`
}

const contextName = "picluster"

func newKubeconfig(server, ca string) kubeconfig {
	k := kubeconfig{APIVersion: "v1", Kind: "Config", Current: contextName,
		Clusters: make([]namedCluster, 1), Users: make([]namedUser, 1), Contexts: make([]namedContext, 1)}
	k.Clusters[0].Name, k.Users[0].Name, k.Contexts[0].Name = contextName, contextName, contextName
	k.Clusters[0].Cluster.Server, k.Clusters[0].Cluster.CA = server, []byte(ca)
	k.Contexts[0].Context.Cluster, k.Contexts[0].Context.User = contextName, contextName
	return k
}

func (k kubeconfig) marshal() ([]byte, error) {
	data, err := json.MarshalIndent(k, "", "  ")
	return append(data, '\n'), err
}

// Kubeconfig is a file that ParseKubeconfig reads. It has the token in it.
func (a Access) Kubeconfig() ([]byte, error) {
	k := newKubeconfig(a.Server, a.CA)
	k.Users[0].User.Token = secret.Wire{Text: a.Token}
	return k.marshal()
}

// ParseKubeconfig reads what Kubeconfig wrote.
func ParseKubeconfig(data []byte) (Access, error) {
	var k kubeconfig
	if err := json.Unmarshal(data, &k); err != nil {
		return Access{}, fmt.Errorf("read kubeconfig: %w", err)
	}
	if len(k.Clusters) != 1 || len(k.Users) != 1 || k.Users[0].User.Token.IsZero() {
		return Access{}, errors.New("read kubeconfig: it does not have one cluster and one user with a token")
	}
	return Access{k.Clusters[0].Cluster.Server, string(k.Clusters[0].Cluster.CA), k.Users[0].User.Token.Text}, nil
}

// Discovery is the file for discovery.file of kubeadm's JoinConfiguration: where the
// API server is and whom to trust. The token is not in it; it goes into
// discovery.tlsBootstrapToken.
func Discovery(b *joinapi.Bundle) ([]byte, error) {
	return newKubeconfig("https://"+b.Endpoint, b.CA).marshal()
}
