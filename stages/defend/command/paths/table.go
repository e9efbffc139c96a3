package paths

import (
	"slices"
	"strings"
)

// The table: each line a meaning and the names that have it. A leading / anchors a name
// at the root; others match wherever their components stand in a row. A trailing $ means
// that nothing may follow; * in a component stands for any run of characters.
var table = []struct {
	class Class
	names string
}{
	{Secret, `/etc/shadow* /etc/gshadow* /etc/master.passwd /etc/security/opasswd /etc/spwd.db /etc/krb5.keytab
		.ssh/id_rsa$ .ssh/id_dsa$ .ssh/id_ecdsa$ .ssh/id_ed25519$ .ssh/*.pem .ssh/*_rsa$ .ssh/*key$ .ssh$ .ssh/*$|wild
		/etc/ssh/ssh_host_*_key$ .aws/credentials .aws$ .aws/sso .aws/cli/cache .azure$ .azure/accessTokens.json .azure/msal_token_cache* .azure/azureProfile.json
		.config/gcloud .config/gh/hosts.yml .config/hub .boto .docker/config.json .dockercfg .kube$ .kube/config kubelet.conf admin.conf$ /etc/kubernetes/pki /etc/kubernetes/admin.conf
		.gnupg .netrc _netrc .pgpass .my.cnf .npmrc .pypirc .git-credentials .gem/credentials .cargo/credentials* .vault-token .terraform.d/credentials* .oci .s3cfg .rclone.conf rclone/rclone.conf
		.password-store .mozilla/firefox .thunderbird .config/google-chrome .config/chromium .config/BraveSoftware logins.json key3.db key4.db cookies.sqlite Cookies.binarycookies
		Library/Keychains .local/share/keyrings .config/keepassxc .electrum .bitcoin wallet.dat .ethereum/keystore exodus.wallet Exodus .config/Exodus .monero Coinomi Ledger*Live nkbihfbeogaeaoehlefnkodbefgpgknn Bitcoin/wallets .config/solana
		secrets/kubernetes.io serviceaccount/token /run/secrets /var/run/secrets /var/lib/sss/db /etc/ssl/private /var/lib/samba/private /private/etc/master.passwd /var/db/dslocal /etc/sssd/sssd.conf /etc/pki/tls/private
		/tmp/krb5cc_* /etc/openvpn/*.key /etc/wireguard /var/lib/kubelet/pki /etc/ipsec.secrets /etc/ppp/chap-secrets /etc/NetworkManager/system-connections /etc/wpa_supplicant NTDS.dit ntds.dit SAM$ .config/op .1password .openclaw/credentials .claude/.credentials.json .codex/auth.json .config/anthropic .config/openai .gemini/oauth_creds.json .config/github-copilot .cache/huggingface/token .kaggle/kaggle.json .databrickscfg .snowsql/config .config/doctl .fly/config.yml .config/stripe .cloudflared .wrangler/config .m2/settings.xml .config/pypoetry/auth.toml .composer/auth.json .terraformrc claude_desktop_config.json Library/Messages Library/Safari/History.db .streamlit/secrets.toml`},
	{Secret, `Google/Chrome Login*Data Login*Data*Account* Chromium/Default Firefox/Profiles Local*State$ BraveSoftware/Brave-Browser`},
	{Account, `/etc/passwd /etc/hosts.equiv .rhosts .plan .ssh/known_hosts .ssh/config .aws/config wp-config.php config.php$ .htpasswd .sudo_as_admin_successful known_hosts
		/etc/exports /etc/fstab .subversion/auth .config/filezilla sites.xml sitemanager.xml group.com.apple.notes NoteStore.sqlite`},
	{History, `.bash_history .zsh_history .sh_history .ksh_history .history$ .python_history .mysql_history .psql_history .node_repl_history .lesshst .local/share/fish/fish_history .viminfo .ash_history .zhistory .rediscli_history .sqlite_history`},
	{Log, `/var/log /var/audit /private/var/log /var/adm /run/log/journal /var/run/utmp /run/utmp /Library/Logs /var/db/diagnostics .xsession-errors /Library/Application*Support/CrashReporter /var/lib/docker/containers/*/*-json.log`},
	{Startup, `/etc/crontab /etc/cron.d /etc/cron.daily /etc/cron.hourly /etc/cron.weekly /etc/cron.monthly /etc/anacrontab /var/spool/cron /var/cron /usr/lib/cron /etc/periodic /etc/cron.allow /etc/at.allow /var/spool/at
		/etc/systemd/system /usr/lib/systemd/system /lib/systemd/system /run/systemd/system /etc/systemd/user .config/systemd/user .local/share/systemd/user /etc/systemd/system-generators /usr/lib/systemd/user
		/etc/init.d /etc/rc.local /etc/rc.d /etc/rc.common /etc/init /etc/rc0.d /etc/rc1.d /etc/rc2.d /etc/rc3.d /etc/rc5.d /etc/inittab /usr/local/etc/rc.d /etc/rc.conf* /etc/local.d
		/etc/profile$ /etc/profile.d /etc/bash.bashrc /etc/bashrc /etc/zshrc /etc/zprofile /etc/zshenv /etc/zsh /etc/csh.cshrc /etc/environment /etc/shells$|x
		.bashrc$ .bash_profile$ .bash_login$ .bash_logout$ .profile$ .zshrc$ .zprofile$ .zshenv$ .zlogin$ .zlogout$ .kshrc$ .cshrc$ .tcshrc$ .login$ .shrc$ .config/fish/config.fish .xinitrc$ .xprofile$ .xsessionrc$ .inputrc$ .bash_aliases$ .pam_environment
		.config/autostart /etc/xdg/autostart .config/autostart-scripts /etc/X11/Xsession.d Library/LaunchAgents Library/LaunchDaemons Library/StartupItems /etc/emond.d /private/var/db/emondClients com.apple.loginitems loginwindow.plist com.apple.loginwindow* /Library/Security/SecurityAgentPlugins
		/etc/update-motd.d /etc/motd.d /etc/udev/rules.d /lib/udev/rules.d /usr/lib/udev/rules.d /etc/NetworkManager/dispatcher.d /etc/network/if-up.d /etc/dhcp/dhclient-exit-hooks.d /etc/apt/apt.conf.d /etc/yum/pluginconf.d /etc/modules-load.d /etc/binfmt.d /etc/logrotate.d /etc/acpi /etc/skel
		usercustomize.py sitecustomize.py .vimrc$ .emacs$ .tmux.conf$ .screenrc$ .gdbinit$ .ssh/rc /etc/ssh/sshrc .Rprofile`},
	{KeyGrant, `.ssh/authorized_keys* authorized_keys* /etc/ssh/sshd_config* /etc/ssh/authorized_keys .rhosts /etc/hosts.equiv .k5login sshd_config$`},
	{Privilege, `/etc/sudoers* /usr/local/etc/sudoers* /private/etc/sudoers* /etc/doas.conf /etc/pam.d /usr/lib/pam /lib/security /usr/lib/security /lib/x86_64-linux-gnu/security /etc/ld.so.preload /etc/ld.so.conf* /etc/security/limits.conf|x /etc/polkit-1 /usr/share/polkit-1 /etc/group$ /etc/passwd$ /etc/shadow$ /etc/master.passwd /etc/pwd.db /etc/subuid /etc/login.defs /etc/nsswitch.conf /etc/security/access.conf`},
	{Guard, `/etc/audit /etc/auditd.conf /etc/libaudit.conf /etc/audisp /etc/security/audit_* /etc/rsyslog* /etc/syslog* /usr/local/etc/syslog-ng* /etc/syslog-ng* /etc/systemd/journald.conf* /etc/selinux /etc/apparmor* /etc/ufw /etc/default/ufw /etc/firewalld /etc/iptables /etc/nftables.conf /etc/pf.conf /etc/sysconfig/iptables /etc/sysconfig/selinux /etc/fail2ban /etc/hosts.allow /etc/hosts.deny /etc/clamav /etc/ossec* /var/ossec /etc/falco /opt/CrowdStrike /etc/osquery /sys/fs/selinux/enforce /selinux/enforce /etc/newsyslog*`},
	{Trust, `/usr/local/share/ca-certificates /etc/ssl/certs /etc/pki/ca-trust /usr/share/pki /etc/ca-certificates /usr/local/share/certs /usr/share/ca-certificates /etc/pki/tls/certs`},
	{Device, `/dev/sd* /dev/hd* /dev/vd* /dev/xvd* /dev/nvme* /dev/mmcblk* /dev/disk* /dev/rdisk* /dev/mapper/* /dev/dm-* /dev/md* /dev/loop*|x /dev/fd0 /dev/block /dev/root /dev/vg*`},
	{MainDisk, `/dev/sda* /dev/hda* /dev/vda* /dev/xvda* /dev/nvme0* /dev/mmcblk0* /dev/disk0* /dev/disk1* /dev/rdisk0* /dev/rdisk1*`},
	{Kernel, `/proc/sysrq-trigger /proc/sys/kernel /proc/sys/vm /proc/sys/fs /dev/mem /dev/kmem /dev/port /dev/kmsg /proc/kcore /proc/kallsyms /boot /sys/kernel /sys/firmware /lib/modules /sys/fs/cgroup/*/release_agent release_agent uevent_helper core_pattern /System/Library /Library/Extensions /proc/sys/net`},
	{Null, `/dev/null$`},
	{Temp, `/tmp /var/tmp /dev/shm /private/tmp /usr/tmp /run/user`},
	{Engine, `docker.sock containerd.sock crio.sock podman.sock`},
	{Hook, `.git/hooks .husky .githooks .git/config$`},
	{Sluice, `.sluice /usr/local/bin/sluice /usr/bin/sluice /opt/sluice /etc/sluice /var/lib/sluice sluice.json sluice.jsonc sluice.yaml sluice.yml sluice.toml sluice.service .config/sluice .local/state/sluice .openclaw/openclaw.json .openclaw/exec-approvals.json .openclaw/identity openclaw.json exec-approvals.json`},
	{Mail, `/var/mail /var/spool/mail Library/Mail Maildir`},
	{Web, `/var/www /srv/www /usr/share/nginx /var/lib/tomcat* public_html htdocs wwwroot`},
}

var hosts = map[string]Class{
	"2852039166": Metadata, "0xa9fea9fe": Metadata, "[fd00:ec2::254]": Metadata, "instance-data": Metadata, "169.254.169.254": Metadata, "metadata.google.internal": Metadata, "169.254.170.2": Metadata, "100.100.100.200": Metadata, "metadata.azure.com": Metadata,
	"pastebin.com": DropSite, "paste.rs": DropSite, "paste.ee": DropSite, "hastebin.com": DropSite, "ix.io": DropSite, "sprunge.us": DropSite, "termbin.com": DropSite, "0x0.st": DropSite,
	"transfer.sh": DropSite, "file.io": DropSite, "temp.sh": DropSite, "gofile.io": DropSite, "anonfiles.com": DropSite, "catbox.moe": DropSite, "bashupload.com": DropSite, "oshi.at": DropSite,
	"webhook.site": DropSite, "*.webhook.site": DropSite, "requestbin.com": DropSite, "*.requestbin.net": DropSite, "*.pipedream.net": DropSite, "*.burpcollaborator.net": DropSite, "*.oast.fun": DropSite, "*.oast.pro": DropSite, "*.oast.live": DropSite, "*.oastify.com": DropSite, "*.interact.sh": DropSite,
	"*.ngrok.io": DropSite, "*.ngrok.app": DropSite, "*.ngrok-free.app": DropSite, "*.trycloudflare.com": DropSite, "*.serveo.net": DropSite, "*.loca.lt": DropSite, "*.duckdns.org": DropSite, "*.onion": DropSite, "*.dnslog.cn": DropSite, "*.ceye.io": DropSite, "*.requestrepo.com": DropSite, "rentry.co": DropSite, "ghostbin.com": DropSite, "dpaste.org": DropSite,
}

var systemTop = set(`bin boot dev etc lib lib32 lib64 opt proc root sbin srv sys usr var System Library Applications private`)
var personal = set(`Documents Desktop Downloads Pictures Music Videos Movies Library`)

// journals are the logs that record who did what; /var/log holds ordinary files as well.
var journals = set(`messages secure syslog auth.log kern.log wtmp btmp utmp lastlog faillog system.log audit.log security journal audit maillog mail.log cron cron.log daemon.log user.log ufw.log boot.log dmesg sudo.log install.log syslog.1 auth.log.1 wtmp.1 log system.journal firewall.log access.log access_log error.log fail2ban.log`)
var keyNames = set(`id_rsa id_dsa id_ecdsa id_ed25519 id_rsa.pem id_ecdsa_sk id_ed25519_sk id_ id_rs`)

func set(words string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}

// entry is one name of the table.
type entry struct {
	name   string // its components, parted by /
	class  Class
	count  uint8 // of components
	anchor bool  // at the root
	end    bool  // nothing follows
	wild   bool  // the name must have had a wildcard
}

// byFirst finds entries by their first component; those whose first component has a
// wildcard stand under looseKey. Both are made once from the constant table and never
// change.
var entries, byFirst = compile()

func compile() ([]entry, map[string][]uint16) {
	var list []entry
	for _, row := range table {
		for name := range strings.FieldsSeq(row.names) {
			ent := entry{class: row.class}
			name, flag, _ := strings.Cut(name, "|")
			if flag == "x" {
				continue
			}
			ent.wild = flag == "wild"
			name, ent.end = strings.CutSuffix(name, "$")
			ent.name, ent.anchor = strings.CutPrefix(name, "/")
			ent.count = uint8(strings.Count(ent.name, "/") + 1)
			list = append(list, ent)
		}
	}
	index := make(map[string][]uint16, len(list)/2)
	for i := range list {
		first, _, _ := strings.Cut(list[i].name, "/")
		if strings.Contains(first, "*") {
			first = looseKey
		}
		index[first] = append(index[first], uint16(i))
	}
	return slices.Clip(list), index
}

// looseKey collects entries that start with a wildcard; no component can equal it.
const looseKey = "/"

func (ent *entry) matches(comps []string, atRoot bool) bool {
	if ent.anchor && !atRoot || len(comps) < int(ent.count) || ent.end && len(comps) != int(ent.count) {
		return false
	}
	i := 0
	for want := range strings.SplitSeq(ent.name, "/") {
		if !Match(want, comps[i]) {
			return false
		}
		i++
	}
	return !ent.wild
}

// Match reports whether name fits pattern, in which * stands for any run of characters.
func Match(pattern, name string) bool {
	star := strings.IndexByte(pattern, '*')
	if star < 0 {
		return pattern == name
	}
	if !strings.HasPrefix(name, pattern[:star]) {
		return false
	}
	name, pattern = name[star:], pattern[star+1:]
	for {
		next := strings.IndexByte(pattern, '*')
		if next < 0 {
			return strings.HasSuffix(name, pattern)
		}
		i := strings.Index(name, pattern[:next])
		if i < 0 {
			return false
		}
		name, pattern = name[i+next:], pattern[next+1:]
	}
}

// byGlob judges a name with wildcards by which entries it could expand to.
func byGlob(comps []string, abs bool) Class {
	var c Class
	for at, comp := range comps {
		if !strings.ContainsAny(comp, "*?[") {
			for _, id := range byFirst[comp] {
				c |= entries[id].classAt(comps[at:], abs && at == 0)
			}
		} else if n, marks := strength(comp); n == 0 && marks < 3 {
			continue // * is aimed at nothing in particular
		} else {
			open := comp[0] == '*' || comp[0] == '?' || comp[0] == '['
			root := abs && at == 0
			if open && !root {
				continue // a name that is not anchored must begin as it is called
			}
			for i := range entries {
				ent := &entries[i]
				if open && !ent.anchor || !open && ent.name[0] != comp[0] && ent.name[0] != '*' {
					continue
				}
				c |= ent.classAt(comps[at:], root)
			}
			continue
		}
		for _, id := range byFirst[looseKey] {
			c |= entries[id].classAt(comps[at:], false)
		}
	}
	return c
}

func (ent *entry) classAt(comps []string, atRoot bool) Class {
	if ent.anchor && !atRoot || len(comps) < int(ent.count) || !ent.globs(comps) {
		return 0
	}
	return ent.class
}

// globs reports whether the pattern comps is aimed at ent: each component fits, and
// enough of it is literal that it is no accident.
func (ent *entry) globs(comps []string) bool {
	if ent.end && len(comps) != int(ent.count) {
		return false
	}
	literal, i := 0, -1
	for want := range strings.SplitSeq(ent.name, "/") {
		i++
		got := comps[i]
		if got != want && !ent.anchor && i == 0 && got != "" && strings.IndexByte("*?[", got[0]) >= 0 {
			return false
		}
		if Match(want, got) {
			literal += len(strings.ReplaceAll(want, "*", ""))
			if want == got && i == 0 && len(want) > 3 {
				literal++ // /home/*/.ssh
			}
			continue
		}
		if !strings.ContainsAny(got, "*?[") {
			return false
		}
		n, marks := strength(got)
		if n == 0 && marks == 0 || !Glob(got, strings.TrimRight(want, "*")) {
			return false
		}
		if n == 0 && (marks < 3 || ent.count < 2) {
			return false
		}
		literal += n + marks/3
	}
	if !ent.anchor {
		return literal >= 5
	}
	return literal >= 3
}

// strength counts the literal characters and the question marks of a pattern.
func strength(pattern string) (literal, marks int) {
	for i := range len(pattern) {
		switch pattern[i] {
		case '*', '[', ']', '!', '^':
		case '?':
			marks++
		default:
			literal++
		}
	}
	return literal, marks
}

// Glob reports whether name fits the shell pattern, with *, ? and [sets]. It takes time
// proportional to len(pattern) * len(name).
func Glob(pattern, name string) bool {
	p, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				star, mark = p, n
				p++
				continue
			}
			if width, ok := one(pattern[p:], name[n]); ok {
				p += width
				n++
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, n = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// one matches b against the first element of pattern and returns that element's width.
func one(pattern string, b byte) (int, bool) {
	switch pattern[0] {
	case '?':
		return 1, true
	case '[':
		end := strings.IndexByte(pattern[1:], ']')
		if end < 1 {
			return 1, b == '['
		}
		body := pattern[1 : end+1]
		not := body[0] == '!' || body[0] == '^'
		if not {
			body = body[1:]
		}
		in := false
		for i := 0; i < len(body); i++ {
			if i+2 < len(body) && body[i+1] == '-' {
				in = in || body[i] <= b && b <= body[i+2]
				i += 2
			} else if body[i] == b {
				in = true
			}
		}
		return end + 2, in != not
	}
	return 1, pattern[0] == b
}
