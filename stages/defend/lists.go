package defend

import "sluice/frames"

// array reads an array. Scalars next to each other are a run. Addresses and names stay
// apart.
func (w *walker) array(f field, depth int) error {
	if depth > frames.MaxDepth {
		return errTooDeep
	}
	if _, err := w.dec.ReadToken(); err != nil {
		return errNotJSON
	}
	join := f == fieldPrompt || f == fieldCommand || f.open()
	r := run{w: w, field: f}
	for k := w.dec.PeekKind(); k != ']'; k = w.dec.PeekKind() {
		if !join || k == '{' || k == '[' || f.open() && k != '"' {
			r.end()
			if err := w.value(f, depth); err != nil {
				return err
			}
			continue
		}
		raw, err := w.dec.ReadValue()
		if err != nil {
			return errNotJSON
		}
		if !f.open() || !looksJSON(raw[1:len(raw)-1]) {
			r.add(raw)
			continue
		}
		r.end()
		start := len(w.a.text)
		w.scalar(raw)
		if err := w.done(span{field: f, start: start, end: len(w.a.text)}); err != nil {
			return err
		}
	}
	r.end()
	if _, err := w.dec.ReadToken(); err != nil {
		return errNotJSON
	}
	return nil
}

// run is scalars that stand next to each other in a list. They become one text, an argv
// joined by blanks, lines of a prompt by line feeds, for whoever reads them as one. Each
// line of a prompt is a text of its own as well: harmless ones around it must not thin
// out what one of them says.
type run struct {
	w     *walker
	field field
	start int
	open  bool
	args  [2]int
}

func (r *run) add(raw []byte) {
	a := r.w.a
	if !r.open {
		r.start = len(a.text)
		r.args = [2]int{len(a.ends), len(a.ends)}
		r.w.items = r.w.items[:0]
	} else {
		a.text = append(a.text, separator(r.field))
	}
	start := len(a.text)
	r.open = r.w.scalar(raw) || r.open
	switch {
	case r.field != fieldCommand:
		if len(a.text) > start {
			r.w.items = append(r.w.items, span{field: r.field, start: start, end: len(a.text)})
		}
	case len(a.ends) < maxArgs:
		a.ends = append(a.ends, len(a.text))
		r.args[1] = len(a.ends)
	}
}

// end records the run, if there is one.
func (r *run) end() {
	if !r.open {
		return
	}
	r.open = false
	a := r.w.a
	whole := span{r.field, r.start, len(a.text), r.args}
	if r.field.open() && phrase(a.text[whole.start:whole.end]) {
		a.more = true
		return // its text stays, unread, before the next
	}
	a.add(whole)
	if len(r.w.items) > 1 {
		for _, item := range r.w.items {
			if !phrase(a.text[item.start:item.end]) {
				a.record(item)
			}
		}
	}
}

func separator(f field) byte {
	if f == fieldCommand {
		return ' '
	}
	return '\n'
}
