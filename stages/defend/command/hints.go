package command

import (
	"math/bits"
	"strings"

	"sluice/stages/defend/command/phrase"
)

// Hints are what attacks have more often than harmless commands, and what decides
// nothing: a temporary folder, a download, an interpreter's -c. They order the commands
// that no rule has anything to say about, for whoever looks at the highest scores first,
// and stay far below a review.
var hints = []struct {
	weight float64
	words  []string
}{
	{2.5, []string{"/tmp", "/dev/shm"}},
	{2, []string{"2>/dev/null", "2> /dev/null"}},
	{1.5, []string{"http://", "https://", "ftp://"}},
	{3, []string{"base64", "b64", "xxd"}},
	{2.5, []string{" -c ", " -e "}},
	{0.5, []string{"sudo "}},
	{2, []string{"chmod "}},
	{1, []string{"chown "}},
	{1.5, []string{"curl ", "wget "}},
	{1.5, []string{"bash ", "zsh ", "/sh "}},
	{1, []string{"/.ssh", "~/.", "/.bash"}},
	{1.5, []string{"/etc/"}},
	{1.5, []string{"gcc ", "g++ ", "clang"}},
	{1.5, []string{" ./", "\n./"}},
	{1.5, []string{"whoami", "uname", "hostname", "ifconfig", "netstat"}},
	{2.5, []string{"-perm", "-nouser", "-uid"}},
	{1, []string{"aws ", "gcloud", "kubectl", "docker"}},
	{2, []string{"passwd", "shadow", "secret", "token", "credential"}},
	{1.5, []string{"xattr", "auditctl", "insmod", "modprobe", "kill ", "truncate"}},
}

// The weights of what is no word, and the most that all hints come to.
const (
	hintLines    = 2
	hintSequence = 1.5
	hintSubst    = 1
	hintOutput   = 1
	mostHints    = 14
	hintBytes    = 4 << 10 // that are looked at
)

var hintTable, hintGroup = func() (*phrase.Table, []uint8) {
	var words []string
	var group []uint8
	for i, h := range hints {
		for _, w := range h.words {
			words, group = append(words, w), append(group, uint8(i))
		}
	}
	return phrase.New(words), group
}()

// hinted is the sum of the hints in line.
func hinted(line string) float64 {
	line = line[:min(len(line), hintBytes)]
	seen := uint32(0)
	hintTable.Find(line, func(i int) bool {
		seen |= 1 << hintGroup[i]
		return true
	})
	sum := 0.0
	for ; seen != 0; seen &= seen - 1 {
		sum += hints[bits.TrailingZeros32(seen)].weight
	}
	if strings.IndexByte(line, '\n') >= 0 {
		sum += hintLines
	}
	if strings.IndexByte(line, ';') >= 0 || strings.Contains(line, "&&") || strings.Contains(line, "||") {
		sum += hintSequence
	}
	if strings.IndexByte(line, '`') >= 0 || strings.Contains(line, "$(") {
		sum += hintSubst
	}
	if strings.Contains(line, ">>") || strings.Contains(line, "> /") {
		sum += hintOutput
	}
	return min(sum, mostHints)
}
