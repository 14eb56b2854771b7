package steps

import (
	"context"
	"errors"
	"fmt"
	"time"

	"picluster/clusterctl/gluster"
	"picluster/clusterctl/gluster/engine"
	"picluster/clusterctl/gluster/pods"
	"picluster/clusterctl/gluster/report"
	"picluster/clusterctl/kube"
	"picluster/internal/step"
)

// healTime is how long a node's bricks may take to catch up with what was written while
// it was away.
const healTime = time.Hour

// eachPool does something by a node that speaks for its pool, for each pool that has
// nodes.
func eachPool(ctx context.Context, on *kube.Client, do func(pool gluster.CLI) error) error {
	state, err := pods.Store{Kube: on}.Load(ctx)
	if err != nil {
		return err
	}
	for _, c := range state.Clusters {
		pool, ok, err := pods.Nodes{Kube: on}.Speaker(ctx, c)
		if err == nil && ok {
			err = do(pool)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// WaitWhole waits until all bricks of all volumes are connected and none has anything to
// heal.
func WaitWhole(ctx context.Context, on *kube.Client) error {
	return step.Wait{For: "volumes to be whole", Limit: healTime, Every: 5 * time.Second}.Until(ctx, func(ctx context.Context) error {
		why, err := NotWhole(ctx, on)
		if err == nil && why != "" {
			err = errors.New(why)
		}
		return err
	})
}

// NotWhole says in a sentence which volume is not whole, and why; "" if all are, or
// there is no storage yet.
func NotWhole(ctx context.Context, on *kube.Client) (why string, err error) {
	err = eachPool(ctx, on, func(pool gluster.CLI) error {
		volumes, err := pool.Volumes(ctx)
		for _, v := range volumes {
			if !v.Started || why != "" {
				continue
			}
			bricks, err := report.Heal(ctx, pool, v)
			if err != nil {
				return err
			}
			if lacks := gluster.Healed(bricks); lacks != "" {
				why = "volume " + v.Name + ": " + lacks
			}
		}
		return err
	})
	return why, err
}

// Heal has all copies of volumes compared; no names are all volumes.
func Heal(ctx context.Context, on *kube.Client, volumes []string) error {
	wanted := map[string]bool{}
	for _, name := range volumes {
		wanted[name] = true
	}
	err := eachPool(ctx, on, func(pool gluster.CLI) error { return healPool(ctx, pool, wanted, len(volumes) == 0) })
	if err != nil {
		return err
	}
	for name := range wanted {
		return fmt.Errorf("heal volume %s: %w", name, engine.ErrNotFound)
	}
	return nil
}

func healPool(ctx context.Context, cli gluster.CLI, wanted map[string]bool, all bool) error {
	volumes, err := cli.Volumes(ctx)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if v.Started && v.Replicas > 1 && (all || wanted[v.Name]) {
			if err := cli.StartHeal(ctx, v.Name); err != nil {
				return err
			}
		}
		delete(wanted, v.Name)
	}
	return nil
}
