package auth

import (
	"slices"
	"strings"
)

// Roles with a meaning of their own.
const (
	RoleOperator = "operator"
	RoleNode     = "node"
)

const (
	scopeAdmin         = "operator.admin"
	scopeRead          = "operator.read"
	scopeWrite         = "operator.write"
	scopeTalk          = "operator.talk"
	scopeSessionsRead  = "operator.sessions.read"
	scopeSessionsWrite = "operator.sessions.write"
	operatorPrefix     = "operator."
)

// NormalizeScopes trims, drops empty and double entries, adds what admin and write
// imply, and sorts. It never returns nil: no scopes is a decision, not a gap.
func NormalizeScopes(scopes []string) []string {
	out := trimmed(scopes)
	add := func(s string) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	if slices.Contains(out, scopeAdmin) {
		add(scopeRead)
		add(scopeWrite)
	} else if slices.Contains(out, scopeWrite) {
		add(scopeRead)
	}
	slices.Sort(out)
	return out
}

// trimmed returns the entries without spaces, empty ones and doubles, in their order.
func trimmed(lists ...[]string) []string {
	out := []string{}
	for _, list := range lists {
		for _, s := range list {
			if s = strings.TrimSpace(s); s != "" && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

// operatorHas reports whether granted includes or implies an operator scope: admin
// implies all, write implies read, talk and both session scopes, read the sessions'.
func operatorHas(granted []string, scope string) bool {
	if !strings.HasPrefix(scope, operatorPrefix) {
		return false
	}
	has := func(s string) bool { return slices.Contains(granted, s) }
	if has(scope) || has(scopeAdmin) {
		return true
	}
	switch scope {
	case scopeSessionsRead:
		return has(scopeWrite) || has(scopeRead) || has(scopeSessionsWrite)
	case scopeRead, scopeTalk, scopeSessionsWrite:
		return has(scopeWrite)
	}
	return false
}

// MissingScope returns the first requested scope that granted does not cover for a
// role, or "". A role other than operator owns the scopes that start with its name.
func MissingScope(role string, requested, granted []string) string {
	role = strings.TrimSpace(role)
	granted = trimmed(granted)
	for _, scope := range trimmed(requested) {
		ok := role == RoleOperator && operatorHas(granted, scope) ||
			role != RoleOperator && strings.HasPrefix(scope, role+".") && slices.Contains(granted, scope)
		if !ok {
			return scope
		}
	}
	return ""
}

// CapScopes returns the requested scopes that granted covers: min(granted, requested),
// in the order of the request.
func CapScopes(role string, requested, granted []string) []string {
	return slices.DeleteFunc(trimmed(requested), func(scope string) bool {
		return MissingScope(role, []string{scope}, granted) != ""
	})
}

// scopeOutside returns the first scope that belongs to none of the roles, or "".
func scopeOutside(roles, scopes []string) string {
	for _, scope := range scopes {
		if !slices.ContainsFunc(roles, func(role string) bool { return strings.HasPrefix(scope, role+".") }) {
			return scope
		}
	}
	return ""
}

// scopesOf returns those scopes that belong to a role's token: the operator's begin
// with its name, all others share the rest.
func scopesOf(role string, scopes []string) []string {
	return slices.DeleteFunc(NormalizeScopes(scopes), func(s string) bool {
		return strings.HasPrefix(s, operatorPrefix) != (role == RoleOperator)
	})
}
