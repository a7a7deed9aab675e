package schema

import (
	"strconv"

	"github.com/pegbook/pegbook/modules"
	"github.com/pegbook/pegbook/runner/playbook"
)

// moduleNode is the schema of what a task writes behind a module's name.
func moduleNode(m *modules.Module) *Node {
	title := m.Title()
	n := &Node{Ref: refPrefix + "args-" + m.Name, Description: title, AllOf: requiredArgs(m.Args), Type: []string{"object", "string"}}
	free, hasFree := m.Args.Free()
	switch {
	case !hasFree:
		n.Pattern = `^\s*[A-Za-z_][A-Za-z0-9_]*=` // name=value …
	case free.Type == modules.TypeList:
		n.Type = append(n.Type, "number", "boolean", "array")
	default:
		n.Type = append(n.Type, "number", "boolean")
	}
	if len(n.AllOf) == 0 || hasFree {
		n.Type = append(n.Type, "null")
	}
	return n
}

// argumentsNode is the schema of a mapping of arguments, of which none is required.
func argumentsNode(args modules.Schema) *Node {
	n := object(map[string]*Node{})
	n.Type = nil // a module may also take text
	for _, arg := range args {
		if arg.Rest {
			n.Additional = described(anything(), arg.Doc)
			continue
		}
		n.Properties[arg.Name] = argNode(arg)
		for _, alias := range arg.Aliases {
			n.Properties[alias] = described(argNode(arg), "The same as "+arg.Name+".")
		}
		if arg.Free {
			n.Properties[playbook.FreeForm] = described(argNode(arg), "The same as "+arg.Name+".")
		}
	}
	return n
}

// requiredArgs says which arguments must be there, by any of their names.
func requiredArgs(args modules.Schema) []*Node {
	var all []*Node
	for _, arg := range args {
		if !arg.Required {
			continue
		}
		names := append([]string{arg.Name}, arg.Aliases...)
		if arg.Free {
			names = append(names, playbook.FreeForm)
		}
		options := make([]*Node, len(names))
		for i, name := range names {
			options[i] = having(name)
		}
		if len(options) > 1 {
			all = append(all, anyOf(options...))
		} else {
			all = append(all, options[0])
		}
	}
	return all
}

// argNode is the schema of an argument: of its type, or a template.
func argNode(arg modules.Arg) *Node {
	if arg.Elem != "" {
		elem := arg
		elem.Type, elem.Elem = arg.Elem, ""
		if arg.Type == modules.TypeMap {
			n := scalar("^$", "object")
			n.Additional = scalarNode(elem)
			return described(n, argText(arg))
		}
		return described(orList(scalarNode(elem)), argText(arg))
	}
	n := described(scalarNode(arg), argText(arg))
	if arg.Default != "" {
		n.Default = arg.Default
	}
	return n
}

// scalarNode is the schema of a single value.
func scalarNode(arg modules.Arg) *Node {
	if len(arg.Choices) > 0 {
		return anyOf(&Node{Enum: choices(arg.Choices)}, ref("template"), typed("null"))
	}
	limited := func(n *Node) *Node {
		n.Minimum, n.Maximum = limit(arg.Min), limit(arg.Max)
		return n
	}
	switch arg.Type {
	case modules.TypeBool:
		return scalar(booleanPattern+"|^[01tfynTFYN]$", "boolean", "integer")
	case modules.TypeInt:
		return limited(scalar(`^\s*[-+]?[0-9]+\s*$`, "integer"))
	case modules.TypeFloat:
		return limited(scalar(`^\s*[-+]?[0-9.]+([eE][-+]?[0-9]+)?\s*$`, "number"))
	case modules.TypeDuration:
		return limited(scalar(`^\s*[-+]?([0-9.]+(ns|us|µs|ms|s|m|h)?)+\s*$`, "number"))
	case modules.TypePath:
		return scalar(`^(/|$)`)
	case modules.TypeExpr:
		return ref("expression")
	case modules.TypeAny:
		return anything()
	case modules.TypeMode:
		return scalar(`^\s*([0-7]+|0o[0-7]+|preserve|[ugoa]*[-+=].*)\s*$`, "integer")
	case modules.TypeString, modules.TypeList, modules.TypeMap:
	}
	return typed("string", "number", "boolean", "null")
}

// choices are the words that an argument takes, also as the numbers and booleans that YAML reads them as.
func choices(words []string) []any {
	out := anySlice(words)
	for _, word := range words {
		if n, err := strconv.Atoi(word); err == nil {
			out = append(out, n)
		}
		if word == "true" || word == "false" {
			out = append(out, word == "true")
		}
	}
	return out
}

// argText is what an editor shows of an argument.
func argText(arg modules.Arg) string {
	text := arg.Doc
	if limits := arg.Limits(); limits != "" {
		text += " (" + limits + ")"
	}
	return text
}

// moduleDefaults is the schema of module_defaults: arguments of modules, of which none is required.
func moduleDefaults(set []*modules.Module) *Node {
	n := &Node{Type: []string{"object", "null"}, Properties: map[string]*Node{}, PatternProperties: map[string]*Node{}, Additional: nothing()}
	for _, m := range set {
		args := &Node{Ref: refPrefix + "args-" + m.Name, Type: []string{"object"}}
		n.Properties[m.Name] = args
		n.PatternProperties[longForm+m.Name+"$"] = args
	}
	return n
}
