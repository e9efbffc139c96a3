package rules

import (
	"strings"

	"sluice/stages/defend/command/paths"
	"sluice/stages/defend/command/shell"
)

// remove judges rm by what it deletes and how.
func remove(c *shell.Call, hits []Hit) []Hit {
	deep, force, end := c.Name == "rimraf", false, false
	for _, a := range c.Args {
		if a.S == "--" {
			end = true
		}
		if end {
			continue
		}
		deep = deep || option(a.S, "-r") || option(a.S, "-R") || option(a.S, "--recursive") || option(a.S, "--no-preserve-root")
		force = force || option(a.S, "-f") || option(a.S, "--force")
	}
	end = false
	targets := 0
	for _, a := range c.Args {
		if a.S == "--" {
			end = true
			continue
		}
		if !end && a.S != "" && a.S[0] == '-' {
			continue
		}
		targets++
		if h, ok := target(c, a, deep, force); ok {
			hits = append(hits, h)
		}
	}
	if deep && force && targets == 0 && c.Name == "rm" {
		hits = append(hits, hit(c, Review, 40, destruction.Name, "deletes recursively what is not named", ruleRemove))
	}
	return hits
}

// inFolder is what a relative name means after cd dir: itself, a name of the system, or
// "below" where it is neither.
func inFolder(dir, name string) string {
	if dir == "" || name == "." || name == "./" || name == "" || name[0] == '/' || name[0] == '~' || name[0] == shell.Hole || name[0] == '$' {
		return name
	}
	given := strings.TrimPrefix(name, "./")
	whole := strings.TrimSuffix(dir, "/") + "/" + given // cd / && rm -rf *
	if paths.Of(whole)&(paths.Root|paths.Home) != 0 || vital(whole) && dir[0] == '/' {
		return whole
	}
	if data(dir) && !made(given) && !strings.Contains(given, "*") {
		return whole
	}
	if !made(dir) && (given == "*" || given == ".git" || strings.HasSuffix(given, "/.git") || strings.HasPrefix(given, "../") || given == "..") {
		return given // cd x && rm -rf * is as much as rm -rf x
	}
	return "below"
}

// target judges one thing that is deleted.
func target(c *shell.Call, a shell.Value, deep, force bool) (Hit, bool) {
	a.S = inFolder(c.Dir, a.S)
	class := paths.Of(a.S)
	again := hit(c, Block, 95, destruction.Name, "deletes the whole system or a home folder", ruleRemove)
	star := strings.HasSuffix(a.S, "*")
	switch {
	case class&(paths.Root|paths.Home) != 0 && (deep || star):
		return again, true
	case class&paths.Device != 0 || class&paths.Kernel != 0:
		again.Score, again.Why = 85, "deletes what the system starts from"
		return again, true
	case class&(paths.Secret|paths.Privilege|paths.Guard|paths.KeyGrant) != 0:
		again.Tier, again.Score, again.Why = Review, 60, "deletes credentials or rules of access"
		return again, true
	case deep && class&paths.System != 0 && class&paths.Temp == 0 && vital(a.S):
		again.Score, again.Why = 90, "deletes a folder that the system cannot do without"
		return again, true
	case deep && (a.S == "$HOME" || a.S == "/"+string(rune(shell.Hole)) || a.S == string(rune(shell.Hole))+"/" || a.S == string(rune(shell.Hole))+"/*"):
		again.Tier, again.Score, again.Why = Review, 62, "deletes the whole system if a variable is empty"
		return again, true
	case deep && force && a.S == string(rune(shell.Hole)) && c.Via&shell.ViaXargs != 0:
		again.Tier, again.Score, again.Why = Review, 38, "deletes folders that cannot be known"
		return again, true
	case deep && (class&(paths.Everything|paths.Personal) != 0 || a.S == "*" || a.S == "./*" || a.S == "../*"):
		again.Tier, again.Score, again.Why = Review, 60, "deletes everything in a folder"
		return again, true
	case deep && strings.HasPrefix(a.S, "~"):
		again.Tier, again.Score, again.Why = Review, 50, "deletes a folder of the user"
		return again, true
	case deep && c.Via&shell.ViaFind != 0 && (strings.HasPrefix(a.S, "/usr/local/"+string(rune(shell.Hole))+"/") || strings.HasPrefix(a.S, "/usr/lib/"+string(rune(shell.Hole))+"/")):
		again.Tier, again.Score, again.Why = Allow, 25, "deletes folders of one name, as images do to be small"
		return again, true
	case deep && class&paths.System != 0 && class&paths.Temp == 0 && !cache(a.S):
		again.Tier, again.Score, again.Why = Review, 55, "deletes a folder of the system"
		return again, true
	case deep && strings.HasPrefix(a.S, "/tmp/tmp."+string(rune(shell.Hole))):
		again.Tier, again.Score, again.Why = Allow, 10, "deletes a temporary folder of its own"
		return again, true
	case deep && strings.HasPrefix(a.S, "/") && !cache(a.S):
		again.Tier, again.Score, again.Why = Review, 40, "deletes a folder by its absolute name"
		return again, true
	case deep && strings.HasPrefix(a.S, "../"), deep && (a.S == ".git" || strings.HasSuffix(a.S, "/.git")):
		again.Tier, again.Score, again.Why = Review, 42, "deletes outside the current folder"
		return again, true
	case class&paths.System != 0 && class&(paths.Temp|paths.Log) == 0 && strings.HasPrefix(a.S, "/etc/"):
		again.Tier, again.Score, again.Why = Review, 45, "deletes a file of the system"
		return again, true
	case deep && force:
		again.Tier, again.Score, again.Why = Allow, 25, "deletes a folder"
		return again, true
	case deep:
		again.Tier, again.Score, again.Why = Allow, 18, "deletes a folder"
		return again, true
	}
	return again, false
}

// data reports whether a folder of the root holds what people keep.
func data(dir string) bool {
	switch dir {
	case "/srv", "/opt", "/home", "/var", "/data", "/mnt", "/media", "/root", "/etc", "/usr", "/lib", "/boot", "/var/lib", "/var/www", "/Users":
		return true
	}
	return false
}

// made reports whether a folder is one that builds fill and that may be emptied.
func made(dir string) bool {
	switch strings.ToLower(dir[strings.LastIndexByte(dir, '/')+1:]) {
	case "build", "_build", "dist", "out", "target", "bin", "obj", "output", "public", "_site", "coverage", "node_modules", "cache", ".cache", "cmake-build-debug", "cmake-build-release", "release", "debug", "tmp":
		return true
	}
	return false
}

// vital reports whether path is a folder of the root or right below one that matters.
func vital(path string) bool {
	path = strings.TrimRight(strings.TrimSuffix(strings.TrimRight(path, "/"), "*"), "/")
	depth := strings.Count(path, "/")
	if depth <= 1 {
		return true
	}
	for _, p := range [...]string{"/usr/bin", "/usr/lib", "/usr/sbin", "/usr/local", "/var/lib", "/etc/ssh", "/etc/ssl", "/usr/share", "/lib/modules", "/boot/grub", "/System/Library", "/var/backups", "/boot/efi"} {
		if path == p {
			return true
		}
	}
	return false
}

// cache reports whether path holds only what can be made again.
func cache(path string) bool {
	for _, p := range [...]string{"/var/lib/apt/lists", "/var/cache/", "/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/root/.cache", "/usr/local/share/.cache", "/var/lib/dpkg/info"} {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return strings.Contains(path, "/.cache") || strings.Contains(path, "/node_modules") || strings.Contains(path, "/__pycache__")
}
