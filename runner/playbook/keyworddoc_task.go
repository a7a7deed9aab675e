package playbook

func taskDocs() map[string]KeywordDoc {
	return map[string]KeywordDoc{
		"register":     {Takes: TakesName, Fixed: true, Doc: "Keep the result in a variable of the host.", Example: "register: made"},
		"changed_when": {Takes: TakesConditions, Doc: "Whether the task counts as changed; the result is in the variable of register.", Example: "changed_when: false"},
		"failed_when":  {Takes: TakesConditions, Doc: "Whether the task has failed; the result is in the variable of register.", Example: "failed_when: gt .made.rc 1"},
		"args":         {Takes: TakesArguments, Doc: "Arguments beside those of the module's own value.", Example: "args: {chdir: /srv}"},
		"local_action": {Takes: TakesModule, Doc: "A module on the control node; the same as delegate_to: localhost.", Example: "local_action: {module: command, cmd: /bin/true}"},
		"meta": {Takes: TakesWord, Fixed: true, Choices: []string{"flush_handlers", "end_play", "end_batch", "end_host", "end_role", "clear_host_errors", "clear_facts",
			"refresh_inventory", "reset_connection", "noop"}, Doc: "What the runner itself does.", Example: "meta: flush_handlers"},
		"listen": {Takes: TakesTexts, Fixed: true, Doc: "Topics that a handler is notified by, besides its name.", Example: "listen: configuration changed"},
		"async": {Takes: TakesWhole, Doc: "Seconds that the task may take. What command, shell and script run goes on by itself on the host, whatever becomes of the connection.",
			Example: "async: 3600", Ansible: "The work of other modules is the control node's: it ends with the connection."},
		"poll": {Takes: TakesWhole, Default: "15", Doc: "Seconds between looks at a task under async; 0: go on at once, and ask async_status later.", Example: "poll: 0",
			Ansible: "poll: 0 is for command, shell and script."},
		"parallel": {Takes: TakesBoolean, Fixed: true, Default: "false", Doc: "Run the tasks of a block side by side on each host.", Example: "parallel: true", Ansible: "Not in Ansible."},
		"gate": {Takes: TakesText, Doc: "Wait, once for the batch, until somebody approves: at the terminal, by pegbook runs approve, or with --yes.",
			Example: "gate: Does the first server look well?", Ansible: "In place of pause with a prompt; it also says what comes next, and can be answered from elsewhere."},
	}
}

func repeatDocs() map[string]KeywordDoc {
	return map[string]KeywordDoc{
		"loop": {Takes: TakesList, Doc: "Run once for each item, which is .item.", Example: "loop: [a, b]", Ansible: "The only loop: with_… is refused with the loop to write."},
		"loop_control": {Takes: TakesKeys, Keys: []KeyDoc{
			{Name: "loop_var", Takes: TakesName, Fixed: true, Doc: "the item's variable, in place of item"},
			{Name: "index_var", Takes: TakesName, Fixed: true, Doc: "a variable for the item's number, from 0"},
			{Name: "label", Takes: TakesAny, Doc: "what is shown of an item"},
			{Name: "pause", Takes: TakesNumber, Fixed: true, Doc: "seconds between items"},
			{Name: "extended", Takes: TakesBoolean, Fixed: true, Doc: "whether .ansible_loop is set"},
		}, Doc: "How a loop runs.", Example: "loop_control: {loop_var: table, label: \"{{ .table.name }}\"}"},
		"until":   {Takes: TakesConditions, Doc: "Repeat until the expression is true.", Example: "until: eq .answer.status 200"},
		"retries": {Takes: TakesWhole, Default: "3", Doc: "How often to repeat; without until: until the task succeeds.", Example: "retries: 10"},
		"delay":   {Takes: TakesNumber, Default: "5", Doc: "Seconds between attempts.", Example: "delay: 1"},
	}
}

func structureDocs() map[string]KeywordDoc {
	from := []KeyDoc{
		{Name: "name", Takes: TakesRole, Required: true, Doc: "the role"},
		{Name: "tasks_from", Takes: TakesText, Fixed: true, Doc: "the file of tasks, in place of main"},
		{Name: "vars_from", Takes: TakesText, Fixed: true, Doc: "the file of variables, in place of main"},
		{Name: "defaults_from", Takes: TakesText, Fixed: true, Doc: "the file of defaults, in place of main"},
		{Name: "handlers_from", Takes: TakesText, Fixed: true, Doc: "the file of handlers, in place of main"},
		{Name: "allow_duplicates", Takes: TakesBoolean, Fixed: true, Doc: "without meaning: a role brought in by a task always runs"},
		{Name: "rolespec_validate", Takes: TakesBoolean, Fixed: true, Doc: "whether the role's argument specification is checked; true unless said otherwise"},
	}
	apply := KeyDoc{Name: "apply", Takes: TakesKeywords, Doc: "keywords for what is brought in"}
	public := KeyDoc{Name: "public", Takes: TakesBoolean, Fixed: true, Doc: "whether the role's variables stay after it"}
	file := KeyDoc{Name: "file", Takes: TakesFile, Required: true, Doc: "the file of tasks"}
	return map[string]KeywordDoc{
		"block":           {Takes: TakesTasks, Doc: "Tasks with keywords in common, and with a rescue.", Example: "block: [{command: /bin/risky}]"},
		"rescue":          {Takes: TakesTasks, Doc: "Tasks for hosts on which the block failed; when they go well, the host goes on.", Example: "rescue: [{debug: {msg: failed}}]"},
		"always":          {Takes: TakesTasks, Doc: "Tasks that run however the block ended.", Example: "always: [{debug: {msg: ended}}]"},
		"include_tasks":   {Takes: TakesFile, Keys: []KeyDoc{file, apply}, Doc: "Bring in a file of tasks when a host gets there; may loop.", Example: "include_tasks: update-{{ .role }}.yml"},
		"include_role":    {Takes: TakesKeys, Keys: append(append([]KeyDoc{}, from...), public, apply), Doc: "Bring in a role when a host gets there; may loop.", Example: "include_role: {name: pegasus, tasks_from: stop}"},
		"import_tasks":    {Takes: TakesFile, Keys: []KeyDoc{file}, Doc: "Bring in a file of tasks with the playbook; the import's keywords hold for each task.", Example: "import_tasks: install.yml"},
		"import_role":     {Takes: TakesKeys, Keys: from, Doc: "Bring in a role with the playbook; the import's keywords hold for each task.", Example: "import_role: {name: pegasus}"},
		"import_playbook": {Takes: TakesFile, Doc: "Bring in the plays of another playbook.", Example: "import_playbook: base.yml"},
		"role":            {Takes: TakesRole, Doc: "The role of an entry of roles or dependencies.", Example: "role: pegasus"},
	}
}
