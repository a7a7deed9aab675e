// Package runner compiles playbooks for an inventory into a plan and carries the plan out on hosts.
//
// [Compile] finds everything that can be wrong before the first connection. [Plan.Run] walks the plan:
// modules propose, the runner decides. It says what happens as a stream of events and never prints.
//
// # Design
//
// A play is a node of a graph and unfolds into its batches, a batch into rows, a row into steps. A row
// is one task of the play in its place; a step is that row on one host. Blocks are flattened: the rows
// of body, rescue and always stand one after the other, and where a host stands decides which of them
// do something on it. So a failed host, a false condition or a handler that nobody notified never
// changes which rows there are, and hosts keep in step however differently they fare.
//
// What is brought in while running (an include, a flush of handlers) is a row that unfolds into further
// rows in its place.
//
// One goroutine walks. It alone owns where hosts stand (type player), the recap and the order of
// events. Steps run on goroutines of their own and touch only their host's variables, which have a lock.
package runner
