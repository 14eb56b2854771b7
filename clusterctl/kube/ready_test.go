package kube

import (
	"strings"
	"testing"
)

func TestNotReady(t *testing.T) {
	for _, tc := range []struct{ name, object, want, err string }{
		{"fresh deployment", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, generation: 1}, spec: {replicas: 1}}", "has not been looked at by its controller", ""},
		{"rolling out", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, generation: 2}, spec: {replicas: 2}, status: {observedGeneration: 2, replicas: 3, updatedReplicas: 1, availableReplicas: 2}}", "1 of 2 pods are up to date", ""},
		{"starting", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, generation: 2}, spec: {replicas: 2}, status: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 1}}", "1 of 2 pods are available", ""},
		{"old pods", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, generation: 2}, spec: {replicas: 2}, status: {observedGeneration: 2, replicas: 3, updatedReplicas: 2, availableReplicas: 3}}", "old pods are ending", ""},
		{"well", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, generation: 2}, spec: {replicas: 2}, status: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 2}}", "", ""},
		{"default of one", "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a}, spec: {}, status: {updatedReplicas: 1}}", "0 of 1 pods are available", ""},
		{"no node", "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: a}, status: {}}", "there is no node to run it", ""},
		{"on some nodes", "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: a}, status: {desiredNumberScheduled: 3, updatedNumberScheduled: 3, numberAvailable: 2}}", "it runs on 2 of 3 nodes", ""},
		{"on all", "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: a}, status: {desiredNumberScheduled: 3, updatedNumberScheduled: 3, numberAvailable: 3}}", "", ""},
		{"job", "{apiVersion: batch/v1, kind: Job, metadata: {name: a}}", "is not complete", ""},
		{"failed job", "{apiVersion: batch/v1, kind: Job, metadata: {name: a}, status: {conditions: [{type: Failed, status: 'True', reason: BackoffLimitExceeded, message: too often}]}}", "", "run Job a: BackoffLimitExceeded: too often"},
		{"claim", "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: a}, status: {phase: Pending}}", "has no volume yet", ""},
		{"lost claim", "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: a}, status: {phase: Lost}}", "", "its volume is lost"},
		{"node", "{apiVersion: v1, kind: Node, metadata: {name: a}, status: {conditions: [{type: Ready, status: 'False', reason: KubeletNotReady, message: no network}]}}", "is not ready: KubeletNotReady: no network", ""},
		{"ending", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, deletionTimestamp: '2026-01-01T00:00:00Z'}}", "is being removed", ""},
		{"one without state", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := NotReady(object(t, tc.object))
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("got error %v, want %q", err, tc.err)
			}
		})
	}
}

func TestPodTrouble(t *testing.T) {
	for _, tc := range []struct{ name, status, want string }{
		{"image", "{conditions: [{type: PodScheduled, status: 'True'}], containerStatuses: [{state: {waiting: {reason: ImagePullBackOff, message: no such image}}}]}", "ImagePullBackOff: no such image"},
		{"being made", "{conditions: [{type: PodScheduled, status: 'True'}], containerStatuses: [{state: {waiting: {reason: ContainerCreating}}}]}", ""},
		{"nowhere", "{conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: no node}]}", "Unschedulable: no node"},
		{"init container", "{initContainerStatuses: [{state: {waiting: {reason: CrashLoopBackOff}}}]}", "CrashLoopBackOff"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := podTrouble(object(t, "{apiVersion: v1, kind: Pod, metadata: {name: a}, status: "+tc.status+"}")); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
