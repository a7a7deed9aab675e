package pegasus

import (
	"context"

	"github.com/pegbook/pegbook/modules"
)

func statusModule() *modules.Module {
	return modules.Define("pegasus_status", `Show how a Pegasus cluster is

Reads only, and answers within seconds even where servers hang: each of them is asked side by side and for
itself, and one that does not answer is shown so. A cluster without a leading meta server is an error.

The result has leader, level (as set), effective_level, frozen, cluster_name, cluster_root, zookeeper, metas
and collectors (address, state, version, started), nodes (address, status, primaries, secondaries, serving,
opening, closing, version, started), tables with their health as the shell's ls -d counts it, unhealthy (the
partitions that lack replicas), settings, replication (the least that a table asks for), missing (what keeps
the cluster from being healthy, a line each), stdout, all of it as text, and summary, the short form of that for
messages: settings, servers and what is missing, with those of stopped_at marked.

    - pegasus_status:
        meta_servers: 10.0.0.1:34601,10.0.0.2:34601
        nodes: [10.0.0.11:34801, 10.0.0.12:34801, 10.0.0.13:34801]
      register: cluster`, proposeStatus)
}

type statusArgs struct {
	clusterArgs
	Nodes      []string `arg:"nodes" doc:"replica servers that should be there, ip:port each; one that the leader does not know is shown as UNKNOWN"`
	Collectors []string `arg:"collectors" doc:"collectors to ask, ip:port each; the cluster does not know of them"`
	StoppedAt  []string `arg:"stopped_at" doc:"servers that summary marks as those at which an operation has stopped, ip:port each"`
}

type statusOutput struct {
	*survey
	Stdout  string `json:"stdout"`
	Summary string `json:"summary"`
}

func proposeStatus(ctx context.Context, call *modules.Call, args statusArgs) (*modules.Proposal, error) {
	sv, err := surveyCluster(ctx, call, args.clusterArgs, args.Nodes, args.Collectors)
	if err != nil {
		return nil, err
	}
	return &modules.Proposal{Output: &statusOutput{survey: sv, Stdout: sv.String(), Summary: sv.summary(args.StoppedAt)}}, nil
}
