package main

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"picluster/clusterctl/observe"
	"picluster/internal/cli"
)

// renderStatus is a snapshot for people.
func renderStatus(s *observe.Snapshot) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Cluster %s", s.Cluster.Name)
	if s.Cluster.Kubernetes != "" {
		fmt.Fprintf(&b, "   Kubernetes %s", s.Cluster.Kubernetes)
	}
	fmt.Fprintf(&b, "   HEALTH: %s\n", healthWord(s))
	b.WriteString("\n")
	b.WriteString(renderNodes(s))
	if line := storageLine(s.Storage); line != "" {
		fmt.Fprintf(&b, "\nSTORAGE  %s\n", line)
	}
	if len(s.Addons) > 0 {
		var words []string
		for _, a := range s.Addons {
			words = append(words, a.Name+" "+a.State)
		}
		fmt.Fprintf(&b, "ADDONS   %s\n", strings.Join(words, ", "))
	}
	if len(s.Warnings) > 0 {
		b.WriteString("\n")
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, w := range s.Warnings {
			fmt.Fprintf(t, "%s\t%s\n", w.ID, plain(w.Text))
			if w.Do != "" {
				fmt.Fprintf(t, "\t→ %s\n", w.Do)
			}
		}
		t.Flush()
		fmt.Fprintf(&b, "\nclusterctl explain %s tells more about it.\n", s.Warnings[0].ID)
	}
	return b.String()
}

var healthWords = map[observe.Health]string{
	observe.Healthy: "OK", observe.Degraded: "DEGRADED", observe.Broken: "ERROR", observe.Unknown: "UNKNOWN",
}

func healthWord(s *observe.Snapshot) string {
	word := healthWords[s.Health]
	if n := len(s.Warnings); n > 0 {
		word += fmt.Sprintf(" (%d)", n)
	}
	return word
}

// renderNodes is the table of nodes.
func renderNodes(s *observe.Snapshot) string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tROLE\tSTATE\tAT\tDONE\tSINCE\tADDRESS\tLAST PROBLEM")
	for _, n := range s.Nodes {
		state := n.State
		if n.Cordoned {
			state += ",cordoned"
		}
		done := ""
		if n.Percent > 0 && n.Percent < 100 {
			done = fmt.Sprintf("%d %%", n.Percent)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.Role, state, dash(plain(n.Place())), dash(done),
			dash(age(s.Time, n.Since)), dash(cmp.Or(n.Address, n.ClusterAddress)), plain(n.Problem))
	}
	t.Flush()
	return trimLines(b.String())
}

// storageLine is empty where cluster.yaml wants no storage.
func storageLine(st observe.Storage) string {
	switch st.State {
	case observe.StateNone:
		return ""
	case observe.StateUnknown, observe.StateNotDeployed:
		return st.Backend + " " + st.State
	}
	line := fmt.Sprintf("%s %s: class %s on %d of %d nodes, %d claims of %s", st.Backend, st.State, st.Class, st.Nodes, st.Of, st.Claims, cli.Bytes(st.Capacity))
	if st.Waiting > 0 {
		line += fmt.Sprintf(", %d waiting", st.Waiting)
	}
	if st.Lost > 0 {
		line += fmt.Sprintf(", %d lost", st.Lost)
	}
	return line
}

func dash(s string) string { return cmp.Or(s, "-") }

// age is a time as people say it: "4m", "3d". Clocks differ by a little.
func age(now, since time.Time) string {
	if since.IsZero() {
		return ""
	}
	switch d := max(now.Sub(since), 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// plain keeps what came over the network from doing anything to a terminal: a status
// page may be anybody's.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// trimLines takes the padding off the ends of lines.
func trimLines(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}
