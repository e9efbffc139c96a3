package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// tags reads the struct tags that are bounds.
func (f *Field) tags(tag reflect.StructTag) error {
	f.Unit = tag.Get("unit")
	for name, to := range map[string]**float64{"min": &f.Min, "max": &f.Max} {
		text, ok := tag.Lookup(name)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q: tag %s:%q is not a number", f.Key, name, text)
		}
		*to = &v
	}
	if text := tag.Get("enum"); text != "" {
		f.Enum = strings.Split(text, ",")
	}
	switch r := tag.Get("reload"); r {
	case "":
	case ReloadHot, ReloadRestart:
		f.Reload = r
	default:
		return fmt.Errorf("%q: tag reload:%q is neither hot nor restart", f.Key, r)
	}
	switch v := tag.Get("secret"); v {
	case "":
	case "false":
		f.public = true
	case "true":
		f.Secret = true
	default:
		return fmt.Errorf("%q: tag secret:%q is neither true nor false", f.Key, v)
	}
	return nil
}

// guessSecret hides strings whose name says that they are secret although the tag was
// forgotten; secret:"false" overrides.
func (f *Field) guessSecret(tag string) {
	if tag == "" && len(f.Enum) == 0 && sensitiveName(f.name) && (f.Kind == KindString || f.elem != nil && f.elem.Kind == KindString) {
		f.Secret = true
	}
	for e := f.elem; e != nil; e = e.elem {
		e.Secret = e.Secret || f.Secret
	}
}

// The real gateway's list (its sensitive-paths module): names that end so are not secret
// although they contain "token" or "password" …
var notSensitive = []string{"maxtokens", "maxoutputtokens", "maxinputtokens", "maxcompletiontokens",
	"contexttokens", "totaltokens", "tokencount", "tokenlimit", "tokenbudget", "passwordfile"}

// … and these are.
var sensitive = regexp.MustCompile(`(?i)token$|password|secret|api.?key|encrypt.?key|private.?key|serviceaccount(?:ref)?$`)

// sensitiveName guesses from a path whether its value must not be shown.
func sensitiveName(path string) bool {
	path = strings.TrimSuffix(strings.TrimSuffix(path, "[]"), ".*")
	lower := strings.ToLower(path)
	for _, suffix := range notSensitive {
		if strings.HasSuffix(lower, suffix) {
			return false
		}
	}
	return sensitive.MatchString(path)
}

// Bound describes the allowed values in words, for explain and the documentation.
func (f *Field) Bound() string {
	var parts []string
	if len(f.Enum) > 0 {
		parts = append(parts, "one of "+strings.Join(f.Enum, ", "))
	}
	what := ""
	switch f.Kind {
	case KindString:
		what = "length "
	case KindList, KindMap:
		what = "entries "
	}
	switch {
	case f.Min != nil && f.Max != nil:
		parts = append(parts, what+formatFloat(*f.Min)+" to "+formatFloat(*f.Max))
	case f.Min != nil:
		parts = append(parts, what+"at least "+formatFloat(*f.Min))
	case f.Max != nil:
		parts = append(parts, what+"at most "+formatFloat(*f.Max))
	}
	return strings.Join(parts, "; ")
}

func formatFloat(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
