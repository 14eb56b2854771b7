package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"picluster/clusterctl/kube"
	"picluster/clusterctl/steps"
	"picluster/internal/cli"
	"picluster/internal/step"
)

func demoCommand() cli.Command {
	return cli.Command{
		Name:     "demo",
		Summary:  "show what the cluster can do",
		Commands: []cli.Command{demoRedisCommand()},
	}
}

func demoRedisCommand() cli.Command {
	var f deployFlags
	var verify, remove, yes bool
	return cli.Command{
		Name:    "redis",
		Summary: "a database that goes on elsewhere when its node is gone",
		Details: "With --verify a value is written, the database's node is taken out of service, the\n" +
			"database comes up on another one, and the value is read there. The node is put back\n" +
			"into service whatever happens.",
		Examples: []string{"clusterctl demo redis", "clusterctl demo redis --verify", "clusterctl demo redis --remove"},
		Flags: func(flags *pflag.FlagSet) {
			f.register(flags)
			flags.BoolVar(&verify, "verify", false, "write, move to another node, read")
			flags.BoolVar(&remove, "remove", false, "take the database and its data away")
			flags.BoolVar(&yes, "yes", false, "do not ask")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if err := cli.CheckOutput(f.output); err != nil {
				return cli.Exit(cli.Usage, err)
			}
			if verify && (remove || f.plan) {
				return cli.Exit(cli.Usage, errors.New("read flags of demo redis: --verify goes with neither --remove nor --plan"))
			}
			p, err := f.load()
			if err != nil {
				return err
			}
			list, fine := steps.Redis, "it is there"
			if remove {
				list, fine = steps.RemoveRedis, "the cluster has nothing of it"
			}
			stages, err := list(p.env())
			if err != nil {
				return cli.Exit(cli.Usage, err)
			}
			if remove && !f.plan && !yes {
				if err := confirmRemoval(ctx, env, []steps.Addon{{Name: "redis", Loses: "all that was written to it"}}); err != nil {
					return err
				}
			}
			if !verify {
				return f.do(ctx, env, p, stages, fine)
			}
			client, err := p.connect(ctx)
			if err != nil {
				return err
			}
			return stepError(verifyRedis(ctx, env, client, stages, f.output))
		},
	}
}

// verifyRedis deploys it first, if it is not there.
func verifyRedis(ctx context.Context, env cli.Env, client *kube.Client, stages []kube.Stage, output string) error {
	r := newRunReport(env.Stderr, stages)
	if err := step.Run(ctx, client, stages, &step.Recorder{Log: env.Log, Observers: []step.Observer{r.observe}}); err != nil {
		return err
	}
	result, err := redisProof{client, env.Stderr}.run(ctx)
	if err != nil {
		return err
	}
	if output == "json" {
		return cli.WriteJSON(env.Stdout, result)
	}
	fmt.Fprintf(env.Stdout, "What was written on %s was read on %s.\nwrite %.1f s, move %.1f s, read %.1f s\n",
		result.From, result.To, result.Write, result.Move, result.Read)
	return nil
}
