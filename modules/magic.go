package modules

import "slices"

// MagicNames are the variables that pegbook itself sets, but for those that are called as facts are: see MagicFacts.
func MagicNames() []string {
	return []string{"ansible_failed_result", "ansible_failed_task", "environment", "group_names", "groups", "hostvars", "inventory_dir", "inventory_file", "inventory_hostname",
		"inventory_hostname_short", "omit", "pegbook_rollback", "pegbook_run", "play_hosts", "playbook_dir", "role_name", "role_names", "role_path"}
}

// MagicFacts are the variables that pegbook itself sets whose names are like those of facts.
func MagicFacts() []string {
	return []string{"ansible_check_mode", "ansible_diff_mode", "ansible_facts", "ansible_failed_result", "ansible_failed_task", "ansible_forks",
		"ansible_index_var", "ansible_inventory_sources", "ansible_limit", "ansible_loop", "ansible_loop_var", "ansible_parent_role_names", "ansible_parent_role_paths",
		"ansible_play_batch", "ansible_play_hosts", "ansible_play_hosts_all", "ansible_play_name", "ansible_play_role_names", "ansible_role_name",
		"ansible_run_tags", "ansible_search_path", "ansible_skip_tags", "ansible_verbosity", "ansible_version"}
}

// Magic says whether a variable is pegbook's own, so that whatever else sets it sets nothing that anybody sees.
func Magic(name string) bool {
	return name != "environment" && (slices.Contains(MagicNames(), name) || slices.Contains(MagicFacts(), name))
}
