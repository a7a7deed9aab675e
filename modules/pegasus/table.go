package pegasus

import (
	"fmt"
	"strings"
)

// table is a table as the Pegasus shell prints one.
type table struct {
	name   string
	header []string
	rows   [][]string
	right  map[int]bool // columns aligned to the right
}

func (t table) String() string {
	widths := make([]int, len(t.header))
	all := append([][]string{t.header}, t.rows...)
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[%s]\n", t.name)
	for _, row := range all {
		var line strings.Builder
		for i, cell := range row {
			if t.right[i] {
				fmt.Fprintf(&line, "%*s", widths[i]+2, cell)
			} else {
				fmt.Fprintf(&line, "%-*s", widths[i]+2, cell)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// pairs is a table of names and values.
type pairs struct {
	name string
	rows [][2]string
}

func (p pairs) String() string {
	width := 0
	for _, row := range p.rows {
		width = max(width, len(row[0]))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[%s]\n", p.name)
	for _, row := range p.rows {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-*s: %s", width+2, row[0], row[1]), " ") + "\n")
	}
	return b.String()
}
