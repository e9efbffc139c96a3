// Package windows judges commands for cmd and PowerShell. It does not parse them: it
// folds case, undoes carets, backticks, joined strings and -EncodedCommand, and looks for
// phrases. Its figures are reported apart from those for Unix.
package windows

import (
	"slices"
	"strings"

	"sluice/stages/defend/command/phrase"
)

// Hit is one rule that matched.
type Hit struct {
	Score       float64
	Family, Why string
	// Rule numbers the rule; reports add Offset to tell it from the others.
	Rule int
}

// Offset keeps the numbers of these rules apart from the others'.
const Offset = 10000

// Program reports whether name is a program of Windows alone.
func Program(name string) bool {
	name = strings.ToLower(name)
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	return strings.HasSuffix(name, ".exe") || programs[name]
}

var programs = set(`cmd powershell pwsh reg sc schtasks wmic vssadmin wbadmin bcdedit netsh rundll32 regsvr32 mshta cscript wscript certutil bitsadmin icacls cacls takeown attrib fsutil diskshadow wevtutil net net1 nltest dsquery csvde ntdsutil esentutl cmdkey klist setspn whoami.exe tasklist taskkill gpresult quser qwinsta driverquery systeminfo msiexec installutil regasm regsvcs msbuild odbcconf forfiles pcalua hh xwizard makecab expand extrac32 findstr xcopy robocopy copy del erase rd subst vaultcmd auditpol mofcomp sdbinst dism pnputil mavinject iex iwr reagentc cipher rasdial w32tm ipconfig nbtstat psexec procdump mimikatz cls dir ftype assoc label vol title where setx`)

func set(words string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}

// unixToo are programs of that list whose names mean something on Unix as well: they need
// a sign of Windows besides.
var unixToo = set(`expand where dir net copy title label del sc rd vol cls subst klist pwsh copy.exe makecab cipher mimikatz psexec procdump`)

// marks are texts that only commands for Windows hold.
var marks = []string{"$env:", "-executionpolicy", "new-object", "start-process", "invoke-", "get-child", "get-item", "set-item", "new-item", "remove-item", "copy-item", "move-item", "get-content", "set-content", "add-content", "out-file", "write-host", "write-output", "import-module", "hklm", "hkcu", "hkey_", "%temp%", "%windir%", "%systemroot%", "%userprofile%", "%appdata%", "%comspec%", "%programdata%", "%logonserver%", "%username%", "%computername%", "c:\\", "d:\\", "powershell", "cmd.exe", "cmd /c", "cmd /k", "cmd /q", "foreach-object", "where-object", "select-object", "[system.", "[net.", "[convert]", "[reflection.", "[ref]", "convertto-", "convertfrom-", "set-mp", "add-mp", "get-wmiobject", "get-ciminstance", "get-process", "stop-process", "get-service", "set-service", "stop-service", "start-service", "new-service", "get-ad", "-comobject", "createobject(", "wscript.shell", "frombase64string", "downloadstring", "downloadfile", "rundll32", "regsvr32", ".ps1", ".dll", "iex(", "iex (", "| iex", "|iex", "set-executionpolicy", "add-type", "get-eventlog", "clear-eventlog", "disable-", "enable-", "register-", "unregister-", "get-net", "new-net", "set-net", "get-local", "new-local", "add-local", "\\admin$", "\\\\localhost", "test-path", "expand-archive", "write-warning", "start-sleep", "get-variable", "get-credential", "connect-azure", "connect-az", "connect-msol", "connect-exchange", "connect-mggraph", "$null", "-erroraction", "\\\\127.0.0.1", "set-ad", "mount-disk", "set-acl", "get-acl", "get-mailbox", "new-inboxrule", "out-null"}

// Looks reports whether text is written for cmd or PowerShell.
func Looks(text string) bool {
	first := text
	if i := strings.IndexAny(first, " \t\n|&;<>"); i >= 0 {
		first = first[:i]
	}
	first = strings.Trim(first, "\"'&@(")
	low := strings.ToLower(first)
	base := low
	if i := strings.LastIndexAny(base, `/\`); i >= 0 {
		base = base[i+1:]
	}
	base = strings.TrimSuffix(base, ".exe")
	if programs[base] && !unixToo[base] && (base != "findstr" || strings.Contains(text, "/")) {
		return true
	}
	if strings.HasSuffix(low, ".exe") && strings.IndexByte(low, '/') < 0 || strings.IndexByte(low, '%') == 0 {
		return true
	}
	// A cheap look at the bytes first: nearly every Unix command ends here.
	if strings.IndexAny(text, `$%\[-`) < 0 && base != "net" && base != "sc" && base != "copy" && base != "del" && base != "rd" {
		return containsFold(text, ".exe") || containsFold(text, "powershell")
	}
	if unixToo[base] && strings.Contains(text, " /") && (base == "net" || base == "copy" || base == "del" || base == "rd" || base == "dir" || base == "expand") {
		return true
	}
	if base == "net" && (containsFold(text, "net user") || containsFold(text, "net stop") || containsFold(text, "net start") || containsFold(text, "net localgroup") || containsFold(text, "net use") || containsFold(text, "net view") || containsFold(text, "net accounts") || containsFold(text, "net group") || containsFold(text, "net share")) {
		return true
	}
	if base == "sc" && containsFold(text, "sc ") && (containsFold(text, "create") || containsFold(text, "stop") || containsFold(text, "config") || containsFold(text, "delete") || containsFold(text, "sdset")) {
		return true
	}
	return signs(text) > 0
}

// signs counts distinct marks, up to two; a path of Unix speaks against all of them.
func signs(text string) int {
	n, first := 0, -1
	markTable.Find(text, func(i int) bool {
		if i >= len(marks) {
			n = -1
			return false
		}
		if i != first && n < 2 {
			n, first = n+1, i
		}
		return true
	})
	return n
}

// markTable finds marks and, behind them, what speaks for Unix.
var markTable = phrase.New(append(append([]string(nil), marks...), "/bin/", "/usr/", "#!/"))

func lower(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			return strings.ToLower(s)
		}
	}
	return s
}

func containsFold(s, t string) bool { return strings.Contains(lower(s), t) }

// maxText bounds what is looked at; the rest of a longer text counts as unread.
const maxText = 64 << 10

// Assess returns what the table finds in text.
func Assess(text string) []Hit {
	if len(text) > maxText {
		text = text[:maxText]
	}
	views := []string{plain(text)}
	if decoded := encoded(views[0], text); decoded != "" {
		views = append(views, plain(decoded))
	}
	var hits []Hit
	hidden := len(views) > 1
	for _, view := range views {
		hits = match(view, hits)
	}
	if hidden {
		hits = append(hits, Hit{72, "defence-evasion", "hides a script by encoding it", Offset - 1})
	}
	if strings.Count(text, "^")+strings.Count(text, "`") > 4 && strings.ContainsAny(text, "^`") && !strings.Contains(text, "\n") && !strings.Contains(text, "^^") && strings.Count(text, "`n") < 2 {
		hits = append(hits, Hit{60, "defence-evasion", "hides words by escaping their letters", Offset - 2})
	}
	return hits
}

// match holds one view of the text against the table.
func match(view string, hits []Hit) []Hit {
	var seen [maxPhrases/64 + 1]uint64
	compiled.phrases.Find(view, func(i int) bool {
		seen[i/64] |= 1 << (i % 64)
		return true
	})
	for i := range table {
		for rest := compiled.rows[compiled.first[i]:compiled.first[i+1]]; len(rest) > 0; {
			n := int(rest[0])
			if all(&seen, rest[1:1+n]) {
				hits = append(hits, Hit{table[i].score, table[i].family, table[i].why, Offset + i})
				break
			}
			rest = rest[1+n:]
		}
	}
	return hits
}

func all(seen *[maxPhrases/64 + 1]uint64, parts []uint16) bool {
	for _, p := range parts {
		if seen[p/64]&(1<<(p%64)) == 0 {
			return false
		}
	}
	return true
}

// maxPhrases bounds the number of distinct phrases in the table.
const maxPhrases = 1536

// compiled is the table with its phrases numbered.
var compiled = compile()

// numbered are the phrases, and of each row its alternatives: how many parts, the parts.
type numbered struct {
	phrases *phrase.Table
	rows    []uint16
	first   []uint16 // where a row begins; one more than there are rows
}

func compile() numbered {
	var list []string
	number := map[string]uint16{}
	var c numbered
	for i := range table {
		c.first = append(c.first, uint16(len(c.rows)))
		for alt := range strings.SplitSeq(table[i].when, "|") {
			at := len(c.rows)
			c.rows = append(c.rows, 0)
			for p := range strings.SplitSeq(alt, "&") {
				for len(p) < 3 {
					p += " " // views end in blanks
				}
				if _, ok := number[p]; !ok {
					number[p] = uint16(len(list))
					list = append(list, p)
				}
				c.rows = append(c.rows, number[p])
				c.rows[at]++
			}
		}
	}
	c.first = append(c.first, uint16(len(c.rows)))
	if len(list) > maxPhrases {
		panic("windows: the table has more phrases than maxPhrases allows")
	}
	c.phrases, c.rows = phrase.New(slices.Clip(list)), slices.Clip(c.rows)
	return c
}

// Bytes is about how much memory the tables take.
func Bytes() int {
	return compiled.phrases.Bytes() + markTable.Bytes() + 2*len(compiled.rows) + 48*len(programs) + 56*len(table)
}
