package policy

import "strings"

// protected are the parts of the configuration that decide what is allowed, who may ask,
// what an assistant is told and where its words go: a change of one can weaken the
// defender, and is noted in the ledger. A path counts with all below it, and with all
// above it: who replaces "pipeline" replaces "pipeline.timeoutsMs.defend".
var protected = []string{"defend", "gateway", "hooks", "channels", "agent", "storage", "config", "pipeline.timeoutsMs.defend"}

// ProtectedRoots are the names that Protected goes by; a test of cmd holds them to the
// sections that there are.
func ProtectedRoots() []string { return append([]string(nil), protected...) }

// Protected reports whether a change of that path of the configuration could weaken the
// policy. Paths are dotted; letter case does not count.
func Protected(path string) bool {
	path = strings.ToLower(strings.Trim(path, ". "))
	if path == "" {
		return true // the whole document
	}
	for _, p := range protected {
		p = strings.ToLower(p)
		if path == p || strings.HasPrefix(path, p+".") || strings.HasPrefix(path, p+"[") || strings.HasPrefix(p, path+".") {
			return true
		}
	}
	return false
}
