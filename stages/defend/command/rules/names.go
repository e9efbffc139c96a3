package rules

import (
	"strings"

	"sluice/stages/defend/command/code"
	"sluice/stages/defend/command/paths"
	"sluice/stages/defend/command/shell"
)

// group expands the names of groups of programs.
func group(name string) []string {
	if list, ok := groups[name]; ok {
		return strings.Fields(list)
	}
	return []string{name}
}

var groups = map[string]string{
	"SHELL":   "sh bash dash zsh ksh mksh ash csh tcsh fish rbash yash pdksh posh hush source",
	"SCRIPT":  "code groovysh jshell crystal ghci pry python pypy perl ruby node nodejs php lua luajit awk gawk mawk nawk tclsh expect osascript swift julia Rscript R groovy scala elixir erl guile racket sbcl emacs ghc octave pwsh gdb vim vi nvim rvim ex view rview vimdiff jjs jrunscript rpm deno bun ipython irb jruby bpftrace",
	"NETCAT":  "nc ncat netcat nc.openbsd nc.traditional socat telnet cryptcat pwncat sbd",
	"UPLOAD":  "curl wget http https xh nc ncat netcat socat telnet scp sftp ftp tftp rsync ssh aws gsutil gcloud az rclone s3cmd mc dig nslookup host ping mail mailx sendmail mutt croc wormhole ftpput lftp aria2c openssl whois finger logger nc.openbsd nc.traditional restic",
	"FETCH":   "curl wget fetch aria2c axel lwp-download lwp-request GET http nscurl lynx",
	"READ":    "cat tac head tail less more nl od xxd hexdump strings base64 base32 tar zip gzip 7z dd cut sort uniq rev awk gawk mawk sed grep egrep fgrep rg ag vi vim nano emacs ed view bat batcat tee openssl gpg unzip bzip2 xz sqlite3 cpio ar diff cmp comm paste fold fmt join expand split csplit iconv jq yq dd pr look file2 ul basenc column zgrep zcat unshadow john hashcat",
	"COPY":    "cp mv scp rsync ln install gcp ditto",
	"WRITE":   "tee cp mv install ln sed dd touch vi vim nano ed emacs rsync scp wget curl cat printf truncate unzip perl ditto patch awk gawk python",
	"DELETE":  "rm unlink shred srm wipe truncate rmdir",
	"SQL":     "mysql mariadb psql sqlite3 sqlite sqlcmd mysqlsh cockroach clickhouse-client clickhouse duckdb isql usql pgcli mycli mssql-cli sqlplus bq snowsql cqlsh",
	"MONGO":   "mongo mongosh mongos",
	"KUBE":    "kubectl oc k3s microk8s",
	"PKG":     "pip npm gem cargo go yarn pnpm easy_install uv pipx bundle luarocks cpan cpanm",
	"ADDUSER": "useradd adduser usermod pw sysadminctl dscl newusers",
	"SERVICE": "systemctl service launchctl rc-service chkconfig update-rc.d sysrc initctl rc-update sv",
}

var classNames = names(map[string]paths.Class{"root": paths.Root, "home": paths.Home, "system": paths.System, "temp": paths.Temp, "secret": paths.Secret, "account": paths.Account, "history": paths.History, "log": paths.Log, "startup": paths.Startup, "keygrant": paths.KeyGrant, "privilege": paths.Privilege, "guard": paths.Guard, "trust": paths.Trust, "device": paths.Device, "foe": paths.Foe, "maindisk": paths.MainDisk, "kernel": paths.Kernel, "null": paths.Null, "socket": paths.Socket, "url": paths.URL, "metadata": paths.Metadata, "dropsite": paths.DropSite, "engine": paths.Engine, "hook": paths.Hook, "sluice": paths.Sluice, "relative": paths.Relative, "wild": paths.Wild, "mail": paths.Mail, "web": paths.Web, "everything": paths.Everything, "hidden": paths.Hidden, "personal": paths.Personal, "host": paths.Host, "memory": paths.Memory, "journal": paths.Journal})

var taintNames = names(map[string]shell.Taint{"net": shell.Net, "secret": shell.Secret, "file": shell.File, "env": shell.Env, "recon": shell.Recon, "decoded": shell.Decoded, "unknown": shell.Unknown, "shell": shell.FromShell, "random": shell.Random, "personal": shell.Personal, "typed": shell.Typed, "encoded": shell.Encoded, "variable": shell.Variable, "token": shell.Token, "system": shell.System})

var viaNames = names(map[string]shell.Via{"sudo": shell.ViaSudo, "remote": shell.ViaRemote, "box": shell.ViaBox, "find": shell.ViaFind, "xargs": shell.ViaXargs, "code": shell.ViaCode, "wrapper": shell.ViaWrapper, "string": shell.ViaString, "sched": shell.ViaSched, "back": shell.ViaBack, "subst": shell.ViaSubst, "hidden": shell.ViaHidden, "func": shell.ViaFunc, "input": shell.ViaInput, "stored": shell.ViaStored, "loop": shell.ViaLoop, "escape": shell.ViaEscape, "space": shell.ViaSpace})

var factNames = names(map[string]code.Facts{"sock": code.Sock, "spawn": code.Spawn, "shell": code.Shell, "dup": code.Dup, "pty": code.Pty, "fetch": code.Fetch, "eval": code.Eval, "decode": code.Decode, "setuid": code.Setuid, "delete": code.Delete, "environ": code.Environ, "send": code.Send, "write": code.WriteF, "listen": code.Listen, "inject": code.Inject, "keylog": code.Keylog, "prompt": code.Prompt, "bomb": code.Bomb, "serve": code.Serve, "archive": code.Archive, "read": code.ReadF, "privileged": code.Privileged, "load": code.Load})

// names widens a table of sets to one type.
func names[T ~uint16 | ~uint32 | ~uint64](in map[string]T) map[string]uint64 {
	out := make(map[string]uint64, len(in))
	for name, bit := range in {
		out[name] = uint64(bit)
	}
	return out
}
