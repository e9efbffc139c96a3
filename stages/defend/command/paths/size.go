package paths

// Bytes is about how much memory the compiled table takes.
func Bytes() int {
	n := sizeEntry * len(entries)
	for _, row := range table {
		n += len(row.names)
	}
	for _, list := range byFirst {
		n += sizeBucket + 2*cap(list)
	}
	return n + sizeBucket*(len(hosts)+len(systemTop)+len(journals))
}

const (
	sizeEntry  = 32
	sizeBucket = 48 // a key, a value and their share of a map
)
