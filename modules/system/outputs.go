package system

import "github.com/pegbook/pegbook/modules"

// outputs is what the modules register, by name. One that is not listed registers what its arguments say.
func outputs() map[string]*modules.Shape {
	return map[string]*modules.Shape{
		"apt":            modules.ShapeOf[packageState](),
		"authorized_key": modules.ShapeOf[authorizedKeyState](),
		"cron":           modules.ShapeOf[cronState](),
		"dnf":            modules.ShapeOf[packageState](),
		"group":          modules.ShapeOf[groupState](),
		"hostname":       modules.ShapeOf[hostnameState](),
		"mount":          modules.ShapeOf[mountState](),
		"package":        modules.ShapeOf[packageState](),
		"user":           modules.ShapeOf[userState](),
		"yum":            modules.ShapeOf[packageState](),
	}
}
