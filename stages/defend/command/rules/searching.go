package rules

import (
	"strings"

	"sluice/stages/defend/command/paths"
	"sluice/stages/defend/command/shell"
)

// secretWords are what one searches files for to find credentials.
var secretWords = []string{"password", "passwd", "passwort", "secret", "api_key", "apikey", "api-key", "aws_access", "aws_secret", "private_key", "private key", "akia", "ghp_", "begin rsa", "begin openssh", "credential", "db_pass", "token", "pwd=", "pass="}

// products are guards that only an attacker searches for by name.
var products = []string{"falcon", "crowdstrike", "carbon", "cbagent", "osquery", "sentinel", "clam", "wazuh", "ossec", "sophos", "mcafee", "symantec", "defender", "mdatp", "esets", "cylance", "tanium", "sysmon", "auditd", "fireeye", "xagt", "littlesnitch", "blockblock", "santa", "falco", "trendmicro", "aliyun", "aegis", "yunjing", "qcloud", "cloudmonitor"}

// machines are names by which a program finds out that it is watched.
var machines = []string{"virtualbox", "vmware", "qemu", "kvm", "hypervisor", "parallels", "oracle", "xen", "vbox", "innotek", "vendor name", "model identifier", "manufacturer"}

// searching judges grep and its kin by what they search for, and where.
func searching(c *shell.Call, hits []Hit) []Hit {
	pattern, whole, deep := "", false, false
	var at paths.Class
	for i, a := range c.Args {
		s := a.S
		switch {
		case s == "":
		case s[0] == '-' && (i == 0 || len(s) < 8):
			deep = deep || option(s, "-r") || option(s, "-R") || s == "--recursive"
			if len(s) > 1 && s[1] != '-' && len(s) < 8 && s[len(s)-1] == 'e' && i+1 < len(c.Args) {
				pattern = c.Args[i+1].S
			}
		case s[0] == '-':
		case pattern == "" && !strings.HasPrefix(s, "/"):
			pattern = s
		case s == pattern:
		default:
			one := paths.Of(s)
			at |= one
			whole = whole || one&(paths.Root|paths.Home) != 0 || s == "/etc" || s == "/etc/" || s == "/var" || s == "/opt" || strings.HasPrefix(s, "/"+string(rune(shell.Hole)))
			deep = deep || strings.HasPrefix(s, "/"+string(rune(shell.Hole))) && c.Via&(shell.ViaFind|shell.ViaXargs) != 0
		}
	}
	if c.Name == "rg" || c.Name == "ag" {
		deep = true
	}
	if count(pattern, products) >= 2 {
		hits = append(hits, hit(c, Block, 68, discovery.Name, "searches for the guards of the machine", ruleProducts))
	} else if count(pattern, products) == 1 && c.Piped {
		hits = append(hits, hit(c, Review, 38, discovery.Name, "searches for a guard of the machine", ruleProducts))
	}
	if count(pattern, machines) > 0 && (c.Piped || at&paths.System != 0) && !strings.Contains(pattern, "/") {
		hits = append(hits, hit(c, Review, 40, discovery.Name, "asks whether this is a virtual machine", ruleProducts))
	}
	if count(pattern, secretWords) == 0 {
		return hits
	}
	switch {
	case deep && whole:
		hits = append(hits, hit(c, Block, 70, secrets.Name, "searches the whole system for secrets", ruleSearch))
	case deep && at&paths.System != 0:
		hits = append(hits, hit(c, Review, 48, secrets.Name, "searches the system for secrets", ruleSearch))
	}
	return hits
}

// count says how many of words text contains, in any case.
func count(text string, words []string) int {
	if len(text) < 4 || len(text) > 512 {
		return 0
	}
	n := 0
	for _, w := range words {
		if containsFold(text, w) {
			n++
		}
	}
	return n
}

// manifest judges what a cluster is told to run by the text on the input.
func manifest(c *shell.Call, hits []Hit) []Hit {
	if !c.Piped || len(c.In.S) < 20 || len(c.In.S) > 64<<10 || !(c.Sub("apply") || c.Sub("create") || c.Sub("replace")) {
		return hits
	}
	text := strings.ReplaceAll(strings.ReplaceAll(c.In.S, "\"", ""), " ", "")
	all := 0
	for _, w := range [...]string{"privileged:true", "hostPID:true", "hostIPC:true", "path:/\n", "path:/}", "docker.sock", "SYS_ADMIN", "hostNetwork:true"} {
		if strings.Contains(text, w) {
			all++
		}
	}
	switch {
	case all >= 2 || strings.Contains(text, "path:/\n") || strings.Contains(text, "path:/}"):
		hits = append(hits, hit(c, Block, 78, privilege.Name, "gives a pod the host's rights", ruleManifest))
	case all == 1:
		hits = append(hits, hit(c, Review, 45, privilege.Name, "gives a pod some of the host's rights", ruleManifest))
	}
	if strings.Contains(text, "cluster-admin") && strings.Contains(text, "ClusterRoleBinding") {
		hits = append(hits, hit(c, Block, 72, privilege.Name, "makes an account the owner of a cluster", ruleManifest))
	}
	return hits
}
