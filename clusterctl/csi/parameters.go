package csi

import (
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"picluster/clusterctl/gluster/engine"
)

// ignored are parameters of the provisioner that Kubernetes had until 1.25
// (kubernetes.io/glusterfs): where its Heketi was. There is none to be asked now.
var ignored = map[string]bool{
	"resturl": true, "restuser": true, "restuserkey": true, "restauthenabled": true,
	"secretname": true, "secretnamespace": true, "gidmin": true, "gidmax": true,
	"volumenameprefix": true, "customepnameprefix": true,
}

// parse reads the parameters of a StorageClass: "replicas" (1 to 3; default 3) and
// "arbiter" (true: of three bricks, one has names only), and those of Kubernetes' old
// provisioner: "volumetype" (none, replicate:N), "volumeoptions" ("key value, key
// value") and "clusterid".
func parse(parameters map[string]string) (engine.Request, error) {
	r := engine.Request{Replicas: 3, Options: map[string]string{}}
	var arbiter bool
	for name, value := range parameters {
		var err error
		switch key := strings.ToLower(name); {
		case key == "replicas":
			r.Replicas, err = replicas(value)
		case key == "arbiter":
			arbiter, err = strconv.ParseBool(value)
		case key == "volumetype":
			r.Replicas, err = volumeType(value)
		case key == "volumeoptions":
			err = volumeOptions(value, r.Options)
		case key == "clusterid":
			r.Clusters = strings.Split(strings.ReplaceAll(value, " ", ""), ",")
		case ignored[key], strings.HasPrefix(key, "csi.storage.k8s.io/"):
		default:
			return r, status.Errorf(codes.InvalidArgument, "parameter %.60q is unknown", name)
		}
		if err != nil {
			return r, status.Errorf(codes.InvalidArgument, "parameter %s is %.60q", name, value)
		}
	}
	if arbiter {
		if r.Replicas == 1 {
			return r, status.Error(codes.InvalidArgument, "an arbiter is for volumes with copies")
		}
		r.Replicas, r.Arbiter = 2, true
	}
	return r, nil
}

func replicas(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err == nil && (n < 1 || n > 3) {
		err = strconv.ErrRange
	}
	return n, err
}

func volumeType(text string) (int, error) {
	if text == "none" {
		return 1, nil
	}
	kind, n, ok := strings.Cut(text, ":")
	if kind != "replicate" {
		return 0, strconv.ErrSyntax
	}
	if !ok {
		return 3, nil
	}
	return replicas(n)
}

func volumeOptions(text string, into map[string]string) error {
	for option := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(option), " ")
		if !ok || strings.HasPrefix(key, "-") || strings.HasPrefix(key, "user.picluster.") {
			return strconv.ErrSyntax
		}
		into[key] = strings.TrimSpace(value)
	}
	return nil
}
