package builtin

import "github.com/pegbook/pegbook/modules"

// copied is what copy registers, of a file or of a folder.
type copied struct {
	written
	Files   int `json:"files"`
	Written int `json:"written"`
}

// outputs is what the modules register, by name. One that is not listed registers what its arguments say.
func outputs() map[string]*modules.Shape {
	return map[string]*modules.Shape{
		"add_host":      modules.ShapeOf[addedHost](),
		"archive":       modules.ShapeOf[archived](),
		"async_status":  modules.ShapeOf[jobStatus](),
		"blockinfile":   modules.ShapeOf[edited](),
		"command":       modules.ShapeOf[ran](),
		"copy":          modules.ShapeOf[copied](),
		"daemon":        modules.ShapeOf[daemonState](),
		"fetch":         modules.ShapeOf[fetched](),
		"file":          modules.ShapeOf[fileState](),
		"find":          modules.ShapeOf[foundFiles](),
		"get_url":       modules.ShapeOf[gotten](),
		"group_by":      modules.ShapeOf[groupedBy](),
		"include_vars":  modules.ShapeOf[includedVars](),
		"install_pkg":   modules.ShapeOf[installed](),
		"lineinfile":    modules.ShapeOf[edited](),
		"pause":         modules.ShapeOf[paused](),
		"ping":          modules.ShapeOf[pong](),
		"raw":           modules.ShapeOf[ran](),
		"render_config": modules.ShapeOf[written](),
		"replace":       modules.ShapeOf[edited](),
		"script":        modules.ShapeOf[ran](),
		"service":       modules.ShapeOf[unitState](),
		"shell":         modules.ShapeOf[ran](),
		"slurp":         modules.ShapeOf[slurped](),
		"stat":          modules.ShapeOf[statOutput](),
		"systemd":       modules.ShapeOf[unitState](),
		"tempfile":      modules.ShapeOf[madeTemp](),
		"template":      modules.ShapeOf[written](),
		"unarchive":     modules.ShapeOf[unpacked](),
		"wait_for":      modules.ShapeOf[waited](),
	}
}
