package steps

import (
	"picluster/clusterctl/kube"
	"picluster/internal/spec"
)

// AdminUser is the service account that opens a dashboard.
const AdminUser = "admin-user"

// Dashboard is where one of the dashboards is.
type Dashboard struct {
	Name   string // as in cluster.yaml; also of its namespace and Service
	Scheme string // "http"
	Port   int    // of its pod
}

var dashboards = []Dashboard{
	{"headlamp", "http", 4466},
	{"kubernetes-dashboard", "https", 8443},
}

// DashboardOf is the one that cluster.yaml wants; ok is false if it wants none.
func DashboardOf(c *spec.Cluster) (d Dashboard, ok bool) {
	for _, d := range dashboards {
		if d.Name == c.Addons.Dashboard {
			return d, true
		}
	}
	return Dashboard{}, false
}

func unwantedDashboard(c *spec.Cluster) string {
	if _, ok := DashboardOf(c); ok {
		return ""
	}
	return "addons.dashboard: " + c.Addons.Dashboard
}

// deployDashboard takes the other dashboard away: two of them are two ways in.
func deployDashboard(e Env) ([]kube.Step, error) {
	var gone []kube.Step
	var wanted []*kube.Object
	for _, d := range dashboards {
		objects, err := dashboardObjects(d)
		if err != nil {
			return nil, err
		}
		if d.Name == e.Cluster.Addons.Dashboard {
			wanted = objects
		} else {
			gone = append(gone, kube.Absent{Ref: kube.RefOf(objects[0]), Ours: true})
		}
	}
	return append(gone, applied(wanted)...), nil
}

func removeDashboard(e Env) ([]kube.Step, error) {
	var steps []kube.Step
	seen := map[string]bool{} // both have an administrator's binding, which is one object
	for _, d := range dashboards {
		objects, err := dashboardObjects(d)
		if err != nil {
			return nil, err
		}
		for _, s := range absent(objects) {
			if !seen[s.Name()] {
				seen[s.Name()] = true
				steps = append(steps, s)
			}
		}
	}
	return steps, nil
}

// dashboardObjects begin with the namespace.
func dashboardObjects(d Dashboard) ([]*kube.Object, error) {
	objects, err := allOf(d.Name)
	if err != nil {
		return nil, err
	}
	admin, err := allOf("admin-user")
	if err != nil {
		return nil, err
	}
	admin[0].SetNamespace(d.Name)
	subject := map[string]any{"kind": "ServiceAccount", "name": AdminUser, "namespace": d.Name}
	if err := set(admin, "ClusterRoleBinding", "picluster:admin-user", []any{subject}, "subjects"); err != nil {
		return nil, err
	}
	return append(objects, admin...), nil
}
