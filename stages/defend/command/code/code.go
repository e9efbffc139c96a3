// Package code looks at a piece of a program in Python, Perl, Ruby, PHP, JavaScript, Lua,
// AWK or the like and says what it would do that matters: open sockets, start processes,
// load code from the network. It scans; it does not parse, because it must stand any
// language and broken text.
package code

import (
	"strings"

	"sluice/stages/defend/command/phrase"
)

// Facts is what a piece of code would do. It is a set.
type Facts uint32

// The facts.
const (
	Sock       Facts = 1 << iota // opens a network connection
	Spawn                        // starts a process
	Shell                        // that process is an interactive shell
	Dup                          // makes a socket the input or output
	Pty                          // makes a terminal
	Fetch                        // reads from the network
	Eval                         // runs text as code
	Decode                       // decodes hidden text
	Setuid                       // changes its user
	Delete                       // deletes files
	Environ                      // reads the environment
	Send                         // sends data away
	WriteF                       // writes a file
	Listen                       // waits for connections
	Inject                       // touches other processes or memory
	Keylog                       // records keys or the screen
	Prompt                       // asks a person for a password
	Bomb                         // starts itself without end
	Serve                        // serves files over HTTP
	Archive                      // packs files
	ReadF                        // reads a file
	Privileged                   // asks for administrator rights
	Load                         // loads a library into the program
)

// needle is a text that establishes a fact.
type needle struct {
	text string
	fact Facts
}

// needles are in lower case; the code is folded before.
var needles = []needle{
	{"socket.socket", Sock}, {"import socket", Sock}, {"tcpsocket", Sock}, {"tcpserver", Sock | Listen}, {"fsockopen", Sock}, {"use socket", Sock}, {"io::socket", Sock},
	{"net.socket", Sock}, {"require(\"net\")", Sock}, {"require('net')", Sock}, {"net.connect", Sock}, {"net.createconnection", Sock}, {"/inet/tcp", Sock}, {"/inet/udp", Sock}, {"socket.tcp", Sock}, {"socket(s,", Sock}, {"socket(", Sock},
	{"net.dial", Sock}, {"[socket ", Sock}, {"[exec ", Spawn}, {"exec $", Spawn}, {"require('http", Fetch}, {"require(\"http", Fetch}, {"socket.connect(", Sock}, {"process.new(", Spawn}, {"process.run", Spawn}, {"callcommand", Spawn}, {"new socket", Sock}, {"stream_socket_client", Sock}, {"socket_create", Sock}, {"/dev/tcp/", Sock}, {"from socket", Sock}, {"ztcp", Sock}, {"connect(", Sock}, {"tcpclient", Sock}, {"pfsockopen", Sock}, {"udpsocket", Sock},
	{".listen(", Listen}, {"createserver", Listen}, {"listen(", Listen},
	{"os.system", Spawn}, {"os.popen", Spawn}, {"subprocess", Spawn}, {"os.exec", Spawn}, {"os.spawn", Spawn}, {"popen(", Spawn}, {"popen3", Spawn}, {"popen2", Spawn}, {"system(", Spawn}, {"system ", Spawn}, {"exec(", Spawn}, {"exec \"", Spawn}, {"exec '", Spawn}, {"exec {", Spawn}, {"exec /", Spawn}, {"exec sh", Spawn | Shell}, {"exec bash", Spawn | Shell}, {"& getline", Spawn}, {"exec'", Spawn}, {"exec\"", Spawn},
	{"shell_exec", Spawn}, {"passthru", Spawn}, {"proc_open", Spawn}, {"pcntl_exec", Spawn}, {"child_process", Spawn}, {"execsync", Spawn}, {"spawnsync", Spawn}, {"spawn(", Spawn}, {"os.execute", Spawn}, {"io.popen", Spawn}, {"kernel.exec", Spawn}, {"open3", Spawn}, {"%x(", Spawn}, {"%x{", Spawn}, {"%x[", Spawn}, {"qx(", Spawn}, {"qx{", Spawn}, {"qx/", Spawn}, {"processbuilder", Spawn}, {"runtime.getruntime", Spawn}, {"exec.command", Spawn}, {"do shell script", Spawn}, {"| getline", Spawn}, {"|getline", Spawn}, {"proc.spawn", Spawn}, {"std::process", Spawn}, {"deno.run", Spawn}, {"new-object system.diagnostics.process", Spawn}, {"getattr(os", Spawn}, {"commands.getoutput", Spawn}, {"platform.popen", Spawn}, {"expect_popen", Spawn}, {"process.start", Spawn}, {"call_program", Spawn}, {"open(stdin", Dup}, {"call-process", Spawn}, {"start-process", Spawn}, {"(term ", Spawn | Shell}, {"ansi-term", Spawn | Shell}, {"posix_spawn", Spawn},
	{"/bin/sh", Shell}, {"/bin/bash", Shell}, {"/bin/zsh", Shell}, {"/bin/dash", Shell}, {"/bin/ksh", Shell}, {"/bin/csh", Shell}, {"\"sh\"", Shell}, {"'sh'", Shell}, {"\"bash\"", Shell}, {"'bash'", Shell}, {"\"sh -i", Shell}, {"'sh -i", Shell}, {"bash -i", Shell}, {"sh -i", Shell}, {"cmd.exe", Shell}, {"powershell", Shell},
	{"dup2(", Dup}, {">&s\"", Dup}, {"stdin,\">&", Dup}, {"<&3", Dup}, {">&3", Dup}, {"pipe(", Dup}, {".to_i", 0}, {"fileno()", Dup}, {"fdopen", Dup}, {"stdio", Dup}, {"reopen", Dup},
	{"pty.spawn", Pty | Spawn}, {"import pty", Pty}, {"openpty", Pty},
	{"urllib", Fetch}, {"requests.get", Fetch}, {"requests.session", Fetch}, {"urlopen", Fetch}, {"urlretrieve", Fetch}, {"lwp::", Fetch}, {"lwp-", Fetch}, {"net/http", Fetch}, {"net::http", Fetch}, {"open-uri", Fetch}, {"open(\"http", Fetch}, {"open('http", Fetch}, {"file_get_contents(\"http", Fetch}, {"file_get_contents('http", Fetch}, {"curl_exec", Fetch}, {"http.get(", Fetch}, {"https.get(", Fetch}, {"fetch(", Fetch}, {"httpx.get", Fetch}, {"http.client", Fetch}, {"webclient", Fetch}, {"httplib", Fetch}, {"http::tiny", Fetch}, {"load('http", Fetch}, {"load(\"http", Fetch}, {"xmlhttprequest", Fetch}, {"http.request", Fetch},
	{"requests.post", Send}, {"urlopen(", 0}, {"data=", 0}, {"sendall(", Send}, {".post(", Send}, {"ftplib", Send}, {"smtplib", Send}, {"storbinary", Send}, {"post_form", Send}, {"curlopt_post", Send},
	{"eval(", Eval}, {"eval ", Eval}, {"exec(", Eval}, {"__import__", Eval}, {"compile(", Eval}, {"instance_eval", Eval}, {"loadstring", Eval}, {"load(", Eval}, {"assert(", Eval}, {"new function(", Eval}, {"marshal.loads", Eval}, {"pickle.loads", Eval}, {"vm.runin", Eval}, {"require(", 0}, {"exec(requests", Eval | Fetch},
	{"b64decode", Decode}, {"base64_decode", Decode}, {"decode_base64", Decode}, {"atob(", Decode}, {"'base64'", Decode}, {"\"base64\"", Decode}, {"fromhex", Decode}, {"unhexlify", Decode}, {"unpack(", Decode}, {"unpack ", Decode}, {"pack(", Decode}, {"pack ", Decode}, {"chr(", Decode}, {"fromcharcode", Decode}, {"rot13", Decode}, {"gzinflate", Decode}, {"zlib.decompress", Decode}, {"decode64", Decode}, {"[::-1]", Decode}, {"hex2bin", Decode}, {"codecs.decode", Decode}, {"frombase64string", Decode}, {".reverse", Decode}, {"reverse(", Decode}, {"reverse ", Decode}, {"strrev", Decode}, {"bytes.from", Decode}, {"bytes([", Decode}, {"bytearray", Decode},
	{"setuid(", Setuid}, {"setuid ", Setuid}, {"setgid(", Setuid}, {"posix_setuid", Setuid}, {"setresuid", Setuid}, {"process::sys.setuid", Setuid}, {"$<=0", Setuid}, {"$>=0", 0}, {"chmod(", 0}, {"cap_setuid", Setuid},
	{"rmtree", Delete}, {"removeall(", Delete}, {"requests.delete(", Delete}, {"axios.delete(", Delete}, {"os.remove", Delete}, {"os.unlink", Delete}, {"unlink(", Delete}, {"unlink ", Delete}, {"rm_rf", Delete}, {"rm_r", Delete}, {"removedirs", Delete}, {"rmsync", Delete}, {"unlinksync", Delete}, {"rmdirsync", Delete}, {"fs.rm(", Delete}, {"fs.unlink", Delete}, {"remove_tree", Delete}, {"os.rmdir", Delete}, {"deltree", Delete}, {"remove(", Delete}, {"rmdir", Delete}, {"os.truncate", Delete}, {"dir.delete", Delete}, {"file.delete", Delete}, {".unlink()", Delete},
	{"os.environ", Environ}, {"process.env", Environ}, {"%env", Environ}, {"getenv()", Environ}, {"env.to_h", Environ}, {"env.inspect", Environ}, {"$_env", Environ},
	{",'w'", WriteF}, {",\"w\"", WriteF}, {", 'w'", WriteF}, {", \"w\"", WriteF}, {"'wb'", WriteF}, {"\"wb\"", WriteF}, {"'a'", WriteF}, {"\"a\"", WriteF}, {"\"w+", WriteF}, {"'w+", WriteF}, {"\"wb+", WriteF}, {"writefile", WriteF}, {"file_put_contents", WriteF}, {"file.write", WriteF}, {"write_text", WriteF}, {"appendfile", WriteF}, {"mode='w'", WriteF}, {"createwritestream", WriteF},
	{"ctypes", Inject}, {"loadlibrary", Load}, {"cdll(", Load}, {"dl_load_file", Load}, {"dlopen(", Load}, {"(eval)", Eval}, {"cp(\"http", Fetch | WriteF}, {"curl http://", Fetch}, {"curl -s http://", Fetch}, {"wget http://", Fetch}, {"wget -q", Fetch}, {"appendfile", WriteF}, {"\">>", WriteF}, {"\"a\"", WriteF}, {"memfd_create", Inject}, {"ptrace", Inject}, {"/proc/self/mem", Inject}, {"mprotect", Inject}, {"syscall(", Inject}, {"syscall ", Inject}, {"dlopen", Inject},
	{"pynput", Keylog}, {"keylog", Keylog}, {"imagegrab", Keylog}, {"pyscreeze", Keylog}, {"xinput test", Keylog},
	{"hidden answer", Prompt}, {"display dialog", Prompt}, {"administrator privileges", Privileged}, {"do script", Spawn}, {"delete posix file", Delete},
	{"os.fork", Bomb}, {"fork while", Bomb}, {"while fork", Bomb}, {"fork()", 0}, {"while(1){fork", Bomb}, {"loop{fork", Bomb}, {"fork while fork", Bomb}, {"while 1: os.fork", Bomb},
	{"http.server", Serve}, {"simplehttpserver", Serve}, {"webrick", Serve}, {"httpserver", Serve},
	{"tarfile", Archive}, {"zipfile", Archive}, {"gzip", Archive}, {"bz2", Archive}, {"shutil.make_archive", Archive},
	{"open(", ReadF}, {"readfile", ReadF}, {"file.read", ReadF}, {"read_text", ReadF}, {"io.read", ReadF}, {"file_get_contents", ReadF}, {"getline <", ReadF}, {"file(", ReadF}, {"io.lines", ReadF}, {"readlines", ReadF}, {"open3", 0},
}

// phrases and facts are the needles, each text once.
var phrases, facts = compile()

func compile() (*phrase.Table, []Facts) {
	at := map[string]int{}
	var list []string
	var sets []Facts
	for _, n := range needles {
		i, ok := at[n.text]
		if !ok {
			i = len(list)
			at[n.text] = i
			list, sets = append(list, n.text), append(sets, 0)
		}
		sets[i] |= n.fact
	}
	return phrase.New(list), sets
}

// maxCode bounds what is scanned.
const maxCode = 64 << 10

// Inspect returns what text would do.
func Inspect(text string) Facts {
	if len(text) > maxCode {
		text = text[:maxCode]
	}
	var f Facts
	phrases.Find(text, func(i int) bool {
		f |= facts[i]
		return true
	})
	if strings.IndexByte(text, '`') >= 0 && strings.Count(text, "`") >= 2 {
		f |= Spawn
	}
	return f
}

// Literal is a string constant of the code.
type Literal struct {
	Text string
	// Runs says that it is an argument of something that starts a process.
	Runs bool
}

// maxLiterals bounds how many strings are looked at.
const maxLiterals = 64

// Literals returns the string constants of text in order, with escapes undone and
// constants that are joined by + or . put together. Lists as in ["rm", "-rf", "/"] that
// are given to something that starts a process are also returned joined by blanks.
func Literals(text string) []Literal {
	if len(text) > maxCode {
		text = text[:maxCode]
	}
	var out []Literal
	list, open, last := "", -1, 0
	for i := 0; i < len(text) && len(out) < maxLiterals; i++ {
		switch q := text[i]; q {
		case '"', '\'', '`':
			body, end := quoted(text, i)
			if end < 0 {
				return out
			}
			between := strings.TrimSpace(text[last:i])
			runs := q == '`' || spawns(text[:i])
			switch {
			case len(out) > 0 && (between == "+" || between == "." || between == ".." || between == "" && last > 0):
				out[len(out)-1].Text += body
			case open >= 0 && between == ",":
				list += " " + body
				out = append(out, Literal{Text: body})
			default:
				out = append(out, Literal{Text: body, Runs: runs})
				if strings.HasSuffix(between, "[") || strings.HasSuffix(between, "(") || strings.HasSuffix(between, "{") {
					open, list = i, body
				}
				if runs && open < 0 {
					open, list = i, body
				}
			}
			i, last = end, end+1
		case ']', ')', ';', '\n':
			if open >= 0 && strings.Contains(list, " ") && spawns(text[:open]) {
				out = append(out, Literal{Text: list, Runs: true})
			}
			open, list = -1, ""
		}
	}
	if open >= 0 && strings.Contains(list, " ") && spawns(text[:open]) {
		out = append(out, Literal{Text: list, Runs: true})
	}
	return out
}

// quoted returns the string constant that starts at text[i], and where it ends; -1 if it
// does not.
func quoted(text string, i int) (string, int) {
	q := text[i]
	if strings.HasPrefix(text[i:], strings.Repeat(string(q), 3)) && q != '`' {
		if end := strings.Index(text[i+3:], text[i:i+3]); end >= 0 {
			return text[i+3 : i+3+end], i + 5 + end
		}
	}
	var b strings.Builder
	for j := i + 1; j < len(text); j++ {
		switch text[j] {
		case q:
			return b.String(), j
		case '\\':
			if j+1 < len(text) {
				j++
				j += unescape(&b, text[j:])
			}
		default:
			b.WriteByte(text[j])
		}
	}
	return "", -1
}

// unescape writes the character that the escape sequence after the backslash stands for
// and returns how many bytes beyond the first it took.
func unescape(b *strings.Builder, s string) int {
	switch s[0] {
	case 'n':
		b.WriteByte('\n')
	case 't':
		b.WriteByte('\t')
	case 'x':
		if len(s) >= 3 {
			if hi, lo := nibble(s[1]), nibble(s[2]); hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				return 2
			}
		}
		b.WriteByte('x')
	case 'u':
		if len(s) >= 5 {
			r := 0
			for k := 1; k <= 4; k++ {
				d := nibble(s[k])
				if d < 0 {
					b.WriteByte('u')
					return 0
				}
				r = r<<4 | d
			}
			b.WriteRune(rune(r))
			return 4
		}
		b.WriteByte('u')
	case '0', '1', '2', '3', '4', '5', '6', '7':
		n, v := 0, 0
		for n < len(s) && n < 3 && s[n] >= '0' && s[n] <= '7' {
			v = v<<3 | int(s[n]-'0')
			n++
		}
		b.WriteByte(byte(v))
		return n - 1
	default:
		b.WriteByte(s[0])
	}
	return 0
}

func nibble(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

var starters = []string{"system", "popen", "exec", "execsync", "spawn", "spawnsync", "passthru", "shell_exec", "call", "run", "popen3", "capture3", "check_output", "check_call", "getoutput", "execute", "script", "execl", "execlp", "execv", "execvp", "execve", "posix_spawn", "proc_open", "command", "start", "getstatusoutput", "sh", "qx", "execfilesync", "execfile", "%x", "x", "expect_popen", "spawnl", "spawnlp", "popen2"}

// spawns reports whether before ends in the name of something that starts a process and
// an opening bracket, or in such a name alone as in Perl, Ruby and AppleScript.
func spawns(before string) bool {
	s := before[max(0, len(before)-96):]
	for range 3 {
		s = strings.TrimRight(s, " \t\n([{,=")
		if strings.HasSuffix(strings.ToLower(s), "args") || strings.HasSuffix(s, "shell") {
			s = strings.TrimRight(s[:len(s)-4], " \t")
		}
	}
	end := len(s)
	for end > 0 && isWord(s[end-1]) {
		end--
	}
	word := strings.ToLower(s[end:])
	for _, name := range starters {
		if word == name {
			return true
		}
	}
	return false
}

func isWord(c byte) bool {
	return c == '_' || c == '%' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// Bytes is about how much memory the tables take.
func Bytes() int { return phrases.Bytes() + 4*len(facts) + 24*len(needles) }
