package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"picluster/clusterctl/kube"
	"picluster/clusterctl/steps"
	"picluster/internal/cli"
	"picluster/internal/step"
)

const (
	demoKey = "picluster"

	// cordonedBy marks a node that this demonstration has taken out of service: one
	// that was cut off by kill -9 is put back by the next.
	cordonedBy = "picluster/demo"

	// moveTime is long enough for a Pi to pull the image.
	moveTime = 10 * time.Minute

	// backTime bounds the way back into service, which also goes on after Ctrl-C.
	backTime = time.Minute

	// answerTime bounds one command of the database.
	answerTime = 2 * time.Minute
)

// redisProof writes to the database, moves it to another node, and reads.
type redisProof struct {
	client *kube.Client
	w      io.Writer // for people
}

// redisResult is what it found. Times are in seconds.
type redisResult struct {
	Version int     `json:"version"`
	From    string  `json:"from"` // node
	To      string  `json:"to"`
	Write   float64 `json:"writeSeconds"`
	Move    float64 `json:"moveSeconds"`
	Read    float64 `json:"readSeconds"`
}

func (p redisProof) run(ctx context.Context) (*redisResult, error) {
	if err := p.putBackLeftOver(ctx); err != nil {
		return nil, err
	}
	pod, err := p.pod(ctx, "")
	if err != nil {
		return nil, err
	}
	r := &redisResult{Version: outputVersion, From: nodeOf(pod)}
	if err := p.otherNode(ctx, r.From); err != nil {
		return nil, err
	}
	value := rand.Text()
	began := time.Now()
	if answer, err := p.command(ctx, "SET "+demoKey+" "+value); err != nil || answer != "+OK" {
		return nil, fmt.Errorf("write to redis on %s: %w", r.From, errors.Join(err, unexpected(answer)))
	}
	r.Write = time.Since(began).Seconds()
	fmt.Fprintf(p.w, "redis: written on %s\n", r.From)

	began = time.Now()
	if r.To, err = p.move(ctx, pod); err != nil {
		return nil, err
	}
	r.Move = time.Since(began).Seconds()

	began = time.Now()
	answer, err := p.command(ctx, "GET "+demoKey)
	if err != nil {
		return nil, fmt.Errorf("read from redis on %s: %w", r.To, err)
	}
	r.Read = time.Since(began).Seconds()
	if answer != value {
		return nil, cli.Exit(cli.Integrity, fmt.Errorf("read from redis on %s: it has %q, and %q was written", r.To, answer, value))
	}
	return r, nil
}

func unexpected(answer string) error {
	if answer == "+OK" || answer == "" {
		return nil
	}
	return fmt.Errorf("it answers %q", answer)
}

// move takes the pod's node out of service, removes the pod and waits until there is
// one on another node. The node is in service again when it returns.
func (p redisProof) move(ctx context.Context, pod *kube.Object) (to string, err error) {
	from := nodeOf(pod)
	if err := p.cordon(ctx, from, true); err != nil {
		return "", err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), backTime)
		defer cancel()
		backErr := cli.Hint(p.cordon(ctx, from, false), "clusterctl node uncordon "+from+" puts it back into service")
		err = errors.Join(err, backErr)
	}()
	fmt.Fprintf(p.w, "redis: %s is out of service\n", from)
	if err := p.client.Delete(ctx, kube.RefOf(pod)); err != nil {
		return "", err
	}
	said := ""
	err = step.Wait{For: "redis on another node", Limit: moveTime, Every: time.Second / 2}.Until(ctx, func(ctx context.Context) error {
		pod, err := p.pod(ctx, from)
		if err != nil {
			if said != err.Error() {
				said = err.Error()
				fmt.Fprintf(p.w, "redis: waiting: %s\n", said)
			}
			return err
		}
		to = nodeOf(pod)
		return nil
	})
	return to, err
}

// pod is the database's, once it is ready and on a node other than not.
func (p redisProof) pod(ctx context.Context, not string) (*kube.Object, error) {
	pods, err := p.client.List(ctx, kube.Ref{APIVersion: "v1", Kind: "Pod", Namespace: steps.DemoNamespace}, "app="+steps.RedisName)
	if err != nil {
		return nil, err
	}
	reason := "it has no pod"
	for _, pod := range pods {
		missing, err := kube.NotReady(&pod)
		switch {
		case err != nil:
			return nil, err
		case missing == "" && nodeOf(&pod) != not:
			return &pod, nil
		case missing != "" && pod.GetDeletionTimestamp() == nil:
			reason = "its pod " + missing
		}
	}
	return nil, errors.New("find redis: " + reason)
}

// otherNode makes sure that there is one to move to.
func (p redisProof) otherNode(ctx context.Context, from string) error {
	nodes, err := p.client.List(ctx, kube.Ref{APIVersion: "v1", Kind: "Node"}, "")
	if err != nil {
		return err
	}
	for _, n := range nodes {
		missing, err := kube.NotReady(&n)
		cordoned, _, _ := unstructured.NestedBool(n.Object, "spec", "unschedulable")
		if err == nil && missing == "" && !cordoned && n.GetName() != from {
			return nil
		}
	}
	return cli.Exit(cli.Refused, fmt.Errorf("move redis off %s: there is no other node that is ready and in service", from))
}

// cordon takes a node out of service, marked as ours, or puts it back.
func (p redisProof) cordon(ctx context.Context, node string, out bool) error {
	var mark, unschedulable any // nil removes the field
	if out {
		mark, unschedulable = "redis", true
	}
	return p.client.Merge(ctx, kube.Ref{APIVersion: "v1", Kind: "Node", Name: node}, map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{cordonedBy: mark}},
		"spec":     map[string]any{"unschedulable": unschedulable},
	})
}

func (p redisProof) putBackLeftOver(ctx context.Context) error {
	nodes, err := p.client.List(ctx, kube.Ref{APIVersion: "v1", Kind: "Node"}, "")
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if _, ours := n.GetAnnotations()[cordonedBy]; !ours {
			continue
		}
		fmt.Fprintf(p.w, "redis: an earlier run has left %s out of service; putting it back\n", n.GetName())
		if err := p.cordon(ctx, n.GetName(), false); err != nil {
			return err
		}
	}
	return nil
}

// command says one line to the database and returns its answer (the Redis protocol's
// inline form). A tunnel that the pod's end has just cut is opened again.
func (p redisProof) command(ctx context.Context, line string) (answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	err = step.Wait{For: "redis to answer", Limit: answerTime, Every: time.Second / 2}.Until(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		tunnel, err := p.client.Forward(ctx, steps.DemoNamespace, steps.RedisName, steps.RedisPort, 0)
		if err != nil {
			return err
		}
		answer, err = say(ctx, tunnel.Address, line)
		return err
	})
	return answer, err
}

func say(ctx context.Context, address, line string) (string, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := io.WriteString(conn, line+"\r\n"); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	answer, err := r.ReadString('\n')
	if err == nil && strings.HasPrefix(answer, "$") && !strings.HasPrefix(answer, "$-1") {
		answer, err = r.ReadString('\n') // the text, after its length
	}
	return strings.TrimSpace(answer), err
}

func nodeOf(pod *kube.Object) string {
	node, _, _ := unstructured.NestedString(pod.Object, "spec", "nodeName")
	return node
}
