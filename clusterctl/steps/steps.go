// Package steps is what clusterctl does to a cluster, as lists of steps; this file is
// the table of contents.
//
// An add-on is a list of objects, applied in order, and waits for those that do work.
// Whether it is wanted, and in which form, cluster.yaml says: the lists depend on
// nothing else, so that a second run finds nothing to do.
package steps

import (
	"fmt"
	"slices"

	"picluster/clusterctl/kube"
	"picluster/internal/spec"
)

// Env is what steps are made from.
type Env struct {
	Cluster *spec.Cluster
	ID      string // of the cluster, "" if it is not known
}

// Addon is a part of the cluster that is deployed and removed by its name.
type Addon struct {
	Name    string
	Summary string
	// Unwanted says where cluster.yaml does without it, "" if it is wanted.
	Unwanted func(*spec.Cluster) string
	// Deploy lists the steps that bring it there.
	Deploy func(Env) ([]kube.Step, error)
	// Remove lists the steps that take it away, whatever form of it is there.
	Remove func(Env) ([]kube.Step, error)
	// Loses says what nobody gets back after Remove, "" if nothing is lost.
	Loses string
}

// Addons lists all, in the order in which they are deployed: each may need those
// before it.
func Addons() []Addon {
	return []Addon{
		{Name: "cni", Summary: "the pod network", Unwanted: always, Deploy: deployNetwork, Remove: removeNetwork,
			Loses: "every pod loses its network until another pod network is deployed"},
		{Name: "storage", Summary: "replicated storage on the nodes, and its StorageClass", Unwanted: unwantedStorage, Deploy: deployStorage, Remove: removeStorage,
			Loses: "the list of its devices; what is on them stays, and keeps them from being given again: `clusterctl storage reset` erases it, and removes the storage too"},
		{Name: "registry", Summary: "a container registry inside the cluster", Unwanted: unwantedRegistry, Deploy: deployRegistry, Remove: removeRegistry,
			Loses: "all images that were pushed to it"},
		{Name: "dashboard", Summary: "a web page that shows the cluster", Unwanted: unwantedDashboard, Deploy: deployDashboard, Remove: removeDashboard},
	}
}

// Deploy lists what brings the named add-ons there.
func Deploy(e Env, addons []Addon) ([]kube.Stage, error) {
	stages := []kube.Stage{{Name: "cluster", Steps: identitySteps(e)}}
	for _, a := range addons {
		steps, err := a.Deploy(e)
		if err != nil {
			return nil, fmt.Errorf("deploy %s: %w", a.Name, err)
		}
		stages = append(stages, kube.Stage{Name: a.Name, Steps: steps})
	}
	return stages, nil
}

// Remove lists what takes the named add-ons away, the last first.
func Remove(e Env, addons []Addon) ([]kube.Stage, error) {
	var stages []kube.Stage
	for _, a := range slices.Backward(addons) {
		steps, err := a.Remove(e)
		if err != nil {
			return nil, fmt.Errorf("remove %s: %w", a.Name, err)
		}
		stages = append(stages, kube.Stage{Name: a.Name, Steps: steps})
	}
	return stages, nil
}

// WithoutWaits leaves out the steps that change nothing.
func WithoutWaits(stages []kube.Stage) []kube.Stage {
	var some []kube.Stage
	for _, stage := range stages {
		if steps := slices.DeleteFunc(slices.Clone(stage.Steps), IsWait); len(steps) > 0 {
			some = append(some, kube.Stage{Name: stage.Name, Steps: steps})
		}
	}
	return some
}

// IsWait reports whether a step only waits until what is there does its work.
func IsWait(s kube.Step) bool {
	_, ok := s.(kube.Ready)
	return ok
}

// Wanted lists the add-ons that cluster.yaml wants.
func Wanted(c *spec.Cluster) []Addon {
	return slices.DeleteFunc(Addons(), func(a Addon) bool { return a.Unwanted(c) != "" })
}

func always(*spec.Cluster) string { return "" }

// identitySteps write into the cluster which one it is. node0 does the same; this is
// for clusters that are older.
func identitySteps(e Env) []kube.Step {
	if e.ID == "" {
		return nil
	}
	return []kube.Step{kube.Applied{Object: kube.Identity(e.ID, e.Cluster.Name)}}
}
