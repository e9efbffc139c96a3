package shell

import "strings"

// lookalikes replaces characters that only look like those of a command: blanks of no width
// or another width, letters of full width, carriage returns. A shell would not find such a
// program; who reads or pastes the line, or a terminal that tidies it, would.
func lookalikes(line string) string {
	plain := true
	for i := 0; i < len(line) && plain; i++ {
		plain = line[i] < 0xc2 && line[i] != '\r'
	}
	if plain {
		return line
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\r', r >= 0x200b && r <= 0x200f, r == 0x2060, r == 0xfeff, r == 0xad:
			return -1
		case r == 0xa0, r >= 0x2000 && r <= 0x200a, r == 0x3000, r == 0x202f, r == 0x205f:
			return ' '
		case r >= 0xff01 && r <= 0xff5e:
			return r - 0xff01 + '!'
		}
		return r
	}, line)
}
