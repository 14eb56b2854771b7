package kube

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// NotReady says what an object still lacks to do its work, "" if nothing. An error
// means that it will never: a Job that has failed, a claim that lost its volume.
// Kinds that have no such state are always ready.
func NotReady(o *Object) (string, error) {
	if o.GetDeletionTimestamp() != nil {
		return "is being removed", nil
	}
	switch o.GetKind() {
	case "Deployment", "StatefulSet":
		return replicasMissing(o), nil
	case "DaemonSet":
		return daemonsMissing(o), nil
	case "Job":
		if met, text := condition(o, "Failed"); met {
			return "", fmt.Errorf("run %v: %s", RefOf(o), text)
		}
		return unmet(o, "Complete", "is not complete"), nil
	case "PersistentVolumeClaim":
		phase := text(o, "status", "phase")
		if phase == "Lost" {
			return "", fmt.Errorf("use %v: its volume is lost", RefOf(o))
		}
		if phase != "Bound" {
			return "has no volume yet", nil
		}
	case "CustomResourceDefinition":
		return unmet(o, "Established", "is not established"), nil
	case "APIService":
		return unmet(o, "Available", "is not available"), nil
	case "Node", "Pod":
		return unmet(o, "Ready", "is not ready"), nil
	}
	return "", nil
}

func replicasMissing(o *Object) string {
	want := number(o, 1, "spec", "replicas")
	ready, updated := number(o, 0, "status", "availableReplicas"), number(o, 0, "status", "updatedReplicas")
	switch {
	case !observed(o):
		return "has not been looked at by its controller"
	case updated < want:
		return fmt.Sprintf("%d of %d pods are up to date", updated, want)
	case ready < want:
		return fmt.Sprintf("%d of %d pods are available", ready, want)
	case number(o, 0, "status", "replicas") > want:
		return "old pods are ending"
	}
	return ""
}

func daemonsMissing(o *Object) string {
	want := number(o, 0, "status", "desiredNumberScheduled")
	updated, ready := number(o, 0, "status", "updatedNumberScheduled"), number(o, 0, "status", "numberAvailable")
	switch {
	case !observed(o):
		return "has not been looked at by its controller"
	case want == 0:
		return "there is no node to run it"
	case updated < want:
		return fmt.Sprintf("%d of %d nodes are up to date", updated, want)
	case ready < want:
		return fmt.Sprintf("it runs on %d of %d nodes", ready, want)
	}
	return ""
}

// observed reports whether the status is about the present specification.
func observed(o *Object) bool {
	return number(o, 0, "status", "observedGeneration") >= o.GetGeneration()
}

// unmet is what a condition lacks to be true.
func unmet(o *Object, kind, otherwise string) string {
	met, text := condition(o, kind)
	switch {
	case met:
		return ""
	case text != "":
		return otherwise + ": " + text
	}
	return otherwise
}

// condition tells whether a condition of the status is true, and its reason.
func condition(o *Object, kind string) (met bool, why string) {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		m, ok := c.(map[string]any)
		if !ok || m["type"] != kind {
			continue
		}
		reason, _ := m["reason"].(string)
		message, _ := m["message"].(string)
		return m["status"] == "True", colon(reason, message)
	}
	return false, ""
}

// Trouble says what keeps the pods of a workload from running, as the scheduler or a
// kubelet tells it; "" where they tell nothing.
func (c *Client) Trouble(ctx context.Context, workload *Object) (string, error) {
	labels, _, _ := unstructured.NestedStringMap(workload.Object, "spec", "selector", "matchLabels")
	if len(labels) == 0 {
		return "", nil
	}
	var selector []string
	for k, v := range labels {
		selector = append(selector, k+"="+v)
	}
	pods, err := c.List(ctx, Ref{"v1", "Pod", workload.GetNamespace(), ""}, strings.Join(selector, ","))
	if err != nil {
		return "", err
	}
	for _, pod := range pods {
		if why := podTrouble(&pod); why != "" {
			return "pod " + pod.GetName() + ": " + why, nil
		}
	}
	return "", nil
}

func podTrouble(pod *Object) string {
	for _, list := range []string{"initContainerStatuses", "containerStatuses"} {
		containers, _, _ := unstructured.NestedSlice(pod.Object, "status", list)
		for _, c := range containers {
			m, _ := c.(map[string]any)
			reason, _, _ := unstructured.NestedString(m, "state", "waiting", "reason")
			message, _, _ := unstructured.NestedString(m, "state", "waiting", "message")
			if reason != "" && reason != "PodInitializing" && reason != "ContainerCreating" {
				return colon(reason, message)
			}
		}
	}
	if met, why := condition(pod, "PodScheduled"); !met {
		return why
	}
	return ""
}

func colon(reason, message string) string {
	if reason == "" || message == "" {
		return reason + message
	}
	return reason + ": " + message
}

func number(o *Object, otherwise int64, fields ...string) int64 {
	n, ok, err := unstructured.NestedInt64(o.Object, fields...)
	if !ok || err != nil {
		return otherwise
	}
	return n
}

func text(o *Object, fields ...string) string {
	s, _, _ := unstructured.NestedString(o.Object, fields...)
	return s
}
