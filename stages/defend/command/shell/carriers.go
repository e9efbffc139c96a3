package shell

import (
	"strings"

	"sluice/stages/defend/command/code"
)

// carriers are programs with options whose value is a command line, or a program that they
// start. Nobody looks for a command there, which is why they are used to hide one.
var carriers = map[string][]string{
	"scp": {"-S"}, "sftp": {"-S"}, "split": {"--filter"}, "sort": {"--compress-program"}, "man": {"-P", "--pager", "-H", "--html"},
	"openvpn": {"--up", "--down", "--route-up", "--route-pre-down", "--ipchange", "--tls-verify", "--client-connect", "--auth-user-pass-verify", "--learn-address"},
	"certbot": {"--pre-hook", "--post-hook", "--deploy-hook", "--renew-hook", "--manual-auth-hook", "--manual-cleanup-hook"},
	"tcpdump": {"-z"}, "enscript": {"-I"}, "cpio": {"--rsh-command"}, "dmsetup": {"--exec"}, "scrot": {"-e", "--exec"}, "mail": {"--exec"}, "mailx": {"--exec"},
	"genie": {"-c"}, "tmate": {"-c"}, "lftp": {"-e", "-c"}, "fzf": {"--preview"}, "bpftrace": {"-c"}, "rpm": {"--pipe"}, "rpmquery": {"--pipe"}, "rpmverify": {"--pipe"}, "rpmdb": {"--pipe"},
	"gcc": {"-wrapper"}, "g++": {"-wrapper"}, "cc": {"-wrapper"}, "c89": {"-wrapper"}, "c99": {"-wrapper"}, "clang": {"-wrapper"},
	"wget": {"--use-askpass"}, "gem": {"-e"}, "npm": {"--script-shell"}, "logrotate": {"-m", "--mail"}, "mpv": {"--ytdl-path"}, "yt-dlp": {"--exec"}, "youtube-dl": {"--exec"},
	"ansible": {"-a", "--args"}, "gcloud": {"--command"}, "az": {"--scripts"}, "vagrant": {"-c", "--command"}, "xterm": {"-e"}, "urxvt": {"-e"}, "rxvt": {"-e"}, "konsole": {"-e"}, "gnome-terminal": {"-e"}, "alacritty": {"-e"},
	"nodemon": {"--exec", "-x"}, "nix-shell": {"--run", "--command"}, "zathura": {"-x"}, "ld": {"--plugin"}, "mosquitto_sub": {"--exec"}, "inotifywait": {"--exec"}, "incron": {"-e"},
	"check_by_ssh": {"-C"}, "fail2ban-client": {"actionban"}, "unison": {"-sshcmd", "-rshcmd"}, "svn": {"--config-option"}, "hg": {"--ssh", "--remotecmd"}, "darcs": {"--sendmail-command"}, "less": {"+!"}, "tshark": {"-X"},
	"rpmspec": {"--eval"},
}

// terminals open a window for the person who starts them: a bare shell in it is what they
// are for.
var terminals = map[string]bool{"xterm": true, "urxvt": true, "rxvt": true, "konsole": true, "gnome-terminal": true, "alacritty": true}

// carried follows the command lines in the options of c.
func (m *Machine) carried(c *Call, j *job) {
	options, ok := carriers[c.Name]
	if !ok {
		if c.Name == "busctl" || c.Name == "dbus-send" {
			m.unixexec(c, j)
		}
		return
	}
	via := ViaEscape
	if terminals[c.Name] {
		via = 0
	}
	for i, a := range c.Args {
		for _, o := range options {
			text := ""
			switch {
			case a.S == o && i+1 < len(c.Args):
				text = c.Args[i+1].S
			case strings.HasPrefix(o, "--") && len(a.S) > len(o) && a.S[len(o)] == '=' && a.S[:len(o)] == o:
				text = a.S[len(o)+1:]
			case len(o) == 2 && len(a.S) > 3 && strings.HasPrefix(a.S, o):
				text = a.S[2:]
			default:
				continue
			}
			text = strings.Replace(text, "/sh,-", "/sh -", 1)
			if v, ok := m.stored(text); ok {
				m.nest(v.S, stream{}, j.via|via, j)
			}
			m.nest(strings.TrimLeft(text, "|!; "), stream{}, j.via|via, j)
		}
	}
	if c.Name == "gcloud" {
		for _, a := range c.Args {
			if _, text, ok := strings.Cut(a.S, "startup-script="); ok {
				m.nest(text, stream{}, j.via|ViaSched, j)
			}
		}
	}
	if c.Name == "scp" || c.Name == "sftp" {
		sshProxy(m, c, j)
	}
}

// textual are programs whose arguments are text to write, to search for or to send.
var textual = map[string]bool{"echo": true, "printf": true, "grep": true, "egrep": true, "fgrep": true, "rg": true, "ag": true, "sed": true, "awk": true, "cat": true, "git": true, "gh": true, "glab": true, "logger": true, "notify-send": true, "say": true, "mail": true, "mailx": true, "curl": true, "wget": true, "jq": true, "yq": true, "tee": true, "trap": true, "eval": true, "alias": true, "export": true, "set": true, "test": true, "[": true, "read": true, "history": true, "docker": true, "tldr": true, "man": true, "code": true, "python": true, "node": true, "perl": true, "ruby": true, "php": true, "claude": true, "llm": true, "http": true, "psql": true, "mysql": true, "sqlite3": true,
	"jira": true, "linear": true, "cowsay": true, "cowthink": true, "figlet": true, "toilet": true, "banner": true, "boxes": true, "espeak": true, "zenity": true, "kdialog": true, "dialog": true, "whiptail": true, "yad": true, "xmessage": true, "wall": true, "write": true, "slackcat": true, "slack": true, "toot": true, "tweet": true, "task": true, "todo": true, "note": true, "nb": true, "aichat": true, "sgpt": true, "ollama": true, "gemini": true, "codex": true, "aider": true, "mods": true, "chatgpt": true, "sluice": true, "openclaw": true, "bats": true, "pytest": true, "go": true, "cargo": true, "tmux": true, "screen": true}

// spoken are options whose value is text for people.
var spoken = map[string]bool{"-m": true, "--message": true, "-b": true, "--body": true, "--description": true, "--title": true, "--subject": true, "--comment": true, "--text": true, "--note": true, "--summary": true, "--prompt": true, "-p": true, "--name": true, "--label": true, "--reason": true}

// smuggled follows arguments that are a command line which joins the network to a shell,
// whatever program they are given to: no program takes such a text for anything else.
func (m *Machine) smuggled(c *Call, j *job) {
	if textual[c.Name] || languages[c.Name].shell || m.depth > maxRounds {
		return
	}
	if (c.Name == "npm" || c.Name == "pnpm" || c.Name == "yarn") && len(c.Args) > 1 && (c.Args[0].S == "exec" || c.Args[0].S == "x" || c.Args[0].S == "dlx") {
		if rest := (wrapper{values: "pc"}).options(c.Args[1:], &job{}); len(rest) > 0 {
			m.run(rest, job{in: j.in, via: j.via | ViaWrapper, start: j.start, end: j.end})
			return
		}
	}
	for i, a := range c.Args {
		if i > 0 && spoken[c.Args[i-1].S] {
			continue
		}
		if len(a.S) > 12 && strings.IndexByte(a.S, ' ') > 0 && joinsShell(a.S) {
			m.nest(a.S[max(0, strings.IndexByte(a.S, '=')+1)*btoi(isAssign(a.S)):], stream{}, j.via|ViaWrapper, j)
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// joinsShell reports whether text pipes a download into a shell or connects one.
func joinsShell(text string) bool {
	if strings.Contains(text, "/dev/tcp/") {
		return true
	}
	if !strings.Contains(text, "curl ") && !strings.Contains(text, "wget ") {
		return false
	}
	for _, s := range [...]string{"|sh", "| sh", "|bash", "| bash", "$(curl", "$(wget", "<(curl", "<(wget"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// unixexec follows busctl --address=unixexec:path=/bin/sh,argv1=-c,….
func (m *Machine) unixexec(c *Call, j *job) {
	for _, a := range c.Args {
		if _, rest, ok := strings.Cut(a.S, "unixexec:path="); ok {
			prog, _, _ := strings.Cut(rest, ",")
			m.nest(prog, stream{}, j.via|ViaEscape, j)
		}
	}
}

// compilers turn source text into programs; with run they start it at once.
var compilers = map[string]bool{"gcc": true, "g++": true, "cc": true, "c++": true, "c89": true, "c99": true, "clang": true, "clang++": true, "tcc": true, "rustc": true, "go": true, "nim": true, "zig": true, "swiftc": true, "crystal": true, "dart": true, "v": true, "javac": true, "java": true, "kotlinc": true, "mcs": true, "fpc": true}

// compile carries what is known of source text to the program made of it, and looks at the
// text itself: what is compiled is meant to run.
func (m *Machine) compile(c *Call, j *job, at int) {
	var taint Taint
	known := false
	out, first := "", ""
	for i, a := range c.Args {
		switch {
		case a.S == "-o" && i+1 < len(c.Args):
			out = c.Args[i+1].S
		case a.S == "-" && j.in.piped:
			m.inspect(j.in.val.S, language{}, j, at)
			taint, known = taint|j.in.val.Taint, true
		case a.S == "" || a.S[0] == '-' || a.S == out:
		default:
			v, ok := m.stored(a.S)
			if !ok {
				continue
			}
			m.inspect(v.S, language{}, j, at)
			taint, known = taint|v.Taint, true
			if first == "" {
				first = a.S
			}
		}
	}
	if j.in.piped && len(j.in.val.S) > 8 && !known {
		m.inspect(j.in.val.S, language{}, j, at)
	}
	if !known {
		return
	}
	call := &m.trace.Calls[at]
	if c.Sub("run") || c.Name == "dart" || c.Name == "java" || c.Name == "crystal" {
		call.ScriptTaint |= taint
	}
	if out == "" {
		if out = "a.out"; c.Name != "gcc" && c.Name != "cc" && c.Name != "g++" && c.Name != "clang" && first != "" {
			out = first[:max(0, strings.LastIndexByte(first, '.'))]
		}
	}
	m.store(out, Value{S: hole, Taint: taint | File}, false)
	if call.Facts&(code.Spawn|code.Sock|code.Setuid) != 0 {
		m.store(out, Value{S: hole, Taint: taint | File | Decoded}, false)
	}
}

// scheduled reports how many words of a crontab line stand before its command: five fields
// of times, or @reboot, and perhaps a user. 0 means that args are no such line.
func scheduled(args []Value) int {
	n := 0
	if len(args) > 1 && len(args[0].S) > 5 && args[0].S[0] == '@' && strings.Contains("@reboot@hourly@daily@weekly@monthly@yearly@annually@midnight", args[0].S) {
		n = 1
	} else {
		stars := 0
		for n < len(args) && n < 5 && strings.Trim(args[n].S, "0123456789*/,-") == "" && args[n].S != "" {
			if args[n].S[0] == '*' {
				stars++
			}
			n++
		}
		if n < 5 || stars == 0 || len(args) < 6 {
			return 0
		}
	}
	if n+1 < len(args) && strings.IndexByte(args[n].S, '/') < 0 && (args[n].S == "root" || strings.HasPrefix(args[n+1].S, "/") && !Wraps(args[n].S)) {
		n++
	}
	return n
}

// banged is a line for a pager or an editor that starts a command: !sh, :!sh.
func banged(s string) (string, bool) {
	rest := strings.TrimPrefix(s, ":")
	if len(rest) < 3 || rest[0] != '!' || strings.IndexByte("!-?$^*", rest[1]) >= 0 || rest[1] >= '0' && rest[1] <= '9' {
		return "", false
	}
	return rest[1:], true
}
