package rules

import (
	"strings"

	"sluice/stages/defend/command/paths"
	"sluice/stages/defend/command/shell"
)

// writing are options of all kinds of programs after which the name of a file to write
// stands. A program whose job is something else writes a system file just as well.
var writing = set(`-o -O -w -l -L --output --output-document -Logfile -logfile --log --log-file -fprintf -fprint -fprint0 -fls --file -f --state -filename -out --out --outfile --trace-file --save --dump -of --export --write-out --dest --target`)

// options judges where a program is told to write, and what it downloads to there.
func options(c *shell.Call, hits []Hit) []Hit {
	for i, a := range c.Args {
		if len(a.S) > 8 && (strings.HasSuffix(a.S, ".so") || strings.HasSuffix(a.S, ".dylib")) && paths.Of(a.S[strings.IndexByte(a.S, '=')+1:])&paths.Temp != 0 && !keeps[c.Name] && !libraryTools[c.Name] {
			return append(hits, hit(c, Block, 70, evasion.Name, "loads a library from a temporary folder", ruleOptions))
		}
		if len(a.S) < 2 || a.S[0] != '-' {
			continue
		}
		name, file, ok := strings.Cut(a.S, "=")
		if !ok {
			if i+1 >= len(c.Args) {
				break
			}
			file = c.Args[i+1].S
		}
		if !writing[name] && !(len(name) > 2 && len(name) < 6 && name[1] != '-' && (c.Name == "curl" || c.Name == "wget") && (name[len(name)-1] == 'o' || name[len(name)-1] == 'O')) {
			continue
		}
		reads := name == "-f" || name == "-L" || name == "--file" || name == "-l" && c.Name != "logrotate"
		class := paths.Of(file)
		switch {
		case class&(paths.Privilege|paths.KeyGrant) != 0 && !reads,
			class&(paths.Startup|paths.Guard|paths.Hook) != 0 && !reads:
			return append(hits, hit(c, Block, 76, persistence.Name, "an option writes a file that decides who may do what or what is started", ruleOptions))
		case class&paths.Web != 0 && fetcher(c) && scriptFile(file):
			return append(hits, hit(c, Block, 74, persistence.Name, "downloads a program into what a web server serves", ruleOptions))
		case systemBinary(file) && fetcher(c) && shady(c):
			return append(hits, hit(c, Block, 72, download.Name, "downloads a program of the system from an unchecked address", ruleOptions))
		}
	}
	return hits
}

// libraryTools make libraries or look at them.
var libraryTools = set(`gcc g++ cc c++ clang clang++ ld lld gold strip nm objdump readelf ldd patchelf go cargo rustc zig cmake make ar objcopy file unlink shred install gdb`)

func fetcher(c *shell.Call) bool {
	switch c.Name {
	case "curl", "wget", "fetch", "aria2c", "axel", "lwp-download", "tftp", "ftp", "ftpget", "http", "xh":
		return true
	}
	return false
}

func scriptFile(s string) bool {
	for _, end := range [...]string{".php", ".jsp", ".asp", ".aspx", ".phtml", ".cgi", ".war"} {
		if strings.HasSuffix(s, end) {
			return true
		}
	}
	return false
}

// shady reports whether a program fetches from an address that nobody vouches for: a bare
// IP address, or a name without encryption.
func shady(c *shell.Call) bool {
	for _, a := range c.Args {
		if bareAddress(a.S) || strings.HasPrefix(a.S, "http://") && !local(a.S) || strings.HasPrefix(a.S, "ftp://") || strings.HasPrefix(a.S, "tftp://") {
			return true
		}
	}
	return false
}

func local(url string) bool {
	for _, name := range [...]string{"://localhost", "://127.", "://0.0.0.0", "://[::1]", "://host.docker.internal"} {
		if strings.Contains(url, name) {
			return true
		}
	}
	return false
}

// bareAddress reports whether s is, or is an address on, an IPv4 host that is not this
// machine.
func bareAddress(s string) bool {
	if i := strings.Index(s, "://"); i >= 0 {
		s = s[i+3:]
	}
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		s = s[i+1:]
	}
	dots, digits := 0, 0
	i := 0
	for ; i < len(s) && i < 16; i++ {
		switch {
		case s[i] == '.':
			dots++
		case s[i] >= '0' && s[i] <= '9':
			digits++
		default:
			if s[i] != ':' && s[i] != '/' {
				return false
			}
			return dots == 3 && digits > 3 && !strings.HasPrefix(s, "127.") && !strings.HasPrefix(s, "0.0.0.0")
		}
	}
	return dots == 3 && digits > 3 && i == len(s) && !strings.HasPrefix(s, "127.") && !strings.HasPrefix(s, "0.0.0.0")
}

// systemBinary reports whether path lies in a folder of the system's programs.
func systemBinary(path string) bool {
	for _, dir := range [...]string{"/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/"} {
		if strings.HasPrefix(path, dir) {
			return true
		}
	}
	return false
}

// trustedPrograms are what a person calls without a thought; whoever puts another file in
// their place is called instead.
var trustedPrograms = set(`ls ps su sudo ssh sshd login passwd bash sh netstat ss top find lsof who w last kill cat mount crontab systemctl curl wget git apt dpkg rpm md5sum sha256sum ifconfig ip scp doas ld init auditctl auditd rsyslogd journalctl tcpdump chattr`)

// replace judges copies over the system's programs and copies of shells under other names.
func replace(c *shell.Call, hits []Hit) []Hit {
	n := 0
	var from, to string
	var modes string
	for i, a := range c.Args {
		if a.S == "" || a.S[0] == '-' {
			if c.Name == "install" && (strings.HasPrefix(a.S, "-m") || strings.HasPrefix(a.S, "--mode")) {
				modes = a.S
				if len(a.S) == 2 && i+1 < len(c.Args) {
					modes = c.Args[i+1].S
				}
			}
			continue
		}
		if a.S == modes {
			continue
		}
		if n++; n == 1 {
			from = a.S
		}
		to = a.S
	}
	if n == 1 && modes == "" || n == 0 {
		return hits
	}
	if modes != "" && setsID(modes) {
		return append(hits, hit(c, Block, 80, privilege.Name, "installs a program that runs with its owner's rights", ruleReplace))
	}
	base := to[strings.LastIndexByte(to, '/')+1:]
	switch {
	case isShell(from) && !isShell(to) && c.Name != "mv" && !strings.HasSuffix(to, "/bin/") && !strings.HasSuffix(to, "/bin") && !strings.HasSuffix(to, "/sbin/"):
		hits = append(hits, hit(c, Block, 70, privilege.Name, "copies a shell under another name", ruleReplace))
	case c.Name == "mv" && systemBinary(from) && trustedPrograms[from[strings.LastIndexByte(from, '/')+1:]]:
		hits = append(hits, hit(c, Block, 70, persistence.Name, "takes away a program of the system", ruleReplace))
	case systemBinary(to) && !systemBinary(from) && (trustedPrograms[base] || paths.Of(from)&paths.Temp != 0 && !strings.Contains(to, "/local/")):
		hits = append(hits, hit(c, Block, 72, persistence.Name, "puts a file in the place of a program of the system", ruleReplace))
	case systemLibrary(to) && strings.Contains(to, ".so") && !systemLibrary(from):
		hits = append(hits, hit(c, Block, 70, persistence.Name, "puts a file in the place of a library of the system", ruleReplace))
	}
	return hits
}

func systemLibrary(path string) bool {
	return strings.HasPrefix(path, "/lib/") || strings.HasPrefix(path, "/lib64/") || strings.HasPrefix(path, "/usr/lib/") || strings.HasPrefix(path, "/usr/lib64/")
}

// setsID reports whether a mode of install sets the user or group of what it runs.
func setsID(mode string) bool {
	mode = strings.TrimPrefix(strings.TrimPrefix(mode, "--mode="), "-m")
	if strings.ContainsAny(mode, "=+") && strings.Contains(mode, "s") {
		return true
	}
	mode = strings.TrimLeft(mode, "0")
	return len(mode) == 4 && (mode[0] == '4' || mode[0] == '2' || mode[0] == '6')
}

func isShell(path string) bool {
	dir, base := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, base = path[:i+1], path[i+1:]
	}
	switch base {
	case "sh", "bash", "dash", "zsh", "ksh", "ash", "busybox":
		return dir == "" || systemBinary(path)
	}
	return false
}
