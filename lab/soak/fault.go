package main

import (
	"context"
	"math/rand/v2"
	"os"

	"github.com/pegbook/pegbook/lab/stage"
)

// fault is something that goes wrong in an update.
type fault struct {
	name, what string
	// often is how many times it is in the deck; 0 stands for once.
	often int
	// root says that only root can put it in.
	root bool
	// kinds are the updates that it is for; none: all.
	kinds []kind
	// args are more arguments of the update.
	args func(p *play) []string
	// before prepares it, during puts it in while the update runs, which may have ended already.
	before, during func(ctx context.Context, p *play) error
	// then is what people do when the update has ended, in place of going on with it or beginning again.
	then func(ctx context.Context, p *play) error
	// codes are the exit codes that are right; none: 0 alone.
	codes []int
	// failed says that operations of clients may fail because of the fault, one that it leaves fewer than two copies of
	// a partition, lapse that it may outlast the lease of the replica servers, which then stop serving all at once.
	failed, one, lapse bool
	// lost says that going on with the update does not mend it: what is done then is another update.
	lost bool
}

// kind is what is updated.
type kind string

const (
	some   kind = "two replica servers"
	single kind = "a replica server and the meta servers"
	whole  kind = "all"
	simple kind = "all, mode=simple"
)

// kinds are all, as often as they are to be: an update of all servers takes long.
func kinds() []kind { return []kind{some, some, some, some, some, single, single, whole, simple} }

// deck is every fault as often as it is to come, without those that cannot be put in here.
func deck(o options) []*fault {
	var all []*fault
	for _, f := range faults() {
		if !o.faults.MatchString(f.name) || f.root && os.Geteuid() != 0 {
			continue
		}
		for range max(1, f.often) {
			all = append(all, f)
		}
	}
	return all
}

func faults() []*fault {
	all := []*fault{
		{name: "none", what: "none", often: 3},
	}
	all = append(all, serverFaults()...)
	all = append(all, deathFaults()...)
	all = append(all, hostFaults()...)
	all = append(all, zooKeeperFaults()...)
	all = append(all, pegbookFaults()...)
	all = append(all, steeredFaults()...)
	return append(all, beginningFaults()...)
}

// choose takes kind, hosts and moment of a run from chance.
func (p *play) choose(chance *rand.Rand) {
	p.chance = chance
	kinds := kinds()
	if len(p.fault.kinds) > 0 {
		kinds = p.fault.kinds
	}
	p.kind = kinds[chance.IntN(len(kinds))]
	replicas := p.Replicas()
	// In turn, so that no server is restarted more often in a row than a meta server puts up with.
	first, second := 2*p.number%len(replicas), (2*p.number+1)%len(replicas)
	p.worked = []string{replicas[min(first, second)], replicas[max(first, second)]}
	switch p.kind {
	case single:
		p.worked = p.worked[:1]
	case whole, simple:
		p.worked = replicas
	}
	p.moment = chance.Float64()
	p.victim = p.worked[chance.IntN(len(p.worked))]
	p.again = chance.IntN(10) < 3
}

// updateArgs are the arguments of the update with the fault.
func (p *play) updateArgs() []string {
	args := p.plainArgs()
	if p.fault.args != nil {
		args = append(args, p.fault.args(p)...)
	}
	return args
}

// plainArgs are the arguments of the update. Going back to an older release is accepted: every other run does.
func (p *play) plainArgs() []string {
	args := append(stage.PackageArgs(p.target(p.number)), "-e", "{accept_findings: [version]}")
	switch p.kind {
	case some:
		args = append(args, "--limit", p.worked[0]+":"+p.worked[1]+":meta_server", "-e", "{update_roles: [replica]}")
	case single:
		args = append(args, "--limit", p.worked[0]+":meta_server", "-e", "{update_roles: [replica, meta]}")
	case simple:
		args = append(args, "-e", "mode=simple")
	}
	return args
}
