package rules

import (
	"strings"

	"sluice/stages/defend/command/shell"
)

// statements judges the SQL that a client is given, in its arguments or on its input.
func statements(c *shell.Call, hits []Hit) []Hit {
	for _, a := range c.Args {
		if score, why := sql(attached(a.S)); score > 0 {
			hits = append(hits, hit(c, Review, score, destruction.Name, why, ruleSQL))
		}
	}
	if c.Piped && c.In.Known() {
		if score, why := sql(c.In.S); score > 0 {
			hits = append(hits, hit(c, Review, score, destruction.Name, why, ruleSQL))
		}
	}
	for _, r := range c.Reads {
		if count(r.Path, []string{"drop", "reset", "truncate", "wipe", "purge", "delete"}) > 0 {
			hits = append(hits, hit(c, Review, 46, destruction.Name, "runs statements from a file that is named like a deletion", ruleSQL))
		}
	}
	for _, a := range c.Args {
		if containsFold(a.S, "xp_cmdshell") || containsFold(a.S, "from program") || containsFold(a.S, "to program") || containsFold(a.S, "into outfile") || containsFold(a.S, "sys_exec(") || containsFold(a.S, "\\! ") || strings.HasPrefix(a.S, ".shell") || strings.HasPrefix(a.S, ".system") || containsFold(a.S, "load_extension") {
			hits = append(hits, hit(c, Block, 76, privilege.Name, "a database runs a program or writes a file", ruleSQL))
		}
	}
	return hits
}

// attached is the statement in -e"drop table x" and --execute=…, or the text itself.
func attached(s string) string {
	if len(s) > 4 && s[0] == '-' {
		if _, after, ok := strings.Cut(s, "="); ok && s[1] == '-' {
			return after
		}
		if s[1] == 'e' || s[1] == 'c' || s[1] == 'q' || s[1] == 'Q' {
			return s[2:]
		}
	}
	return s
}

// uncommented is a text without its /* comments */, each of which parts words.
func uncommented(text string) string {
	for range 8 {
		before, rest, ok := strings.Cut(text, "/*")
		if !ok {
			break
		}
		_, after, closed := strings.Cut(rest, "*/")
		if !closed {
			break
		}
		text = before + " " + after
	}
	return text
}

// sql finds statements that delete. Deleting or changing rows by a condition is daily work.
func sql(text string) (float64, string) {
	if len(text) < 5 {
		return 0, ""
	}
	low := strings.Join(strings.Fields(strings.ToLower(uncommented(text[:min(len(text), 8192)]))), " ")
	if strings.HasPrefix(low, ".drop") || strings.HasPrefix(low, ".restore") {
		return 48, "deletes from a database"
	}
	best, why := 0.0, ""
	for stmt := range strings.SplitSeq(low, ";") {
		stmt = strings.TrimSpace(stmt)
		if i := strings.Index(stmt, "drop "); i >= 0 && (i == 0 || stmt[i-1] == ' ' || stmt[i-1] == '(') && sqlObject(stmt[i+5:]) {
			best, why = 56, "drops part of a database"
		}
		switch {
		case strings.HasPrefix(stmt, "truncate"), strings.Contains(stmt, " truncate "):
			best, why = max(best, 54), "empties a table"
		case strings.Contains(stmt, "delete from") && !strings.Contains(stmt, " where "), strings.HasPrefix(stmt, "delete ") && !strings.Contains(stmt, " where "):
			best, why = max(best, 52), "deletes all rows of a table"
		case strings.HasPrefix(stmt, "update ") && strings.Contains(stmt, " set ") && !strings.Contains(stmt, " where "):
			best, why = max(best, 48), "changes all rows of a table"
		case strings.HasPrefix(stmt, "grant all"), strings.HasPrefix(stmt, "alter user"), strings.HasPrefix(stmt, "alter role"), strings.HasPrefix(stmt, "create user"), strings.HasPrefix(stmt, "alter system"):
			best, why = max(best, 46), "changes who may use a database"
		case strings.HasPrefix(stmt, "shutdown"), strings.HasPrefix(stmt, "flush"), strings.HasPrefix(stmt, "reset master"), strings.HasPrefix(stmt, "vacuum full"), strings.HasPrefix(stmt, "alter table") && strings.Contains(stmt, " drop "):
			best, why = max(best, 46), "changes a database"
		}
	}
	return best, why
}

func sqlObject(rest string) bool {
	word, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	switch strings.Trim(word, "\"`[];") {
	case "table", "database", "schema", "view", "index", "user", "role", "column", "trigger", "function", "procedure", "sequence", "type", "extension", "keyspace", "collection", "constraint", "tablespace", "owned", "materialized", "policy", "domain", "server", "publication", "subscription", "partition", "warehouse", "stage":
		return true
	}
	return false
}
