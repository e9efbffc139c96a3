package secrets

import "bytes"

// The functions here find secrets that are more than a prefix and a run. All look at a
// bounded part of the text around the word, and count what they look at.

// findValue finds the value behind a name that ends at text[end]: an optional rest of
// the name, a quote, a separator, a quote, the value.
func findValue(p *probe, end int, limit int) (start, stop int, ok bool) {
	text := p.text
	at := p.run(end, 32, urlSafe)
	at = skip(text, at, 2, "\"'`]\\")
	at = skip(text, at, 4, " \t")
	sep := at
	at = skip(text, at, 3, ":=>")
	if at == sep {
		return 0, 0, false
	}
	at = skip(text, at, 4, " \t")
	at = skip(text, at, 2, "\"'`\\")
	stop = at
	for most := min(len(text), at+limit); stop < most && classes[text[stop]]&valueC != 0 || stop < most && text[stop] == '='; {
		stop++
	}
	p.work += stop - end
	return at, stop, stop > at
}

func skip(text []byte, at, most int, set string) int {
	for most > 0 && at < len(text) && indexByte(set, text[at]) {
		at++
		most--
	}
	return at
}

func indexByte(set string, c byte) bool {
	for i := range len(set) {
		if set[i] == c {
			return true
		}
	}
	return false
}

func findAWSSecret(p *probe, _, end int) (Match, bool) {
	text := p.text
	start, stop, ok := findValue(p, end, 64)
	v := text[start:stop]
	ok = ok && len(v) == 40 && p.entropy(v) >= 3*1024 && !p.placeholder(v)
	return Match{Start: start, End: stop, Sure: true}, ok
}

// findNamed returns a function that finds a value of that length behind its name.
func findNamed(least, most int) func(*probe, int, int) (Match, bool) {
	return func(p *probe, _, end int) (Match, bool) {
		text := p.text
		start, stop, ok := findValue(p, end, most+1)
		v := text[start:stop]
		ok = ok && len(v) >= least && len(v) <= most && p.entropy(v) >= 3*1024 && mixed(v) && !p.placeholder(v)
		return Match{Start: start, End: stop, Sure: true}, ok
	}
}

func findAzureSecret(p *probe, at, end int) (Match, bool) {
	text := p.text
	start := at - 3
	if start < 0 || !within(text[start:at], word|dotC) || !freshLeft(text, start) {
		return Match{}, false
	}
	stop := p.run(end, 40, urlSafe|dotC)
	for stop > end && text[stop-1] == '.' {
		stop-- // the sentence's
	}
	n := stop - end
	return Match{Start: start, End: stop, Sure: true}, n >= 31 && n <= 34 && !p.placeholder(text[end:stop])
}

func findSAS(p *probe, _, end int) (Match, bool) {
	text := p.text
	stop := end
	for most := min(len(text), end+120); stop < most && (classes[text[stop]]&base64C != 0 || text[stop] == '%' || text[stop] == '='); {
		stop++
	}
	n := stop - end
	return Match{Start: end, End: stop, Sure: true}, n >= 43 && p.entropy(text[end:stop]) >= 3*1024
}

func findSendGrid(p *probe, at, end int) (Match, bool) {
	text := p.text
	mid := p.run(end, 23, urlSafe)
	if mid-end != 22 || mid >= len(text) || text[mid] != '.' || !freshLeft(text, at) {
		return Match{}, false
	}
	stop := p.run(mid+1, 44, urlSafe)
	return Match{Start: at, End: stop, Sure: true}, stop-mid-1 == 43 && !p.placeholder(text[end:stop])
}

func findMailchimp(p *probe, at, end int) (Match, bool) {
	text := p.text
	start, stop := at-32, p.run(end, 3, digitC)
	if start < 0 || stop == end || stop-end > 2 || !within(text[start:at], hexLow) || !freshLeft(text, start) {
		return Match{}, false
	}
	return Match{Start: start, End: stop, Sure: true}, p.entropy(text[start:at]) >= defaultEntropy
}

func findTelegram(p *probe, at, _ int) (Match, bool) {
	text := p.text
	if string(text[at:at+3]) != ":AA" {
		return Match{}, false
	}
	start := at
	for start > 0 && at-start < 11 && classes[text[start-1]]&digitC != 0 {
		start--
	}
	stop := p.run(at+1, 36, urlSafe)
	// In an address the token stands behind "bot".
	left := freshLeft(text, start) || start >= 3 && hasPrefixFold(text[start-3:], "bot")
	ok := at-start >= 8 && at-start <= 10 && stop-at-1 == 35 && left
	return Match{Start: start, End: stop, Sure: true}, ok && !p.placeholder(text[at+1:stop])
}

func findDiscord(p *probe, at, _ int) (Match, bool) {
	text := p.text
	if text[at] < 'A' || text[at] > 'Z' || !freshLeft(text, at) {
		return Match{}, false
	}
	a := p.run(at, 29, urlSafe)
	if n := a - at; n < 23 || n > 28 || a >= len(text) || text[a] != '.' {
		return Match{}, false
	}
	b := p.run(a+1, 8, urlSafe)
	if n := b - a - 1; n < 6 || n > 7 || b >= len(text) || text[b] != '.' {
		return Match{}, false
	}
	stop := p.run(b+1, 45, urlSafe)
	n := stop - b - 1
	return Match{Start: at, End: stop, Sure: true}, n >= 27 && n <= 40 && p.entropy(text[b+1:stop]) >= 3*1024
}

func findDiscordHook(p *probe, _, end int) (Match, bool) {
	text := p.text
	slash := p.run(end, 21, digitC)
	if slash-end < 15 || slash >= len(text) || text[slash] != '/' {
		return Match{}, false
	}
	stop := p.run(slash+1, 120, urlSafe)
	return Match{Start: slash + 1, End: stop, Sure: true}, stop-slash-1 >= 40 && !p.placeholder(text[slash+1:stop])
}

// maxJWT bounds one part of a JSON web token.
const maxJWT = 16 << 10

func findJWT(p *probe, at, _ int) (Match, bool) {
	text := p.text
	if text[at+2] != 'J' || !freshLeft(text, at) {
		return Match{}, false
	}
	a := p.run(at, maxJWT, urlSafe)
	if a-at < 12 || a >= len(text) || text[a] != '.' || !jwtHeader(text[at:a]) {
		return Match{}, false
	}
	b := p.run(a+1, maxJWT, urlSafe)
	if b-a-1 < 8 || b >= len(text) || text[b] != '.' {
		return Match{}, false
	}
	stop := p.run(b+1, maxJWT, urlSafe|dotC)
	return Match{Start: at, End: stop, Sure: true}, true
}

// findPEM finds a private key in PEM; one that has no end reaches to the text's.
func findPEM(p *probe, at, end int) (Match, bool) {
	text := p.text
	const most = 64 // of a label
	line := text[end:min(len(text), end+most)]
	dashes := bytes.Index(line, []byte("-----"))
	if dashes < 0 {
		return Match{}, false
	}
	label := line[:dashes]
	if !containsFold(label, "private key") && !containsFold(label, "age encrypted file") {
		return Match{}, false
	}
	body := end + dashes + 5
	// A key holds at least a line of base64; prose that names the header holds none.
	probe := skipSpace(text, body)
	solid := p.run(probe, 40, base64C)-probe >= 16 || hasHeader(text[probe:min(len(text), probe+40)])
	if !solid {
		return Match{}, false
	}
	stop := len(text)
	if i := bytes.Index(text[body:], []byte("-----END")); i >= 0 {
		stop = body + i + len("-----END")
		if j := bytes.Index(text[stop:min(len(text), stop+most)], []byte("-----")); j >= 0 {
			stop += j + 5
		}
	}
	p.work += (stop - body) / 8
	return Match{Start: at, End: stop, Sure: true}, true
}

func hasHeader(line []byte) bool {
	return bytes.HasPrefix(line, []byte("Proc-Type:")) || bytes.HasPrefix(line, []byte("Version:")) ||
		bytes.HasPrefix(line, []byte("Comment:"))
}

// skipSpace skips white space and its escapes in quoted text.
func skipSpace(text []byte, at int) int {
	for at < len(text) {
		switch {
		case text[at] == ' ' || text[at] == '\n' || text[at] == '\r' || text[at] == '\t':
			at++
		case text[at] == '\\' && at+1 < len(text) && (text[at+1] == 'n' || text[at+1] == 'r'):
			at += 2
		default:
			return at
		}
	}
	return at
}

func findPuTTY(p *probe, at, end int) (Match, bool) {
	text := p.text
	rest := text[end:min(len(text), end+maxBody)]
	p.work += len(rest)
	i := bytes.Index(rest, []byte("Private-Lines:"))
	if i < 0 {
		return Match{}, false
	}
	stop := end + i
	if j := bytes.Index(text[stop:min(len(text), stop+maxBody)], []byte("Private-MAC:")); j >= 0 {
		stop += j
	} else {
		stop = min(len(text), stop+maxBody)
	}
	return Match{Start: at, End: stop, Sure: true}, true
}

// findURL finds the password in scheme://user:password@host.
func findURL(p *probe, at, end int) (Match, bool) {
	text := p.text
	if at == 0 || classes[text[at-1]]&alnum == 0 {
		return Match{}, false
	}
	const most = 256
	colon := -1
	p.work += 64
	for i := end; i < len(text) && i < end+most; i++ {
		switch c := text[i]; {
		case c == ':' && colon < 0:
			colon = i
		case c == '@':
			if colon < 0 {
				return Match{}, false
			}
			v := text[colon+1 : i]
			return Match{Start: colon + 1, End: i, Sure: true}, len(v) >= 4 && !template(p, v) && !commonWord(v)
		case c <= ' ' || c == '/' || c == '?' || c == '#' || c == '"' || c == '\'' || c == '<' || c == '>' || c == '`' || c == ')' || c >= 0x7f:
			return Match{}, false
		}
	}
	return Match{}, false
}

// template reports whether v stands for a value that is filled in later.
func template(p *probe, v []byte) bool {
	return bytes.ContainsAny(v, "${}<>*[]%") || p.placeholder(v)
}

// commonWord holds for passwords that documentation uses.
func commonWord(v []byte) bool {
	for _, w := range []string{"pass", "password", "passwd", "secret", "pwd", "postgres", "root", "admin", "guest", "user",
		"mysql", "test", "token", "minioadmin", "rabbitmq", "redis", "mongo", "hunter2", "example"} {
		if len(v) == len(w) && hasPrefixFold(v, w) {
			return true
		}
	}
	return false
}

func findKubeKey(p *probe, _, end int) (Match, bool) {
	text := p.text
	start := skip(text, end, 4, " \t\"'")
	stop := p.run(start, maxJWT, base64C)
	return Match{Start: start, End: stop, Sure: true}, stop-start >= 64
}

func findBraintree(p *probe, at, end int) (Match, bool) {
	text := p.text
	a := p.run(end, 17, lowNum)
	if a-end != 16 || a >= len(text) || text[a] != '$' {
		return Match{}, false
	}
	stop := p.run(a+1, 33, hexLow)
	return Match{Start: at, End: stop, Sure: true}, stop-a-1 == 32
}

func findTerraform(p *probe, at, end int) (Match, bool) {
	text := p.text
	start := at - 14
	if start < 0 || !within(text[start:at], alnum) || !freshLeft(text, start) {
		return Match{}, false
	}
	stop := p.run(end, 80, urlSafe)
	return Match{Start: start, End: stop, Sure: true}, stop-end >= 60 && !p.placeholder(text[end:stop])
}

// findBearer finds the value of an authorization header.
func findBearer(p *probe, at, end int) (Match, bool) {
	text := p.text
	stop := end
	for most := min(len(text), end+maxBody); stop < most && (classes[text[stop]]&valueC != 0 || text[stop] == '='); {
		stop++
	}
	v := text[end:stop]
	p.work += len(v)
	ok := freshLeft(text, at) && len(v) >= 16 && mixed(v) && p.entropy(v) >= 3*1024 && !p.placeholder(v)
	return Match{Start: end, End: stop}, ok
}

// Bounds of a value that is taken for a secret by its name and its entropy alone.
const (
	minAssigned     = 12
	maxAssigned     = 256
	assignedEntropy = 3*1024 + 256 // 3.25 bits a byte
)

// findAssignment finds token=…, "api_key": "…" and the like: a name that says secret and
// a value that no person would write.
func findAssignment(p *probe, at, end int) (Match, bool) {
	text := p.text
	if at >= 9 && hasPrefixFold(text[at-9:], "publickey") {
		return Match{}, false // PublicKeyToken names an assembly
	}
	start, stop, ok := findValue(p, end, maxAssigned+1)
	if !ok {
		return Match{}, false
	}
	for stop > start && (text[stop-1] == '.' || text[stop-1] == ',') {
		stop-- // the sentence's, not the value's
	}
	v := text[start:stop]
	if len(v) < minAssigned || len(v) > maxAssigned || !mixed(v) || p.entropy(v) < assignedEntropy || p.placeholder(v) {
		return Match{}, false
	}
	if stop < len(text) && (text[stop] == '(' || text[stop] == '{' || text[stop] == '$' || text[stop] == '[' || text[stop] == ':') {
		return Match{}, false // a call or a template, not a value
	}
	return Match{Start: start, End: stop}, !identifier(v)
}

// identifier holds for what programs write: words joined by dots, dashes or slashes, of
// which few have digits, and UUID-free paths.
func identifier(v []byte) bool {
	parts, wordy, letters := 0, 0, 0
	for len(v) > 0 {
		n := run(v, 0, len(v), alnum)
		if n > 0 {
			parts++
			letters += n
			if within(v[:n], lowerC|upperC) || within(v[:n], digitC) && n <= 4 {
				wordy += n
			}
		}
		v = v[min(len(v), n+1):]
	}
	return parts >= 2 && 10*wordy >= 7*letters
}
