package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"picluster/internal/cli"
	"picluster/internal/joinapi"
)

func auditCommand() cli.Command {
	return cli.Command{Name: "audit", Summary: "read what was allowed and refused", Commands: []cli.Command{auditJoinCommand()}}
}

func auditJoinCommand() cli.Command {
	var flags siteFlags
	var output string
	var alarms bool
	var since time.Duration
	return cli.Command{
		Name: "join", Args: "[verify]", Summary: "show the join service's log, and verify that nobody has changed it",
		Details: "Each entry has the hash of the one before it, so a line that was changed, taken out or\n" +
			"put in is found: with `verify` that is all that is done. That lines are missing at the\n" +
			"end only node0 can tell, and does, by an alarm. It ends with 3 if the log is damaged.",
		Examples: []string{"clusterctl audit join --since 24h", "clusterctl audit join --alarms", "clusterctl audit join verify", "clusterctl audit join -o json > audit.jsonl"},
		Flags: func(f *pflag.FlagSet) {
			flags.register(f)
			f.StringVarP(&output, "output", "o", "text", "`form`: text, or json: the log as it is, a line for each entry")
			f.BoolVar(&alarms, "alarms", false, "only what a person should look at")
			f.DurationVar(&since, "since", 0, "only what is younger; 0 is all")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			verify := len(args) == 1 && args[0] == "verify"
			if err := cli.CheckOutput(output); err != nil || len(args) > 0 && !verify || since < 0 {
				return cli.Exit(cli.Usage, errors.Join(err, errors.New("read operands of audit join: it takes nothing, or verify")))
			}
			d, err := flags.open(env.Log)
			if err != nil {
				return err
			}
			if d.join == nil {
				return noSecrets("read the audit log")
			}
			var log bytes.Buffer
			if err := d.join.Audit(ctx, &log); err != nil {
				return joinError(err)
			}
			n, broken := joinapi.VerifyAudit(bytes.NewReader(log.Bytes()))
			switch {
			case broken != nil:
				broken = cli.Exit(cli.Integrity, broken)
			case verify:
				_, err = fmt.Fprintf(env.Stdout, "%d entries, each follows the one before it\n", n)
			}
			if verify || err != nil {
				return errors.Join(broken, err)
			}
			after := time.Time{}
			if since > 0 {
				after = time.Now().Add(-since)
			}
			return errors.Join(printAudit(env, output, log.Bytes(), alarms, after), broken)
		},
	}
}

// printAudit prints what it can read of a log, also of a damaged one.
func printAudit(env cli.Env, output string, log []byte, alarms bool, after time.Time) error {
	t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	for line := range strings.Lines(string(log)) {
		var e joinapi.Entry
		if json.Unmarshal([]byte(line), &e) != nil || alarms && e.Result != joinapi.Alarm || e.Time.Before(after) {
			continue
		}
		if output == "json" {
			if _, err := env.Stdout.Write([]byte(line)); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", e.Time.UTC().Format(time.DateTime), e.Result, e.Action, e.Who, dash(auditSubject(e)),
			plain(strings.Trim(string(e.Reason)+": "+e.Text, ": ")))
	}
	return t.Flush()
}

func auditSubject(e joinapi.Entry) string {
	if e.Node != "" {
		return e.Node
	}
	return e.CardID
}
