package rules

import (
	"strings"

	"sluice/stages/defend/command/paths"
	"sluice/stages/defend/command/shell"
)

// environment judges a variable that a command or the rest of the line is given.
func environment(name string, v shell.Value, root bool, start, end int, hits []Hit) []Hit {
	add := func(tier Tier, score float64, family, why string) {
		hits = append(hits, Hit{Tier: tier, Score: score, Family: family, Why: why, Start: start, End: end, Rule: ruleEnv})
	}
	class := paths.Of(v.S)
	remembered(name, v.S, class, add)
	switch name {
	case "LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "DYLD_LIBRARY_PATH":
		switch {
		case v.S == "" || usualPreload(v.S):
		case v.S[0] == '/' || v.S[0] == '~' || root || strings.Contains(v.S, "tmp"):
			add(Block, 76, persistence.Name, "loads a library into every program")
		default:
			add(Review, 45, persistence.Name, "loads a library into a program")
		}
	case "PS4", "PS1":
		if strings.Contains(v.S, "$(") && (strings.Contains(v.S, "curl ") || strings.Contains(v.S, "/tmp/") || strings.Contains(v.S, "/dev/tcp") || strings.Contains(v.S, "nc ")) {
			add(Block, 70, persistence.Name, "runs a command at each prompt or step")
		}
	case "PROMPT_COMMAND", "BASH_ENV", "ENV":
		switch {
		case v.S == "":
		case suspicious(v.S) || strings.Contains(v.S, "wget ") || strings.Contains(v.S, "base64"):
			add(Block, 72, persistence.Name, "runs a command at each prompt or start")
		default:
			add(Review, 55, persistence.Name, "runs a command at each prompt or start")
		}
	case "PERL5OPT", "PERL5DB", "PYTHONSTARTUP", "CRASHPAGER", "SUDO_ASKPASS", "SSH_ASKPASS", "GIT_ASKPASS", "FACTERLIB", "VAGRANT_VAGRANTFILE", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "DOTNET_STARTUP_HOOKS", "GEM_PATH", "NODE_PATH", "GCONV_PATH", "PYTHONWARNINGS", "SYSTEMD_PAGER", "RUBYOPT", "NODE_OPTIONS", "PERL5LIB", "GIT_SSH_COMMAND", "GIT_EXTERNAL_DIFF", "GIT_PAGER", "PERL_MM_USE_DEFAULT", "RUSTC_WRAPPER", "RUSTC", "MANPAGER", "LESSOPEN", "PAGER", "EDITOR", "VISUAL", "BROWSER":
		if suspicious(v.S) || class&paths.Temp != 0 {
			add(Block, 70, evasion.Name, "makes a program start another one")
		} else if name == "NODE_OPTIONS" && strings.Contains(v.S, "--require") || name == "PERL5OPT" || name == "RUBYOPT" && strings.Contains(v.S, "-r") {
			add(Review, 45, evasion.Name, "makes a program load code")
		}
	case "LD_LIBRARY_PATH", "PATH", "PYTHONPATH":
		searched(v.S, root, class, add)
	case "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY":
		if v.Known() && (bareAddress(v.S) || strings.HasPrefix(v.S, "127.") || strings.Contains(v.S, "//127.")) {
			add(Review, 38, evasion.Name, "reroutes traffic")
		}
	case "NODE_TLS_REJECT_UNAUTHORIZED", "GIT_SSL_NO_VERIFY", "PYTHONHTTPSVERIFY":
		add(Review, 38, evasion.Name, "switches off the check of certificates")
	}
	if strings.HasPrefix(v.S, "() {") {
		add(Block, 88, reverse.Name, "a function in a variable: uses a flaw of old shells")
	}
	return hits
}

// remembered judges the variables that decide what a shell remembers.
func remembered(name, value string, class paths.Class, add func(Tier, float64, string, string)) {
	switch name {
	case "HISTFILE":
		if class&paths.Null != 0 || value == "" {
			add(Block, 76, evasion.Name, "switches the shell history off")
		}
	case "HISTSIZE", "HISTFILESIZE", "SAVEHIST":
		if value == "0" || value == "" {
			add(Block, 74, evasion.Name, "switches the shell history off")
		}
	case "HISTCONTROL":
		if strings.Contains(value, "ignore") {
			add(Block, 66, evasion.Name, "hides commands from the shell history")
		}
	case "HISTIGNORE":
		add(Block, 68, evasion.Name, "hides commands from the shell history")
	}
}

// searched judges the folders that programs and libraries are looked for in.
func searched(value string, root bool, class paths.Class, add func(Tier, float64, string, string)) {
	if strings.HasPrefix(value, "/tmp:") || strings.HasPrefix(value, "/dev/shm:") || strings.HasPrefix(value, "/var/tmp:") {
		add(Block, 68, evasion.Name, "makes programs load from a temporary folder before the system's")
		return
	}
	if root && class&paths.Temp != 0 {
		add(Block, 70, privilege.Name, "makes a program of root load from a temporary folder")
		return
	}
	if class&paths.Temp != 0 && (strings.HasPrefix(value, "/tmp") || strings.HasPrefix(value, "/dev/shm") || strings.HasPrefix(value, ".:")) {
		add(Review, 48, evasion.Name, "makes programs load from a temporary folder")
	}
}

// usualPreload reports whether a library is one that is preloaded for speed or tests.
func usualPreload(lib string) bool {
	for _, ok := range [...]string{"jemalloc", "tcmalloc", "mimalloc", "libasan", "libtsan", "libfaketime", "libeatmydata", "libc++", "libgomp", "libSegFault", "libfakeroot"} {
		if strings.Contains(lib, ok) {
			return true
		}
	}
	return false
}

// suspicious reports whether a program named in a variable is more than a program.
func suspicious(s string) bool {
	for _, t := range [...]string{"/bin/sh", "/bin/bash", "sh -c", "bash -c", "system(", "exec ", "/tmp/", "/dev/shm", "curl ", "nc ", "tee -a"} {
		if strings.Contains(s, t) {
			return true
		}
	}
	return false
}
