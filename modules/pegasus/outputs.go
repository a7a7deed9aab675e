package pegasus

import "github.com/pegbook/pegbook/modules"

// outputs is what the modules register, by name. One that is not listed registers what its arguments say.
func outputs() map[string]*modules.Shape {
	return map[string]*modules.Shape{
		"close_replicas":        modules.ShapeOf[closeOutput](),
		"downgrade_secondaries": modules.ShapeOf[drainOutput](),
		"migrate_primaries":     modules.ShapeOf[drainOutput](),
		"pegasus_backup":        modules.ShapeOf[backupOutput](),
		"pegasus_backup_policy": modules.ShapeOf[policyOutput](),
		"pegasus_balance":       modules.ShapeOf[balanceOutput](),
		"pegasus_copy_rate":     modules.ShapeOf[copyRateOutput](),
		"pegasus_preflight":     modules.ShapeOf[preflightOutput](),
		"pegasus_recover":       modules.ShapeOf[recoverOutput](),
		"pegasus_restore":       modules.ShapeOf[restoreOutput](),
		"pegasus_server":        modules.ShapeOf[serverOutput](),
		"pegasus_settings":      modules.ShapeOf[settingsOutput](),
		"pegasus_shell":         modules.ShapeOf[shellOutput](),
		"pegasus_status":        modules.ShapeOf[statusOutput](),
		"pegasus_stop_check":    modules.ShapeOf[stopCheckOutput](),
		"wait_healthy":          modules.ShapeOf[healthyOutput](),
	}
}
