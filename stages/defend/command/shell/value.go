// Package shell works out what a command line would run, as far as that can be known
// without running anything. It parses the line as bash does, evaluates quotes, variables,
// substitutions and pipes of known text, unwraps env, sudo, xargs, sh -c and their kin,
// and returns the trace: every simple command with its arguments, where its input comes
// from and where its output goes.
//
// It never touches files, the network or the environment. Its work is bounded by Limits;
// what lies beyond is reported as a Problem and not guessed.
package shell

import (
	"strings"

	"sluice/stages/defend/command/code"
	"sluice/stages/defend/command/paths"
)

// Hole stands in a Value for a part that only running would tell. NUL cannot occur in a
// command line, so no input can imitate it.
const Hole = paths.Hole

const hole = string(rune(Hole))

// Taint says where data came from. It is a set.
type Taint uint32

// The origins.
const (
	Net       Taint = 1 << iota // read from the network
	Secret                      // the contents of a file with credentials
	File                        // the contents of some file
	Env                         // the environment
	Recon                       // what the system says about itself
	Decoded                     // went through a decoder, so it was hidden
	Unknown                     // the output of a program that is not modelled
	FromShell                   // the output of a shell
	Random                      // random or endless
	Personal                    // a user's documents, mail or history
	Typed                       // typed by a person
	Encoded                     // went through an encoder
	System                      // contents of system configuration
	Variable                    // a variable that the line does not set
	Token                       // what a program prints to be let in elsewhere
)

// Value is text that is known except for its holes, and where it came from.
type Value struct {
	S     string
	Taint Taint
}

// Known reports whether every byte is known.
func (v Value) Known() bool { return strings.IndexByte(v.S, Hole) < 0 }

// Plain is the text with the unknown parts left out: what it is if they are empty.
func (v Value) Plain() string {
	if v.Known() {
		return v.S
	}
	return strings.ReplaceAll(v.S, hole, "")
}

// Via says how a command came to run. It is a set.
type Via uint32

// The ways.
const (
	ViaSudo    Via = 1 << iota // with another user's rights
	ViaRemote                  // on another machine
	ViaBox                     // in a container
	ViaFind                    // for each file that find found
	ViaXargs                   // for each line of input
	ViaCode                    // from a program in another language
	ViaWrapper                 // through env, nohup, timeout and their kin
	ViaString                  // from a string that a shell evaluates
	ViaSched                   // later: cron, at, trap
	ViaBack                    // in the background
	ViaSubst                   // for its output
	ViaHidden                  // the text was decoded first
	ViaFunc                    // in a function's body
	ViaInput                   // from the standard input of a shell
	ViaStored                  // from a file that the line wrote
	ViaLoop                    // repeated
	ViaEscape                  // from a program's command language: an editor, a pager
	ViaAsked                   // after a person has said yes: find -ok
	ViaSpace                   // in namespaces of its own: unshare, nsenter
)

// Write is one file that a command writes to.
type Write struct {
	Path  string
	Class paths.Class
	// Append is >> rather than >.
	Append bool
}

// Call is one simple command of the trace. Its slices are valid until the Machine's next
// Run.
type Call struct {
	// Name is the program's base name, without a version; Given as it was written. Name is
	// empty if it is unknown.
	Name, Given string
	Args        []Value
	// In is what stands on the standard input; Piped is false when that is the caller's.
	In    Value
	Piped bool
	// Writes are redirections of output; Reads of input.
	Writes []Write
	Reads  []Write
	// Env are assignments before the command.
	Env []Value
	// Vars are their names.
	Vars []string
	Via  Via
	// Facts are what code in the arguments would do.
	Facts code.Facts
	// Class is the union over Args and Reads, OutClass over Writes; Dest is the last
	// argument's, where a copy goes, and Source the union over those before it.
	Class, OutClass, Source, Dest paths.Class
	// ArgTaint is the union over Args.
	ArgTaint Taint
	// Start and End delimit the text of the line that counted.
	Start, End int
	// Obscured is how much of the name was hidden by quoting, holes or globs.
	Obscured bool
	// Dir is the folder that the line changed to before; "" is the caller's.
	Dir string
	// Stored says that it runs a file which the line itself wrote.
	Stored bool
	// Muted says that its errors are thrown away; Swapped that its input is the terminal or
	// one of its own outputs, as in sh 0<&2: a shell wants a person to talk to.
	Muted, Swapped bool
	// ScriptTaint is where the code that the command runs came from.
	ScriptTaint Taint
}

// Sub reports whether the words stand among the arguments that are not options, in order.
func (c *Call) Sub(words ...string) bool {
	i := 0
	for _, a := range c.Args {
		if i < len(words) && a.S == words[i] {
			i++
		}
	}
	return i == len(words)
}

// Problem says why a trace may be incomplete. It is a set.
type Problem uint8

// The problems.
const (
	Unparsed Problem = 1 << iota // not a shell command line as it stands
	TooDeep                      // nested beyond the limit
	TooMuch                      // more work than the limit
	TooLong                      // longer than the limit
	Dynamic                      // runs a name that cannot be known
)

// Trace is what a line would run.
type Trace struct {
	Calls    []Call
	Problems Problem
	// Bomb is a function that calls itself more than once at a time.
	Bomb bool
	// Shellshock is a line that begins as attacks on old shells do.
	Shellshock bool
	// Sets are variables that the line sets for itself or what it runs.
	Sets []Set
}

// Set is an assignment that outlives one command.
type Set struct {
	Name       string
	Value      Value
	Start, End int
}

// Limits bound one Run. The zero value of a field is not valid; see DefaultLimits.
type Limits struct {
	Bytes int `json:"bytes" doc:"longest line; a longer one is not read" unit:"bytes" min:"1024" max:"1048576" reload:"hot"`
	Depth int `json:"depth" doc:"how deep commands may be nested in strings, substitutions and blocks" min:"4" max:"64" reload:"hot"`
	Calls int `json:"calls" doc:"simple commands that are traced" min:"16" max:"65536" reload:"hot"`
	Work  int `json:"work" doc:"bytes that evaluation may produce in all" unit:"bytes" min:"4096" max:"67108864" reload:"hot"`
}

// DefaultLimits allow what people write and stop bombs within a few milliseconds.
func DefaultLimits() Limits {
	return Limits{Bytes: 64 << 10, Depth: 24, Calls: 2000, Work: 512 << 10}
}
