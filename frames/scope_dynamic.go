package frames

import "strings"

// The functions below decide the scope of the methods whose scope depends on their
// params. They read the raw params, before any schema has seen them: whatever they find
// unreadable needs the scope that upstream asks for params of the wrong type, and is
// refused by the schema afterwards.

// fieldsOf calls yield for each member of the object params until it returns false, and
// reports whether params is an object at all. It stops at the first syntax error.
func fieldsOf(params []byte, yield func(name quoted, value []byte) bool) bool {
	i := space(params, 0)
	if i >= len(params) || params[i] != '{' || !Valid(params) {
		return false
	}
	members(params, i, func(name quoted, at int) int {
		end := skip(params, at)
		if !yield(name, params[at:end]) {
			return -1
		}
		return end
	})
	return true
}

// stringIs reports whether the raw value is the string s.
func stringIs(raw []byte, s string) bool {
	return len(raw) > 1 && raw[0] == '"' && quoted{raw, true}.is(s)
}

func isTrue(raw []byte) bool { return string(raw) == "true" }

// anyField reports whether test holds for a member of params.
func anyField(params []byte, test func(name quoted, value []byte) bool) bool {
	found := false
	fieldsOf(params, func(name quoted, value []byte) bool {
		found = test(name, value)
		return !found
	})
	return found
}

func adminIf(admin bool) Scope {
	if admin {
		return ScopeAdmin
	}
	return ScopeWrite
}

// scopeAgent: /new and /reset change the session's lifecycle.
func scopeAgent(params []byte) Scope {
	return adminIf(anyField(params, func(name quoted, value []byte) bool {
		return name.is("message") && len(value) > 1 && value[0] == '"' && isResetCommand(value)
	}))
}

// isResetCommand reports whether the raw string matches /^\/(new|reset)(?:\s+([\s\S]*))?$/i.
func isResetCommand(raw []byte) bool {
	const longest = len("/reset") + 1 // and the white space after it
	var head [longest]rune
	n := 0
	body := raw[1 : len(raw)-1]
	for i := 0; i < len(body) && n < longest; n++ {
		r, size := nextRune(body, i)
		head[n] = r
		i += size
	}
	for _, command := range [...]string{"/new", "/reset"} {
		k := len(command)
		if n < k || !strings.EqualFold(string(head[:k]), command) {
			continue
		}
		if n == k || isJSSpace(head[k]) {
			return true
		}
	}
	return false
}

func scopeSessionsCreate(params []byte) Scope {
	return adminIf(anyField(params, func(name quoted, value []byte) bool {
		switch {
		case name.is("incognito"):
			return isTrue(value)
		case name.is("key"), name.is("parentSessionKey"):
			return len(value) > 1 && value[0] == '"' && IsIncognitoKey(string(Unquote(nil, value)))
		case name.is("execNode"), name.is("toolOverrides"):
			return true
		}
		return name.is("permissionMode") && stringIs(value, "full")
	}))
}

// patchFields are the changes that write may make to a session; any other needs admin.
func patchFields(name quoted) bool {
	for _, f := range [...]string{"label", "autoLabel", "icon", "color", "category", "boardFace",
		"boardPresentation", "pinned", "archived", "unread", "model", "agentRuntime",
		"thinkingLevel", "fastMode", "permissionMode"} {
		if name.is(f) {
			return true
		}
	}
	return false
}

// patchEnvelope are the members of sessions.patch that say which session and which
// state of it is meant.
func patchEnvelope(name quoted) bool {
	for _, f := range [...]string{"key", "agentId", "expectedSessionId", "expectedLifecycleRevision",
		"expectedPermissionMode", "expectedMarkedUnreadAt"} {
		if name.is(f) {
			return true
		}
	}
	return false
}

func scopeSessionsPatch(params []byte) Scope {
	return adminIf(anyField(params, func(name quoted, value []byte) bool {
		return name.is("permissionMode") && stringIs(value, "full") || !patchEnvelope(name) && !patchFields(name)
	}))
}

func scopeSessionsPatchMany(params []byte) Scope {
	return adminIf(anyField(params, func(name quoted, value []byte) bool {
		return name.is("patch") && anyField(value, func(name quoted, value []byte) bool {
			return name.is("permissionMode") && stringIs(value, "full") || !patchFields(name)
		})
	}))
}

func scopeSessionsDelete(params []byte) Scope {
	archivedOnly, known := false, true
	fieldsOf(params, func(name quoted, value []byte) bool {
		switch {
		case name.is("archivedOnly"):
			archivedOnly = isTrue(value)
		case name.is("key"), name.is("agentId"), name.is("deleteTranscript"), name.is("expectedSessionId"):
		default:
			known = false
		}
		return known
	})
	return adminIf(!archivedOnly || !known)
}

func scopeSessionsDispatch(params []byte) Scope {
	if schemaNamed("SessionsDispatchParams").Validate("sessions.dispatch", params) != nil {
		return ScopeWrite
	}
	return adminIf(!anyField(params, func(name quoted, value []byte) bool {
		return name.is("deviceId") || name.is("autoDevice") && isTrue(value)
	}))
}

func scopeSessionsMove(params []byte) Scope {
	if schemaNamed("SessionsMoveParams").Validate("sessions.move", params) != nil {
		return ScopeWrite
	}
	return adminIf(anyField(params, func(name quoted, value []byte) bool {
		return name.is("target") && anyField(value, func(name quoted, value []byte) bool {
			return name.is("kind") && stringIs(value, "profile")
		})
	}))
}

// scopeNodeInvoke: commands that cross into the node's host need admin. A request to
// change a browser's persistent profiles needs only write, because the method refuses
// it by itself with a better message.
func scopeNodeInvoke(params []byte) Scope {
	proxy, admin, mutation := false, false, false
	fieldsOf(params, func(name quoted, value []byte) bool {
		switch {
		case name.is("command"):
			proxy = stringIs(value, "browser.proxy") || stringIs(value, "browser.proxy.upload.v1")
			admin = proxy || stringIs(value, "fs.listDir") || stringIs(value, "terminal.upload")
		case name.is("params"):
			mutation = changesBrowserProfile(value)
		}
		return true
	})
	return adminIf(admin && !(proxy && mutation))
}

// changesBrowserProfile is upstream's isForbiddenBrowserProxyMutation.
func changesBrowserProfile(params []byte) bool {
	var method, path string
	fieldsOf(params, func(name quoted, value []byte) bool {
		if len(value) > 1 && value[0] == '"' {
			switch {
			case name.is("method"):
				method = strings.ToUpper(strings.TrimSpace(string(Unquote(nil, value))))
			case name.is("path"):
				path = strings.TrimSpace(string(Unquote(nil, value)))
			}
		}
		return true
	})
	if path == "" {
		return false
	}
	if path = "/" + strings.TrimPrefix(path, "/"); len(path) > 1 {
		path = strings.TrimRight(path, "/")
	}
	switch method {
	case "POST":
		return path == "/profiles/create" || path == "/reset-profile"
	case "DELETE":
		rest, ok := strings.CutPrefix(path, "/profiles/")
		return ok && rest != "" && !strings.Contains(rest, "/")
	}
	return false
}

func scopeTalkConfig(params []byte) Scope {
	if anyField(params, func(name quoted, value []byte) bool { return name.is("includeSecrets") && isTrue(value) }) {
		return ScopeRead | ScopeTalkSecrets
	}
	return ScopeRead
}

func scopeEnvironmentsList(params []byte) Scope {
	if anyField(params, func(name quoted, value []byte) bool {
		return name.is("runtimeId") && len(value) > 2 && value[0] == '"'
	}) {
		return ScopeWrite
	}
	return ScopeRead
}

func scopeListDir(params []byte) Scope {
	return adminIf(anyField(params, func(name quoted, _ []byte) bool { return name.is("nodeId") }))
}

func scopePairingApprove(params []byte) Scope {
	if anyField(params, func(name quoted, value []byte) bool { return name.is("bootstrapCommandOwner") && isTrue(value) }) {
		return ScopePairing | ScopeAdmin
	}
	return ScopePairing
}

func scopeSessionAction([]byte) Scope { return ScopeWrite }
