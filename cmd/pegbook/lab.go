package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pegbook/pegbook/lab"
	"github.com/pegbook/pegbook/lab/pegasus"
	"github.com/pegbook/pegbook/lab/traffic"
	"github.com/pegbook/pegbook/runner/render"
)

func newLabCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "A simulated Pegasus cluster on this machine: up, status, down, traffic, fault",
	}
	cmd.AddCommand(newLabUpCmd(a), newLabStatusCmd(a), newLabDownCmd(a), newLabTrafficCmd(a), newLabFaultCmd(a), newLabServeCmd(a))
	return cmd
}

func labDirFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "dir", "", "folder of the lab (default $PEGBOOK_LAB_HOME or ~/.pegbook/lab)")
}

func newLabUpCmd(a *app) *cobra.Command {
	var o lab.Options
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start simulated hosts with SSH, ZooKeeper and server packages",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			began := time.Now()
			state, err := lab.Up(cmd.Context(), o)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "The lab is up after %s: %d hosts, ZooKeeper at %s, all in %s\n", render.Duration(time.Since(began)), len(state.Hosts), state.ZooKeeper, state.Dir)
			inventory := "inventories/lab.yml"
			if cmd.Flags().NFlag() > 0 {
				inventory = state.Inventory
			}
			fmt.Fprintf(a.out, `
Try next:
  pegbook run playbooks/deploy.yml -i %[1]s --check --diff
  pegbook run playbooks/deploy.yml -i %[1]s
  pegbook lab status
  pegbook run playbooks/rolling-update.yml -i %[1]s -e lab_version=2.5.0
  pegbook lab down
`, inventory)
			return nil
		},
	}
	labDirFlag(cmd, &o.Dir)
	f := cmd.Flags()
	f.IntVar(&o.Metas, "metas", 0, "how many meta servers' hosts (default 3)")
	f.IntVar(&o.Replicas, "replicas", 0, "how many replica servers' hosts (default 5)")
	f.IntVar(&o.Collectors, "collectors", 0, "how many collectors' hosts (default 1)")
	f.StringVar(&o.Address, "address", "", "ZooKeeper's address; the hosts have the ones behind it (default 127.0.0.10)")
	f.StringSliceVar(&o.Releases, "releases", nil, "releases that there are to be server packages of (default 2.4.0,2.5.0)")
	f.Float64Var(&o.Scale, "scale", 0, "time the simulated servers take for 1 s of a real one's (default 0.1; 1 is production time)")
	return cmd
}

func newLabStatusCmd(a *app) *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the lab's hosts, their processes and the cluster",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := lab.Status(cmd.Context(), dir)
			if errors.Is(err, lab.ErrNoLab) {
				return errors.New("there is no lab; pegbook lab up starts one")
			}
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, report)
			}
			writeReport(a.out, report)
			return nil
		},
	}
	labDirFlag(cmd, &dir)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func writeReport(w io.Writer, r *lab.Report) {
	if !r.Up {
		fmt.Fprintln(w, "The lab's hosts are not running; pegbook lab up starts them again.")
	} else {
		fmt.Fprintf(w, "The lab is up for %s (process %d); ZooKeeper: %s\n", render.Duration(r.Uptime), r.PID, orElse(r.ZooKeeper, "does not answer"))
	}
	for _, h := range r.Hosts {
		var running []string
		for _, p := range h.Processes {
			if p.Role != "" {
				running = append(running, fmt.Sprintf("%s %s (process %d, up %s)", p.Role, p.Version, p.PID, render.Duration(p.Uptime)))
			}
		}
		ssh := "ssh answers"
		if !h.Answers {
			ssh = "ssh does not answer"
		}
		fmt.Fprintf(w, "  %-11s %-12s %s  %s\n", h.Name, h.IP, ssh, strings.Join(running, ", "))
	}
	switch {
	case r.Cluster == nil:
		fmt.Fprintln(w, "No cluster answers; pegbook run playbooks/deploy.yml -i inventories/lab.yml deploys one.")
	case len(r.Cluster.Missing) == 0:
		fmt.Fprintf(w, "The cluster is healthy: %s leads, %d replica servers, %d tables\n", r.Cluster.Leader, r.Cluster.Alive, r.Cluster.Tables)
	default:
		fmt.Fprintf(w, "The cluster is not healthy: %s\n", strings.Join(r.Cluster.Missing, "; "))
	}
}

func newLabDownCmd(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop everything in the lab and remove its folder",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := lab.Down(cmd.Context(), dir); err != nil {
				return err
			}
			fmt.Fprintln(a.out, "The lab is gone.")
			return nil
		},
	}
	labDirFlag(cmd, &dir)
	return cmd
}

func newLabTrafficCmd(a *app) *cobra.Command {
	var o traffic.Options
	var dir string
	var length time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "traffic",
		Short: "Read and write without pause, and say what failed and stalled",
		Long:  "Read and write the lab's cluster without pause until interrupted (or for --for), then say how many operations failed and how long the longest took.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(o.Metas) == 0 {
				report, err := lab.Status(cmd.Context(), dir)
				if err != nil {
					return err
				}
				o.Metas = metasOf(report)
			}
			return a.traffic(cmd.Context(), o, length, asJSON)
		},
	}
	labDirFlag(cmd, &dir)
	f := cmd.Flags()
	f.StringSliceVar(&o.Metas, "metas", nil, "meta servers, ip:port (default the lab's)")
	f.StringVar(&o.Table, "table", "", "table to use (default temp)")
	f.Float64Var(&o.Rate, "rate", 0, "operations a second (default 500)")
	f.DurationVar(&length, "for", 0, "how long (default until interrupted)")
	f.BoolVar(&asJSON, "json", false, "print the figures as JSON")
	return cmd
}

func newLabFaultCmd(a *app) *cobra.Command {
	var dir string
	var hosts []string
	cmd := &cobra.Command{
		Use:   "fault [SETTING...]",
		Short: "Have the lab's servers misbehave: hung, slow, stuck, full",
		Long: `Have the simulated servers of the lab misbehave, from now on and when they start again, until other settings
replace these; without settings they behave. Settings: ` + strings.Join(pegasus.FaultNames(), ", ") + `.
docs/lab.md tells what each does.`,
		Example: `  pegbook lab fault --host replica2 closing_never_ends
  pegbook lab fault --host replica3 load_ms=120000
  pegbook lab fault two_copies=2.3
  pegbook lab fault`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := lab.Fault(dir, hosts, args); err != nil {
				return err
			}
			who := "all hosts"
			if len(hosts) > 0 {
				who = strings.Join(hosts, ", ")
			}
			if len(args) == 0 {
				fmt.Fprintf(a.out, "The servers of %s behave.\n", who)
			} else {
				fmt.Fprintf(a.out, "Faults of %s: %s\n", who, strings.Join(args, " "))
			}
			return nil
		},
	}
	labDirFlag(cmd, &dir)
	cmd.Flags().StringSliceVar(&hosts, "host", nil, "hosts that misbehave, or zookeeper (default all hosts)")
	return cmd
}

// metasOf gives the addresses of the lab's meta servers, on the port that the playbooks give them.
func metasOf(report *lab.Report) []string {
	var metas []string
	for _, h := range report.Hosts {
		if h.Group == "meta_server" {
			metas = append(metas, h.IP+":34601")
		}
	}
	return metas
}

func (a *app) traffic(ctx context.Context, o traffic.Options, length time.Duration, asJSON bool) error {
	load, err := traffic.Start(ctx, o)
	if err != nil {
		return err
	}
	var over <-chan time.Time
	if length > 0 {
		timer := time.NewTimer(length)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
	case <-a.hear():
	case <-ctx.Done():
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer stop()
	summary := load.Stop(ctx)
	if asJSON {
		return writeJSON(a.out, summary)
	}
	fmt.Fprintln(a.out, summary)
	return nil
}

// newLabServeCmd is the lab's background process; up starts it.
func newLabServeCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "serve DIR",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := context.WithCancel(cmd.Context())
			defer stop()
			interrupts := a.hear()
			go func() {
				select {
				case <-interrupts:
					stop()
				case <-ctx.Done():
				}
			}()
			return lab.Serve(ctx, args[0], os.NewFile(lab.ReadyFD, "ready"))
		},
	}
}
