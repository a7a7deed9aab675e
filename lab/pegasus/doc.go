// Package pegasus is a simulated pegasus_server: one program for the roles
// meta, replica and collector that reads the config.ini of release 2.5 and
// speaks its wire protocol (THFT, the C++ shell's RDSN, and HTTP, all on one
// port). Behaviour is modelled after observations of a real 2.5.0 cluster
// (facts/pegasus.md §3-§8, facts/pegasus-live.md): who answers what while a
// process starts, leads or follows; the guardian's cycle and its queues; the
// lease and the grace; flow control; what a restart does to a partition.
//
// It keeps what tools depend on and leaves out what they cannot see: storage is
// an append-only log per partition, replication one write at a time, and servers
// talk to each other in a protocol of their own.
//
// Every duration can be scaled (time_scale of [simulator], or PEGASUS_SIM_SCALE)
// and a process can be told to misbehave, in the config or by sim.* commands
// while it runs. A request that would abort a real server aborts this one, with
// a line that starts with HAZARD: a tool that sends one must fail its tests.
package pegasus
