package steps

import (
	"errors"

	"picluster/clusterctl/kube"
)

// Of the demonstration, for who talks to it.
const (
	DemoNamespace = "demo"
	RedisName     = "redis" // of the Deployment, the Service and the label app
	RedisPort     = 6379
)

// Redis lists what deploys the demonstration. It stands on shared storage, or it
// would demonstrate nothing.
func Redis(e Env) ([]kube.Stage, error) {
	if !hasStorage(e.Cluster) {
		return nil, errors.New("deploy redis: it needs storage, and cluster.yaml has storage.backend: none")
	}
	objects, err := allOf("redis")
	if err != nil {
		return nil, err
	}
	return []kube.Stage{{Name: "redis", Steps: append([]kube.Step{defaultStorageClass()}, applied(objects)...)}}, nil
}

// RemoveRedis lists what takes it away, with its data.
func RemoveRedis(Env) ([]kube.Stage, error) {
	objects, err := allOf("redis")
	return []kube.Stage{{Name: "redis", Steps: absent(objects)}}, err
}
