package frames

//go:generate go run ./gen -schema ../../shared/protocol/schema96.json -out .

// LookupMethod returns the protocol's contract of the method, nil when it has none. It
// does not allocate.
func LookupMethod(name []byte) *Method {
	if i := methodPlace(name); i >= 0 {
		return &methodTable[i]
	}
	return nil
}

// Methods returns every method of the protocol, in the order of its registry, then those
// of plugins, then Sluice's own. The slice is the caller's; the Methods are shared and constant.
func Methods() []*Method {
	list := make([]*Method, len(methodTable))
	for i := range methodTable {
		list[i] = &methodTable[i]
	}
	return list
}

const (
	// CoreMethods is how many of Methods are the protocol's, PluginMethods how many follow
	// that plugins add to the real gateway. What is behind them is Sluice's own
	// (frames/gen/rules.go): no other gateway answers it.
	CoreMethods   = 482
	PluginMethods = 7
)

// StartupGated reports whether upstream answers the method UNAVAILABLE until it has
// started (wire.md appendix A, flag S).
func StartupGated(name string) bool {
	for _, n := range startupGated {
		if n == name {
			return true
		}
	}
	return false
}
