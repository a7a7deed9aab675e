// Package plugins lets other programs provide modules. [Serve] is a plugin's main; [Open] is pegbook's side: it
// starts a plugin and gives its modules, which the runner uses as it uses its own.
//
// A plugin's module is written as a built-in is and is given the same modules.Host: each of its calls travels back
// to pegbook, where check mode's overlay, become and jobs are. Errors keep their kind on the way, cancelling a
// context cancels the other side, and the hosts of a run share one process.
//
// What a plugin may not do: outlive pegbook, be another file than the one that was trusted, see pegbook's
// environment, take pegbook down with it. A plugin that dies, hangs, floods or answers nonsense fails the tasks
// that were using it, each with an [*Error] that names it.
//
// # Design
//
// A task is one bidirectional stream on which both sides ask and answer. There was a choice of go-plugin's broker,
// a second connection for the calls back: with the stream there are no handles of tasks to leak, the end of a task
// ends everything that belongs to it, and a plugin in another language needs nothing of go-plugin but its first
// line of output. Content and connections are read by asking for the next piece, so that no reader can hold up the
// others on the stream.
package plugins
