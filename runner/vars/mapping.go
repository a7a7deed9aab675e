package vars

// Mapping gives the variables as one value, a mapping of them, as if it had been written in their place.
func (vs *Values) Mapping() Value {
	n := &node{kind: kindMapping, static: true}
	data := map[string]any{}
	for e := range vs.all() {
		n.fields = append(n.fields, Field{Name: e.name, At: e.value.Position(), Value: e.value})
		n.static = n.static && e.value.n.static
		data[e.name] = e.value.n.data
	}
	if n.static {
		n.data = data
	}
	return Value{n}
}
