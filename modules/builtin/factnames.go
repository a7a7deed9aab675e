package builtin

// factNames are the facts that setup may find, besides one for each network interface.
func factNames() []string {
	names := []string{
		"all_ipv4_addresses", "all_ipv6_addresses", "apparmor", "architecture", "bios_date", "bios_vendor", "bios_version",
		"board_name", "board_serial", "board_vendor", "board_version", "chassis_serial", "chassis_vendor",
		"chassis_version", "clock_offset", "cmdline", "date_time", "default_ipv4", "default_ipv6", "devices",
		"distribution", "distribution_major_version", "distribution_release", "distribution_version", "dns", "domain",
		"effective_group_id", "effective_user_id", "env", "fips", "fqdn", "gather_subset", "hostname", "interfaces",
		"kernel", "kernel_version", "loadavg", "local", "lsb", "machine", "machine_id", "memavailable_mb", "memfree_mb",
		"memory_mb", "memtotal_mb", "module_setup", "mounts", "nodename", "os_family", "pkg_mgr", "proc_cmdline",
		"processor", "processor_cores", "processor_count", "processor_nproc", "processor_threads_per_core",
		"processor_vcpus", "product_name", "product_serial", "product_uuid", "product_version", "real_group_id",
		"real_user_id", "selinux", "service_mgr", "ssh_host_key_dsa_public", "ssh_host_key_ecdsa_public",
		"ssh_host_key_ecdsa_public_keytype", "ssh_host_key_ed25519_public", "ssh_host_key_ed25519_public_keytype",
		"ssh_host_key_rsa_public", "ssh_host_key_rsa_public_keytype", "swapfree_mb", "swaptotal_mb", "system",
		"system_vendor", "uptime_seconds", "user_dir", "user_gecos", "user_gid", "user_id", "user_shell", "user_uid",
		"userspace_architecture", "userspace_bits", "virtualization_role", "virtualization_type",
	}
	for i, name := range names {
		names[i] = "ansible_" + name
	}
	return names
}
