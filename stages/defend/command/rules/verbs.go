package rules

import (
	"strings"

	"sluice/stages/defend/command/shell"
)

// plain are programs whose words are data or file names, or which have rules of their own
// for each of their words.
var plain = set(`git echo printf cat grep egrep fgrep rg ag sed awk gawk tr find ls test [ cd export alias man which type sort cut head tail tee jq yq curl wget ssh docker podman kubectl helm terraform psql mysql sqlite3 redis-cli vim vi nano less more python node ruby perl php make npm yarn pnpm go cargo pip bundle source : set unset declare local read mkdir touch cp mv rm ln chmod chown tar zip unzip rsync scp code open say notify-send logger tldr whatis apropos info help trap sleep history pass`)

// verbs judges what any service's own program is told to do: nobody can list them all, but
// they name their deeds alike.
func verbs(c *shell.Call, hits []Hit) []Hit {
	if c.Name == "" || plain[c.Name] || len(c.Args) == 0 || len(c.Name) < 2 {
		return hits
	}
	if last := c.Args[len(c.Args)-1].S; last == "-h" || last == "help" {
		return hits
	}
	seen := 0
	for _, a := range c.Args {
		if a.S == "" || a.S[0] == '-' {
			continue
		}
		if seen++; seen > 4 {
			break
		}
		if deletes(a.S) {
			return append(hits, hit(c, Review, 38, destruction.Name, "deletes or empties by the program's own word for it", ruleVerbs))
		}
	}
	return hits
}

func deletes(word string) bool {
	if len(word) < 4 || len(word) > 40 {
		return false
	}
	switch word {
	case "delete", "destroy", "purge", "drop", "wipe", "obliterate", "unregister", "delete-all", "remove-all", "purge-all", "flush-all", "flushall", "factory-reset", "terminate", "nuke":
		return true
	}
	for _, v := range [...]string{"delete-", "destroy-", "purge-", "batch-delete", "terminate-", "delete_", "purge_", "drop_", "wipe-"} {
		if strings.HasPrefix(word, v) {
			return true
		}
	}
	for _, v := range [...]string{":delete", ":destroy", ":purge", ":drop", ".delete", "-delete"} {
		if strings.HasSuffix(word, v) {
			return true
		}
	}
	return false
}

// feeds are programs that take their commands from the input, and words in it that delete
// or stop.
var feeds = map[string][]string{
	"redis-cli": {"flushall", "flushdb", "shutdown", "del "}, "valkey-cli": {"flushall", "flushdb", "shutdown", "del "}, "nc": {"flushall", "flushdb"}, "ncat": {"flushall", "flushdb"}, "telnet": {"flushall", "flushdb"}, "nsupdate": {"delete", "del "},
	"socat": {"disable server", "shutdown sessions", "shutdown frontend", "del server", "set server"}, "mongosh": {"dropdatabase", ".drop(", "deletemany"}, "mongo": {"dropdatabase", ".drop(", "deletemany"},
	"etcdctl": {"del "}, "fdisk": {"d\n", "o\n", "g\n", "w\n"}, "gdisk": {"d\n", "o\n"}, "parted": {"rm ", "mklabel"}, "sftp": {"rm ", "rmdir "}, "ftp": {"delete ", "mdelete"},
}

// fed judges what such a program is told by its input.
func fed(c *shell.Call, hits []Hit) []Hit {
	words, ok := feeds[c.Name]
	if !ok {
		return hits
	}
	text := ""
	if c.Piped && len(c.In.S) < 4096 {
		text = c.In.S
	}
	for _, r := range c.Reads {
		text += " " + r.Path
	}
	for _, w := range words {
		if len(text) >= len(w) && containsFold(text, w) {
			return append(hits, hit(c, Review, 46, destruction.Name, "is told by its input to delete or stop", ruleVerbs))
		}
	}
	return hits
}
