package adapter

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Chunk cuts text into messages of at most limit characters (Unicode code points): at
// the last line feed, else at the last blank, else between two characters as people see
// them. A Markdown code fence is not cut if it can stay whole; one that is longer than a
// message is closed at the end of each and opened again in the next. Limit 0 cuts
// nothing. An empty text has no chunks.
func Chunk(text string, limit int, mode Mode) []string {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	parts := []string{text}
	if mode == ModeNewline {
		parts = paragraphs(text)
	}
	var out []string
	for _, p := range parts {
		if limit <= 0 {
			out = append(out, p)
			continue
		}
		c := chunker{text: p, limit: limit, out: out}
		for c.pos < len(c.text) {
			c.next()
		}
		out = c.out
	}
	return out
}

// paragraphs splits at blank lines that are not inside a fence.
func paragraphs(text string) []string {
	var out []string
	var fence string
	start, end := 0, 0 // of the paragraph so far
	flush := func(next int) {
		if p := strings.Trim(text[start:end], "\n"); strings.TrimSpace(p) != "" {
			out = append(out, p)
		}
		start = next
	}
	for pos := 0; pos < len(text); {
		line := lineAt(text, pos)
		next := min(pos+len(line)+1, len(text))
		fence = fenceAfter(fence, line)
		if fence == "" && strings.TrimSpace(line) == "" {
			end = pos
			flush(next)
		}
		end = next
		pos = next
	}
	flush(len(text))
	return out
}

func lineAt(text string, pos int) string {
	if n := strings.IndexByte(text[pos:], '\n'); n >= 0 {
		return text[pos : pos+n]
	}
	return text[pos:]
}

// fenceAfter returns the fence that is open after a line: the line that opened it.
func fenceAfter(open, line string) string {
	t := strings.TrimLeft(line, " ")
	mark := marker(t)
	switch {
	case mark == "" || len(line)-len(t) > 3:
		return open
	case open == "":
		return strings.TrimRight(t, " \r")
	case mark[0] == marker(open)[0] && len(mark) >= len(marker(open)) && strings.TrimSpace(t[len(mark):]) == "":
		return ""
	}
	return open
}

// marker returns the run of backquotes or tildes that starts a fence line.
func marker(line string) string {
	if line == "" || line[0] != '`' && line[0] != '~' {
		return ""
	}
	n := 1
	for n < len(line) && line[n] == line[0] {
		n++
	}
	if n < 3 {
		return ""
	}
	return line[:n]
}

// chunker cuts one text.
type chunker struct {
	text  string
	limit int
	pos   int
	fence string // the fence that the last chunk had to close; the next opens it again
	out   []string
}

// minFenceRoom is the least content that makes repeating a fence worth it.
const minFenceRoom = 16

// next emits one chunk.
func (c *chunker) next() {
	prefix := ""
	if c.fence != "" {
		prefix = c.fence + "\n"
	}
	room := c.limit - utf8.RuneCountInString(prefix)
	end := advance(c.text, c.pos, room)
	if end == len(c.text) {
		c.emit(prefix, end, "")
		return
	}
	cut := c.breakBefore(end)
	open, at := c.openAt(cut)
	switch {
	case open == "":
		c.emit(prefix, cut, "")
	case at > c.pos && strings.TrimSpace(c.text[c.pos:at]) != "":
		c.emit(prefix, at, "") // the fence goes to the next chunk as a whole
	default:
		c.cutFence(prefix, room, cut, open, at)
	}
}

// cutFence ends the chunk inside a fence that fills it.
func (c *chunker) cutFence(prefix string, room, cut int, open string, at int) {
	mark := marker(open)
	if utf8.RuneCountInString(open) > c.limit/4 {
		open = mark // an info string that long is not worth repeating
	}
	from := c.pos
	if at >= 0 {
		from = at + len(lineAt(c.text, at)) + 1
	}
	inner := c.breakBefore(advance(c.text, c.pos, room-len(mark)-1))
	if inner <= from || c.limit < utf8.RuneCountInString(open)+len(mark)+2+minFenceRoom {
		c.emit(prefix, cut, "")
		return
	}
	c.emit(prefix, inner, "\n"+mark)
	c.fence = open
}

// emit appends the text up to cut as a chunk and moves on, over one blank at the cut.
func (c *chunker) emit(prefix string, cut int, suffix string) {
	if body := strings.TrimRight(c.text[c.pos:cut], " \t\r\n"); body != "" {
		c.out = append(c.out, prefix+body+suffix)
	}
	c.fence = ""
	c.pos = cut
	if r, n := utf8.DecodeRuneInString(c.text[cut:]); n > 0 && unicode.IsSpace(r) {
		c.pos += n
	}
}

// breakBefore finds where to cut, at most at end and after c.pos.
func (c *chunker) breakBefore(end int) int {
	if end >= len(c.text) {
		return len(c.text)
	}
	if r, _ := utf8.DecodeRuneInString(c.text[end:]); unicode.IsSpace(r) {
		return end
	}
	window := c.text[c.pos:end]
	if i := strings.LastIndexByte(window, '\n'); i > 0 {
		return c.pos + i
	}
	if i := strings.LastIndexFunc(window, unicode.IsSpace); i > 0 {
		return c.pos + i
	}
	return c.boundary(end)
}

// openAt returns the fence that is open at cut and where it was opened; -1 when it was
// open from the start of the chunk.
func (c *chunker) openAt(cut int) (open string, at int) {
	open, at = c.fence, -1
	for pos := c.pos; pos < cut; {
		line := lineAt(c.text, pos)
		if pos+len(line) > cut {
			line = c.text[pos:cut]
		}
		was := open
		if open = fenceAfter(open, line); open != "" && was == "" {
			at = pos
		}
		pos += len(line) + 1
	}
	return open, at
}

// advance returns the index after at most n characters from pos; at least one.
func advance(text string, pos, n int) int {
	i := pos
	for k := 0; i < len(text) && (k < n || k == 0); k++ {
		_, size := utf8.DecodeRuneInString(text[i:])
		i += size
	}
	return i
}

// maxCluster bounds how far back a cut moves to keep a character whole; longer clusters
// are noise (stacked marks) and are cut.
const maxCluster = 32

// boundary moves a cut back to where no character is torn: not before a combining mark,
// a joiner or a skin tone, not after a joiner, not inside a flag. It is the part of
// UAX 29 that chat texts need.
func (c *chunker) boundary(end int) int {
	for i, n := end, 0; i > c.pos && n < maxCluster; n++ {
		if canCut(c.text, c.pos, i) {
			return i
		}
		_, size := utf8.DecodeLastRuneInString(c.text[:i])
		i -= size
	}
	return end
}

func canCut(text string, from, i int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[from:i])
	after, _ := utf8.DecodeRuneInString(text[i:])
	const joiner = '\u200d'
	switch {
	case after == joiner || before == joiner, unicode.Is(unicode.M, after),
		after >= 0x1F3FB && after <= 0x1F3FF, after >= 0xE0020 && after <= 0xE007F,
		after >= 0x1160 && after <= 0x11FF, before == '\r' && after == '\n':
		return false
	case regional(after):
		flags := 0
		for j := i; j > from; {
			r, size := utf8.DecodeLastRuneInString(text[from:j])
			if !regional(r) {
				break
			}
			flags++
			j -= size
		}
		return flags%2 == 0
	}
	return true
}

func regional(r rune) bool { return r >= 0x1F1E6 && r <= 0x1F1FF }
