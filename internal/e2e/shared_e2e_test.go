//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"picluster/internal/lab/kube/images"
)

// shared is a claim, and on every node a pod that writes to it. The first write that
// fails ends a pod, which is then seen to have been started again.
const shared = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: shared}
spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 256Mi}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: writer}
spec:
  selector: {matchLabels: {app: writer}}
  template:
    metadata: {labels: {app: writer}}
    spec:
      tolerations: [{operator: Exists}]
      terminationGracePeriodSeconds: 1
      containers:
      - name: writer
        image: ` + images.Busybox + `
        env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
        command: [sh, -ec, "i=0; while :; do i=$((i+1)); echo $i >>/data/$NODE; sleep 0.2; done"]
        volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, persistentVolumeClaim: {claimName: shared}}]
`

// sharesFiles puts the storage to use: pods on all nodes write to one volume, while the
// drivers on the nodes are restarted and the volume grows; then it is given back.
func (b *box) sharesFiles(t *testing.T, watch stopwatch) {
	t.Helper()
	control := b.nodes[0]
	before := b.disks(t)
	feed(t, control, shared, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "apply", "-f", "-")
	kubectl(t, control, "rollout", "status", "daemonset/writer", "--timeout="+clusterTime.String())
	b.allWrite(t)
	watch.lap("pods on all nodes share files")

	kubectl(t, control, "-n", "picluster-storage", "rollout", "restart", "daemonset/storage-node")
	kubectl(t, control, "-n", "picluster-storage", "rollout", "status", "daemonset/storage-node", "--timeout="+clusterTime.String())
	b.allWrite(t)
	watch.lap("the drivers were restarted meanwhile")

	kubectl(t, control, "patch", "pvc", "shared", "--patch", `{"spec": {"resources": {"requests": {"storage": "512Mi"}}}}`)
	kubectl(t, control, "wait", "--for=jsonpath={.status.capacity.storage}=512Mi", "pvc/shared", "--timeout="+clusterTime.String())
	size := kubectl(t, control, "exec", "daemonset/writer", "--", "sh", "-c", "df -Pm /data | tail -1 | awk '{print $2}'")
	if mb, err := strconv.Atoi(size); err != nil || mb < 400 {
		t.Errorf("after it has grown to 512 MiB the volume has %s MiB (%v)", size, err)
	}
	b.allWrite(t)
	restarts := kubectl(t, control, "get", "pods", "-l", "app=writer", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}")
	if strings.Trim(restarts, "0 ") != "" {
		t.Errorf("pods that write were started again: %s", restarts)
	}
	watch.lap("the volume has grown")

	kubectl(t, control, "delete", "daemonset/writer", "pvc/shared", "--timeout="+clusterTime.String())
	eventually(t, "the room to be free again", func() error {
		if after := b.disks(t); !slices.Equal(before, after) {
			return fmt.Errorf("before %v, after %v", before, after)
		}
		return nil
	})
	watch.lap("the volume's room is free again")
}

// allWrite waits until every pod sees the files of all nodes grow.
func (b *box) allWrite(t *testing.T) {
	t.Helper()
	pods := strings.Fields(kubectl(t, b.nodes[0], "get", "pods", "-l", "app=writer", "-o", "jsonpath={.items[*].metadata.name}"))
	lines := func(pod string) string {
		return kubectl(t, b.nodes[0], append([]string{"exec", pod, "--", "wc", "-l"}, paths("/data/", b.wish.nodes)...)...)
	}
	for _, pod := range pods {
		first := strings.Fields(lines(pod))
		eventually(t, "all nodes' files to grow for "+pod, func() error {
			now := strings.Fields(lines(pod))
			for i := 0; i < len(b.wish.nodes); i++ { // NUMBER NAME, each
				was, err1 := strconv.Atoi(first[2*i])
				is, err2 := strconv.Atoi(now[2*i])
				if err1 != nil || err2 != nil || is <= was {
					return fmt.Errorf("%s had %s lines and has %s", now[2*i+1], first[2*i], now[2*i])
				}
			}
			return nil
		})
	}
}

func paths(dir string, names []string) []string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = dir + name
	}
	return all
}

// disks is the free room of each node's disk.
func (b *box) disks(t *testing.T) (free []string) {
	t.Helper()
	var list struct {
		Disks []struct {
			Node         string
			Free, Bricks int64
		}
	}
	if err := json.Unmarshal([]byte(b.clusterctl(t, 0, "disk", "list", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	for _, d := range list.Disks {
		free = append(free, fmt.Sprintf("%s %d bytes %d bricks", d.Node, d.Free, d.Bricks))
	}
	slices.Sort(free)
	return free
}
