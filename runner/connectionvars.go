package runner

// ConnectionVariable is a variable that says how a host is reached.
type ConnectionVariable struct {
	Name    string
	Takes   VariableKind
	Choices []string
	Doc     string
}

// VariableKind is the kind of value of a connection variable.
type VariableKind string

// Kinds of values.
const (
	VariableText    VariableKind = "text"
	VariableTexts   VariableKind = "text or list of texts"
	VariableNumber  VariableKind = "whole number"
	VariableBoolean VariableKind = "true or false"
)

// ConnectionVariables are the variables that say how a host is reached.
func ConnectionVariables() []ConnectionVariable {
	text := func(doc string, names ...string) []ConnectionVariable { return alike(VariableText, doc, names) }
	number := func(doc string, names ...string) []ConnectionVariable { return alike(VariableNumber, doc, names) }
	flag := func(doc string, names ...string) []ConnectionVariable { return alike(VariableBoolean, doc, names) }
	var all []ConnectionVariable
	for _, some := range [][]ConnectionVariable{
		{{Name: "ansible_connection", Takes: VariableText, Choices: []string{"ssh", "local", "smart", "paramiko"}, Doc: "How to reach the host: ssh, or local for the control node."}},
		text("Address or name to connect to; else the inventory's name.", "ansible_host", "ansible_ssh_host"),
		number("SSH port; else 22.", "ansible_port", "ansible_ssh_port"),
		text("User to connect as; else who runs pegbook.", "ansible_user", "ansible_ssh_user"),
		text("Key file, tried before the agent's keys.", "ansible_private_key_file", "ansible_ssh_private_key_file"),
		text("Password of the login user.", "ansible_password", "ansible_ssh_password", "ansible_ssh_pass"),
		text("Jump hosts, user@host:port, in order.", "ansible_ssh_proxy_jump"),
		alike(VariableTexts, "File of host keys, or a list of them; new keys go to the first.", []string{"ansible_ssh_known_hosts_file"}),
		flag("Whether the key of a host that is not known is taken and remembered.", "ansible_host_key_accept_new"),
		flag("false: the key of a host that is not known is taken and remembered.", "ansible_host_key_checking", "ansible_ssh_host_key_checking"),
		text("SSH configuration to read in place of the user's; none reads none.", "ansible_ssh_config_file"),
		number("Seconds that connecting may take; else 30.", "ansible_timeout", "ansible_ssh_timeout"),
		number("How often connecting is tried again; else 3, -1 is never.", "ansible_ssh_retries"),
		text("Folder on the host to keep the helper in.", "ansible_remote_tmp"),
		flag("Whether to act as another user.", "ansible_become"),
		text("As whom to act; else root.", "ansible_become_user"),
		text("How to become another user: sudo, su or doas.", "ansible_become_method"),
		text("Password that becoming asks for.", "ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"),
		text("Program to become another user with.", "ansible_become_exe"),
		text("More arguments of that program.", "ansible_become_flags"),
		text("Arguments of ssh, of which -J, -F, -i, -p, -l and some -o have a meaning.", "ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"),
	} {
		all = append(all, some...)
	}
	return all
}

func alike(takes VariableKind, doc string, names []string) []ConnectionVariable {
	out := make([]ConnectionVariable, len(names))
	for i, name := range names {
		out[i] = ConnectionVariable{Name: name, Takes: takes, Doc: doc}
	}
	return out
}
