package shell

import (
	"strconv"
	"strings"

	"sluice/stages/defend/command/paths"
)

func echo(_ *Machine, c *Call, _ *job) Value {
	args, escapes, newline := c.Args, false, "\n"
	for len(args) > 0 && len(args[0].S) > 1 && args[0].S[0] == '-' && strings.Trim(args[0].S[1:], "neE") == "" {
		escapes = escapes || strings.IndexByte(args[0].S, 'e') > 0
		if strings.IndexByte(args[0].S, 'n') > 0 {
			newline = ""
		}
		args = args[1:]
	}
	v := Value{S: joinFields(args, " ")}
	for _, a := range args {
		v.Taint |= a.Taint
	}
	if escapes || strings.Contains(v.S, `\x`) || strings.Contains(v.S, `\0`) || strings.Contains(v.S, `\n`) {
		v.S = string(appendANSI(nil, v.S))
	}
	v.S += newline
	return v
}

// formatted is what printf writes.
func formatted(args []Value) Value {
	if len(args) == 0 {
		return Value{}
	}
	if args[0].S == "--" {
		args = args[1:]
		if len(args) == 0 {
			return Value{}
		}
	}
	var b []byte
	v := Value{Taint: args[0].Taint}
	format, rest := string(appendANSI(nil, args[0].S)), args[1:]
	for range maxFields {
		used := false
		for i := 0; i < len(format); i++ {
			if format[i] != '%' || i+1 >= len(format) {
				b = append(b, format[i])
				continue
			}
			i++
			for i < len(format)-1 && strings.IndexByte("-+ #0123456789.", format[i]) >= 0 {
				i++
			}
			if format[i] == '%' {
				b = append(b, '%')
				continue
			}
			used = true
			if len(rest) == 0 {
				continue
			}
			arg := rest[0]
			rest, v.Taint = rest[1:], v.Taint|arg.Taint
			switch format[i] {
			case 'b':
				b = appendANSI(b, arg.S)
			case 'c':
				b = append(b, arg.S[:min(1, len(arg.S))]...)
			case 'x', 'o', 'X':
				n, _ := strconv.ParseInt(arg.S, 0, 32)
				b = strconv.AppendInt(b, n, map[byte]int{'x': 16, 'X': 16, 'o': 8}[format[i]])
			default:
				b = append(b, arg.S...)
			}
		}
		if len(rest) == 0 || !used || len(b) > maxValue {
			break
		}
	}
	v.S = string(b)
	return v
}

// read is what a filter reads: the files named, or its input.
func (m *Machine) read(c *Call, j *job, files []Value) Value {
	var v Value
	any := false
	for _, f := range files {
		if f.S == "-" {
			v = m.join(v, j.in.val)
		} else {
			part := m.contents(f.S, paths.Of(f.S))
			part.Taint |= f.Taint & Net
			v = m.join(v, part)
		}
		any = true
	}
	if any {
		return v
	}
	if j.in.piped {
		return j.in.val
	}
	return Value{S: hole, Taint: Typed}
}

func cat(m *Machine, c *Call, j *job) Value { return m.read(c, j, plainArgs(c)) }

func tee(m *Machine, c *Call, j *job) Value {
	for _, a := range plainArgs(c) {
		m.store(a.S, j.in.val, hasAny(c.Args, "-a", "--append"))
	}
	return j.in.val
}

// filter passes on an unknown part of its input.
func filter(m *Machine, c *Call, j *job) Value {
	if j.in.piped {
		return j.in.val
	}
	args := plainArgs(c)
	if len(args) > 1 && (strings.HasSuffix(c.Name, "grep") || c.Name == "jq") {
		args = args[1:]
	}
	v := m.read(c, j, args)
	return v
}

func head(m *Machine, c *Call, j *job) Value {
	args := plainArgs(c)
	if len(args) > 0 && len(c.Args) > 1 && (c.Args[0].S == "-n" || c.Args[0].S == "-c") {
		args = args[1:]
	}
	v := m.read(c, j, args)
	n, okN := 0, false
	if val, ok := value(c.Args, "-c", "--bytes"); ok && v.Known() {
		n, err := strconv.Atoi(strings.TrimPrefix(val.S, "+"))
		if err == nil {
			v.S = bytesOf(v.S, n, c.Name == "tail", strings.HasPrefix(val.S, "+"))
		}
		return v
	}
	if val, ok := value(c.Args, "-n", "--lines"); ok {
		x, err := strconv.Atoi(val.S)
		n, okN = x, err == nil && val.S[0] != '+'
	}
	if okN && n > 0 && v.Known() {
		lines := strings.SplitAfter(strings.TrimSuffix(v.S, "\n"), "\n")
		if c.Name == "tail" {
			lines = lines[max(0, len(lines)-n):]
		} else {
			lines = lines[:min(n, len(lines))]
		}
		v.S = strings.Join(lines, "")
	}
	return v
}

func bytesOf(s string, n int, tail, from bool) string {
	switch {
	case tail && from:
		return s[min(max(0, n-1), len(s)):]
	case tail:
		return s[max(0, len(s)-max(0, n)):]
	case n < 0:
		return s[:max(0, len(s)+n)]
	}
	return s[:min(n, len(s))]
}

func reverse(m *Machine, c *Call, j *job) Value {
	v := m.read(c, j, plainArgs(c))
	lines := strings.Split(v.S, "\n")
	for i, l := range lines {
		b := []rune(l)
		for a, z := 0, len(b)-1; a < z; a, z = a+1, z-1 {
			b[a], b[z] = b[z], b[a]
		}
		lines[i] = string(b)
	}
	return Value{strings.Join(lines, "\n"), v.Taint | Decoded}
}

func reverseLines(m *Machine, c *Call, j *job) Value {
	v := m.read(c, j, plainArgs(c))
	lines := strings.Split(strings.TrimSuffix(v.S, "\n"), "\n")
	for a, z := 0, len(lines)-1; a < z; a, z = a+1, z-1 {
		lines[a], lines[z] = lines[z], lines[a]
	}
	return Value{strings.Join(lines, "\n") + "\n", v.Taint}
}

func translate(_ *Machine, c *Call, j *job) Value {
	v := j.in.val
	args := plainArgs(c)
	drop := hasAny(c.Args, "-d", "--delete")
	if !j.in.piped || len(args) == 0 {
		return v
	}
	from := trSet(args[0].S)
	if hasAny(c.Args, "-c", "-C", "-cd", "-dc", "--complement", "-cs", "-sc") {
		return v
	}
	to := ""
	if len(args) > 1 {
		to = trSet(args[1].S)
	}
	if !drop && to == "" {
		return v
	}
	b := make([]byte, 0, len(v.S))
	for i := range len(v.S) {
		at := strings.LastIndexByte(from, v.S[i])
		switch {
		case at < 0 || v.S[i] == Hole:
			b = append(b, v.S[i])
		case drop:
		default:
			b = append(b, to[min(at, len(to)-1)])
		}
	}
	taint := v.Taint
	if len(from) > 3 && !drop {
		taint |= Decoded
	}
	return Value{string(b), taint}
}

// trSet expands the set of tr.
func trSet(s string) string {
	s = string(appendANSI(nil, s))
	for class, set := range map[string]string{"[:upper:]": "A-Z", "[:lower:]": "a-z", "[:digit:]": "0-9", "[:alpha:]": "A-Za-z", "[:space:]": " \t\n\r", "[:blank:]": " \t"} {
		s = strings.ReplaceAll(s, class, set)
	}
	if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' && strings.IndexByte(s, '-') > 0 {
		s = s[1 : len(s)-1]
	}
	var b []byte
	for i := 0; i < len(s) && len(b) < 512; i++ {
		if i+2 < len(s) && s[i+1] == '-' && s[i+2] >= s[i] {
			for ch := int(s[i]); ch <= int(s[i+2]); ch++ {
				b = append(b, byte(ch))
			}
			i += 2
		} else {
			b = append(b, s[i])
		}
	}
	return string(b)
}

func cut(m *Machine, c *Call, j *job) Value {
	v := j.in.val
	if !v.Known() || len(v.S) > maxTrim*8 {
		return v
	}
	spec, chars := value(c.Args, "-c", "-b", "--characters")
	field, fields := value(c.Args, "-f", "--fields")
	delim := "\t"
	if d, ok := value(c.Args, "-d", "--delimiter"); ok && d.S != "" {
		delim = d.S
	}
	var out strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(v.S, "\n"), "\n") {
		switch {
		case chars:
			for i := range len(line) {
				if within(spec.S, i+1) {
					out.WriteByte(line[i])
				}
			}
		case fields:
			first := true
			for i, part := range strings.Split(line, delim) {
				if within(field.S, i+1) {
					if !first {
						out.WriteString(delim)
					}
					out.WriteString(part)
					first = false
				}
			}
		default:
			return v
		}
		out.WriteByte('\n')
	}
	return Value{out.String(), v.Taint}
}

// within reports whether n is in a list such as 1,3-5,7-.
func within(list string, n int) bool {
	if len(list) > 256 {
		return false
	}
	for part := range strings.SplitSeq(list, ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		a, _ := strconv.Atoi(lo)
		b := a
		if isRange {
			b = 1 << 30
			if hi != "" {
				b, _ = strconv.Atoi(hi)
			}
		}
		if a <= n && n <= b {
			return true
		}
	}
	return false
}

// sed evaluates s/plain/plain/ and passes everything else on.
func sed(m *Machine, c *Call, j *job) Value {
	args := plainArgs(c)
	if len(args) == 0 {
		return j.in.val
	}
	script, files := args[0].S, args[1:]
	v := m.read(c, j, files)
	if !v.Known() || len(script) < 4 || script[0] != 's' {
		return v
	}
	parts := strings.Split(script[2:], script[1:2])
	if len(parts) != 3 || parts[0] == "" {
		return v
	}
	from, to := parts[0], strings.ReplaceAll(parts[1], `\n`, "\n")
	if strings.ContainsAny(from, `.*[]^$\`) {
		if from == "^." || from == "." || len(v.S) > maxTrim {
			return v
		}
		return Value{v.S, v.Taint}
	}
	n := 1
	if strings.Contains(parts[2], "g") {
		n = -1
	}
	if strings.Count(v.S, from)*len(to) > maxValue {
		return v
	}
	var out strings.Builder
	for line := range strings.SplitAfterSeq(v.S, "\n") {
		out.WriteString(strings.Replace(line, from, to, n))
	}
	return Value{out.String(), v.Taint}
}

// awk evaluates {print $n} and passes the rest on as unknown.
func awk(m *Machine, c *Call, j *job) Value {
	args := plainArgs(c)
	v := m.read(c, j, args[min(1, len(args)):])
	if len(args) == 0 {
		return v
	}
	prog := strings.TrimSpace(args[0].S)
	if strings.HasPrefix(prog, "BEGIN") {
		if lits := printed(prog); lits != "" {
			return Value{S: lits}
		}
		return Value{S: hole, Taint: Unknown}
	}
	num, ok := strings.CutPrefix(strings.Trim(prog, "{} ;"), "print $")
	if !ok || !v.Known() {
		return Value{hole, v.Taint}
	}
	sep := " "
	if f, ok := value(c.Args, "-F"); ok {
		sep = f.S
	}
	n, err := strconv.Atoi(num)
	if err != nil || n < 1 || sep == "" {
		return Value{hole, v.Taint}
	}
	var out strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(v.S, "\n"), "\n") {
		f := strings.Fields(line)
		if sep != " " {
			f = strings.Split(line, sep)
		}
		if n <= len(f) {
			out.WriteString(f[n-1])
		}
		out.WriteByte('\n')
	}
	return Value{out.String(), v.Taint}
}

// printed is the text of print "…" in an AWK program that does nothing else.
func printed(prog string) string {
	i := strings.IndexByte(prog, '"')
	k := strings.LastIndexByte(prog, '"')
	if i < 0 || k <= i || !strings.Contains(prog[:i], "print") || strings.ContainsAny(prog[i+1:k], `"`) {
		return ""
	}
	return string(appendANSI(nil, prog[i+1:k])) + "\n"
}
