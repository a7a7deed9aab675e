package playbook

func playDocs() map[string]KeywordDoc {
	return map[string]KeywordDoc{
		"hosts": {Takes: TakesPatterns, Doc: "Which hosts the play is for. Required.", Example: "hosts: replica_server:!broken"},
		"serial": {Takes: TakesShares, Default: "all hosts at once", Doc: "How many hosts a batch has; the last element of a list repeats. A batch ends before the next begins.",
			Example: `serial: [1, "30%"]`},
		"order": {Takes: TakesWord, Fixed: true, Choices: []string{"inventory", "sorted", "reverse_sorted", "reverse_inventory", "shuffle"}, Default: "inventory",
			Doc: "In which order hosts are taken into batches.", Example: "order: sorted"},
		"strategy": {Takes: TakesWord, Fixed: true, Choices: []string{"linear", "free", "host_pinned"}, Default: "linear",
			Doc: "linear: all hosts of a batch end a task before the next begins. free: each host goes on by itself. host_pinned: as free, and a host is worked on to its end.", Example: "strategy: free"},
		"gather_facts":  {Takes: TakesBoolean, Fixed: true, Default: "true", Doc: "Whether facts about the hosts are gathered before the first task.", Example: "gather_facts: false"},
		"gather_subset": {Takes: TakesAny, Default: "all", Doc: "Which facts the setup module gathers.", Example: "gather_subset: [network]"},
		"vars_files": {Takes: TakesFiles, Doc: "Files of variables; later ones win. A list among them means the first that exists.", Example: "vars_files: [common.yml, [\"{{ .env }}.yml\", other.yml]]",
			Ansible: "A missing file is always an error, found before the run where its name is no template."},
		"vars_prompt": {Takes: TakesPrompts, Fixed: true, Doc: "Questions to whoever runs the playbook, asked before anything runs; the answers are variables. -e NAME=… answers without asking.",
			Keys: []KeyDoc{
				{Name: "name", Takes: TakesName, Fixed: true, Required: true, Doc: "the variable"},
				{Name: "prompt", Takes: TakesText, Doc: "the question"},
				{Name: "default", Takes: TakesAny, Doc: "what an empty answer means, and what holds where there is no terminal"},
				{Name: "private", Takes: TakesBoolean, Fixed: true, Doc: "whether the answer is hidden, as it is typed and everywhere else; true unless said otherwise"},
				{Name: "confirm", Takes: TakesBoolean, Fixed: true, Doc: "whether to ask twice"},
				{Name: "unsafe", Takes: TakesBoolean, Fixed: true, Doc: "whether an answer with braces stands for itself and is no template"},
			}, Example: "vars_prompt: [{name: version, prompt: Which version, private: false}]", Ansible: "All questions of a run are asked before the first play. encrypt and salt are refused."},
		"max_fail_percentage": {Takes: TakesPercentage, Doc: "End the play when more hosts of a batch than this are lost.", Example: "max_fail_percentage: 30",
			Ansible: "Hosts lost for any reason count, as soon as they have left their blocks."},
		"force_handlers": {Takes: TakesBoolean, Fixed: true, Default: "false", Doc: "Run notified handlers on hosts that have failed, too.", Example: "force_handlers: true"},
		"requires": {Takes: TakesRequirements, Fixed: true, Doc: "What the inventory must hold, checked before anything runs: groups and how many hosts they have.",
			Example: `requires: {meta_server: ">=2", collector: "<=1"}`, Ansible: "Not in Ansible."},
		"confirm": {Takes: TakesKeys, Keys: []KeyDoc{
			{Name: "message", Takes: TakesText, Required: true, Doc: "what is about to be destroyed"},
			{Name: "value", Takes: TakesText, Required: true, Doc: "what must be typed"},
		}, Doc: "Shown before the play, and the value must be typed, or given by --confirm.", Example: `confirm: {message: "All data is lost.", value: "{{ .cluster_name }}"}`, Ansible: "Not in Ansible."},
		"id": {Takes: TakesWord, Fixed: true, Doc: "A name that needs of other plays use.", Example: "id: meta", Ansible: "Not in Ansible."},
		"needs": {Takes: TakesWords, Fixed: true, Default: "the play before", Doc: "The play starts as soon as these plays have ended, beside others; an empty list: at once.",
			Example: "needs: [meta]", Ansible: "Not in Ansible."},
		"pre_tasks":  {Takes: TakesTasks, Doc: "Tasks before the roles; handlers that they notify run before the roles.", Example: "pre_tasks: [{ping: }]"},
		"roles":      {Takes: TakesRoles, Doc: "Roles whose tasks run before tasks.", Example: "roles: [common, {role: pegasus, tags: [db]}]"},
		"tasks":      {Takes: TakesTasks, Doc: "The play's tasks.", Example: "tasks: [{ping: }]"},
		"post_tasks": {Takes: TakesTasks, Doc: "Tasks after tasks and the handlers that these notified.", Example: "post_tasks: [{ping: }]"},
		"handlers":   {Takes: TakesTasks, Doc: "Tasks that run, once a section, when a task that changed something notifies them.", Example: "handlers: [{name: restart, systemd: {name: pegasus, state: restarted}}]"},
		"guard": {Takes: TakesGuard, Keys: []KeyDoc{
			{Name: "tasks", Takes: TakesTasks, Required: true, Doc: "what must hold; tasks that only look"},
			{Name: "hosts", Takes: TakesPatterns, Doc: "on which hosts to look, in place of those of the batch"},
			{Name: "interval", Takes: TakesNumber, Fixed: true, Doc: "seconds between two looks while a batch runs, 1 at least; 30 unless said otherwise"},
			{Name: "timeout", Takes: TakesNumber, Fixed: true, Doc: "seconds that one task of a look may take; 30 unless said otherwise"},
			{Name: "on_breach", Takes: TakesWord, Fixed: true, Choices: []string{"pause", "fail"}, Doc: "what a breach does to the run: pause, unless said otherwise, or fail"},
		}, Doc: "Tasks that only look and must hold before each batch, and go on being looked at while it runs; at a breach nothing more starts.",
			Example: "guard: {interval: 10, on_breach: fail, tasks: [{name: the service answers, wait_for: {port: 34601}}]}", Ansible: "Not in Ansible."},
		"lock": {Takes: TakesLock, Keys: []KeyDoc{
			{Name: "zookeeper", Takes: TakesTexts, Doc: "ZooKeeper's servers, host:port each, a list or one text with commas; by default those of the variable lock_zookeeper"},
			{Name: "path", Takes: TakesText, Doc: "the node in ZooKeeper, or the file on the host; empty: no lock is taken"},
			{Name: "timeout", Takes: TakesText, Doc: "how long a run that died keeps others out of a lock in ZooKeeper; 10s by default"},
			{Name: "auth", Takes: TakesText, Doc: "user:password of ZooKeeper's digest scheme, whose nodes the lock's are to be"},
			{Name: "via", Takes: TakesText, Doc: "a host, or a pattern, through whose first host ZooKeeper is reached; by default straight from the control node"},
			{Name: "file", Takes: TakesText, Doc: "a file of the control node, in place of ZooKeeper"},
			{Name: "host", Takes: TakesText, Doc: "a host, or a pattern, on whose first host the file path is locked, in place of ZooKeeper"},
		}, Doc: "Held from the first play that has the lock to the last; a run that somebody else's run keeps out is refused, or waits (--lock-wait).",
			Example: "lock: {zookeeper: [\"10.0.0.1:2181\", \"10.0.0.2:2181\"], path: \"/pegbook/locks/{{ .cluster_name }}\"}", Ansible: "Not in Ansible."},
	}
}

// everywhereDocs are keywords of several levels that are added up, or about how a failure is taken.
func everywhereDocs() map[string]KeywordDoc {
	return map[string]KeywordDoc{
		"name": {Takes: TakesText, Doc: "What it is called in output, --start-at-task and, of handlers, notify.", Example: "name: restart {{ .role }}"},
		"when": {Takes: TakesConditions, Doc: "Run only where the expression, or all of a list, is true. On a block, an import or a role it is asked for each task.",
			Example: `when: eq .role "meta"`, Ansible: "A Go template pipeline without braces whose value is true or false; anything else is an error."},
		"tags": {Takes: TakesTexts, Doc: "Words for --tags and --skip-tags; always and never are special.", Example: "tags: [config, never]"},
		"vars": {Takes: TakesVariables, Doc: "Variables for what is inside.", Example: "vars: {port: 34601}"},
		"notify": {Takes: TakesTexts, Doc: "Handlers, or topics that they listen to, to run when a task changed something.", Example: "notify: restart",
			Ansible: "A handler that nobody defines is found before the run where the name is no template."},
		"environment":        {Takes: TakesEnvironment, Doc: "Environment of commands on the host.", Example: "environment: {JAVA_HOME: /opt/java}"},
		"module_defaults":    {Takes: TakesDefaults, Doc: "Arguments of modules for tasks that do not give them.", Example: "module_defaults: {file: {mode: \"0755\"}}", Ansible: "Groups of modules (group/…) are not known."},
		"check_mode":         {Takes: TakesBoolean, Default: "that of the run (--check)", Doc: "true: change nothing, only say what would change. false: do it, even under --check.", Example: "check_mode: false"},
		"diff":               {Takes: TakesBoolean, Default: "that of the run (--diff)", Doc: "Show what changes in files.", Example: "diff: false"},
		"no_log":             {Takes: TakesBoolean, Default: "false", Doc: "Hide arguments, results and items from output, events and logs.", Example: "no_log: true"},
		"run_once":           {Takes: TakesBoolean, Default: "false", Doc: "Run for the first host of the batch only; the result is for all of them.", Example: "run_once: true"},
		"ignore_errors":      {Takes: TakesBoolean, Default: "false", Doc: "Go on after a failure.", Example: "ignore_errors: true"},
		"ignore_unreachable": {Takes: TakesBoolean, Default: "false", Doc: "Go on although the host could not be reached.", Example: "ignore_unreachable: true"},
		"any_errors_fatal": {Takes: TakesBoolean, Default: "false", Doc: "A failure on one host is a failure on all hosts of the batch.", Example: "any_errors_fatal: true",
			Ansible: "As in ansible-core 2.17: all hosts go through rescue and always."},
		"throttle":       {Takes: TakesWhole, Default: "0: no limit but --forks", Doc: "On how many hosts the task runs at a time.", Example: "throttle: 1"},
		"timeout":        {Takes: TakesNumber, Default: "0: none", Doc: "Seconds after which the task is ended and fails.", Example: "timeout: 60"},
		"delegate_to":    {Takes: TakesText, Doc: "Run on this host in place of the task's own, with the task's variables.", Example: "delegate_to: localhost"},
		"delegate_facts": {Takes: TakesBoolean, Default: "false", Doc: "Facts that the task finds belong to the host it is delegated to.", Example: "delegate_facts: true"},
	}
}

func connectionDocs() map[string]KeywordDoc {
	return map[string]KeywordDoc{
		"become":        {Takes: TakesBoolean, Default: "false", Doc: "Act as another user.", Example: "become: true"},
		"become_user":   {Takes: TakesText, Default: "root", Doc: "The user to become.", Example: "become_user: pegasus"},
		"become_method": {Takes: TakesText, Default: "sudo", Choices: []string{"sudo", "su", "doas"}, Doc: "How to become another user: sudo, su or doas.", Example: "become_method: su"},
		"connection":    {Takes: TakesText, Default: "ssh", Choices: []string{"ssh", "local", "smart", "paramiko"}, Doc: "How to reach the host: ssh, or local for the control node.", Example: "connection: local"},
		"remote_user":   {Takes: TakesText, Doc: "The user to connect as.", Example: "remote_user: admin"},
		"port":          {Takes: TakesWhole, Default: "22", Doc: "The SSH port.", Example: "port: 2222"},
	}
}
