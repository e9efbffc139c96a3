package command

import (
	"bytes"

	"mvdan.cc/sh/v3/syntax"
)

// Count says how many simple commands a line has, and how many more there are inside of
// substitutions and subshells. What does not parse counts as one.
func Count(line []byte) (commands, nested int) {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(bytes.NewReader(line), "")
	if err != nil {
		return 1, 0
	}
	var stack []bool // by open node: does it nest
	depth := 0
	syntax.Walk(file, func(n syntax.Node) bool {
		if n == nil {
			if stack[len(stack)-1] {
				depth--
			}
			stack = stack[:len(stack)-1]
			return true
		}
		nests := false
		switch n.(type) {
		case *syntax.CmdSubst, *syntax.ProcSubst, *syntax.Subshell:
			nests = true
			depth++
		case *syntax.CallExpr:
			if depth > 0 {
				nested++
			} else {
				commands++
			}
		}
		stack = append(stack, nests)
		return true
	})
	return commands, nested
}
