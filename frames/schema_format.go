package frames

import (
	"slices"
	"strings"
)

// formatIssues is openclaw's normalizeTypeBoxValidationErrors and formatValidationErrors.
func formatIssues(list []issue) string {
	var parts []string
	for _, is := range dropReplaced(list) {
		text := is.text()
		if strings.TrimSpace(text) != "" && !slices.Contains(parts, text) {
			parts = append(parts, text)
		}
	}
	if len(parts) == 0 {
		return "unknown validation error"
	}
	return strings.Join(parts, "; ")
}

// dropReplaced removes the faults of unknown properties that stand directly before
// their aggregate.
func dropReplaced(list []issue) []issue {
	out := make([]issue, 0, len(list))
	run := 0
	for _, is := range list {
		if is.keyword == "boolean" {
			out = append(out, is)
			run++
			continue
		}
		if n := len(is.names); is.keyword == "additionalProperties" && n > 0 && n <= run {
			replaced := true
			for k, child := range out[len(out)-n:] {
				replaced = replaced && child.child && child.path == is.path+"/"+is.names[k]
			}
			if replaced {
				out = out[:len(out)-n]
			}
		}
		out = append(out, is)
		run = 0
	}
	return out
}

func (is issue) text() string {
	first := ""
	for _, name := range is.names {
		if strings.TrimSpace(name) != "" {
			first = name
			break
		}
	}
	switch {
	case is.keyword == "additionalProperties" && first != "":
		where := "root"
		if is.path != "" {
			where = is.path
		}
		return "at " + where + ": unexpected property '" + first + "'"
	case is.keyword == "required" && first != "":
		if is.path == "" {
			return "must have required property '" + first + "'"
		}
		return "at " + is.path + ": must have required property '" + first + "'"
	case is.path == "":
		return is.message
	}
	return "at " + is.path + ": " + is.message
}
