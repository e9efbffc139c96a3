package secrets

import (
	"encoding/base64"
	"hash/crc32"
	"math/rand/v2"
	"strings"
)

// The samples are made when the tests run: no text in this repository has the shape of a
// secret. They are no one's.

const (
	setHex    = "0123456789abcdef"
	setAlnum  = base62
	setUpper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	setURL    = base62 + "-_"
	setBase64 = base62 + "+/"
)

// maker makes the same samples each time.
type maker struct{ *rand.Rand }

func newMaker(seed uint64) maker { return maker{rand.New(rand.NewPCG(seed, 1))} }

func (m maker) of(set string, n int) string {
	var b strings.Builder
	for range n {
		b.WriteByte(set[m.IntN(len(set))])
	}
	return b.String()
}

func crcToken(prefix, body string) string {
	crc := crc32.ChecksumIEEE([]byte(body))
	sum := make([]byte, 6)
	for i := 5; i >= 0; i-- {
		sum[i] = base62[crc%62]
		crc /= 62
	}
	return prefix + body + string(sum)
}

func (m maker) jwt() string {
	enc := base64.RawURLEncoding
	return enc.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + enc.EncodeToString([]byte(`{"sub":"u1","iat":1}`)) + "." + m.of(setURL, 43)
}

func (m maker) pem(label string) string {
	lines := []string{"-----BEGIN " + label + "-----"}
	for range 4 {
		lines = append(lines, m.of(setBase64, 64))
	}
	return strings.Join(append(lines, "-----END "+label+"-----"), "\n")
}

// ageKey makes a key with a fitting checksum.
func (m maker) ageKey() string {
	const human = "age-secret-key-"
	data := make([]byte, 52)
	for i := range data {
		data[i] = byte(m.IntN(32))
	}
	text := "AGE-SECRET-KEY-1"
	for _, v := range data {
		text += string(bech32Set[v])
	}
	// Of 32^6 endings one fits; solve it from the checksum of the six zeros.
	check := uint32(1)
	step := func(v uint32) {
		top := check >> 25
		check = check&0x1ffffff<<5 ^ v
		for i, g := range [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 != 0 {
				check ^= g
			}
		}
	}
	for i := range len(human) {
		step(uint32(human[i]) >> 5)
	}
	step(0)
	for i := range len(human) {
		step(uint32(human[i]) & 31)
	}
	for _, v := range data {
		step(uint32(v))
	}
	for range 6 {
		step(0)
	}
	check ^= 1
	for i := range 6 {
		text += string(bech32Set[check>>(5*(5-i))&31])
	}
	return text
}

type sample struct {
	id   string
	text string // with the secret in it
	// secret is what must be hidden; empty = all of text.
	secret string
}

// samples returns one or more of every kind.
func samples(seed uint64) []sample {
	m := newMaker(seed)
	var out []sample
	add := func(id, text string) { out = append(out, sample{id, text, text}) }
	in := func(id, before, secret, after string) { out = append(out, sample{id, before + secret + after, secret}) }
	for _, p := range []string{"AKIA", "ASIA"} {
		add("aws_access_key_id", p+m.of(setUpper, 16))
	}
	in("aws_secret_access_key", "aws_secret_access_key = ", m.of(setBase64, 40), "")
	in("aws_secret_access_key", `"SecretAccessKey": "`, m.of(setBase64, 40), `"`)
	add("google_api_key", "AIza"+m.of(setURL, 35))
	add("google_oauth_secret", "GOCSPX-"+m.of(setURL, 28))
	add("google_oauth_token", "ya29."+m.of(setURL, 120))
	add("azure_storage_key", "AccountKey="+m.of(setBase64, 86))
	add("azure_client_secret", m.of(setAlnum, 3)+"8Q~"+m.of(setAlnum, 34))
	in("azure_sas", "https://x.blob.core.windows.net/c?sv=2022&sig=", m.of(setAlnum, 43)+"%3D", "")
	for _, p := range []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_"} {
		add("github_token", crcToken(p, m.of(setAlnum, 30)))
	}
	add("github_fine_grained_token", "github_pat_"+m.of(setAlnum, 22)+"_"+m.of(setAlnum, 59))
	add("gitlab_token", "glpat-"+m.of(setURL, 20))
	add("slack_token", "xoxb-"+m.of("0123456789", 12)+"-"+m.of("0123456789", 12)+"-"+m.of(setAlnum, 24))
	in("slack_webhook", "https://", "hooks.slack.com/services/T"+m.of(setUpper, 8)+"/B"+m.of(setUpper, 8)+"/"+m.of(setAlnum, 24), "")
	add("stripe_key", "sk_live_"+m.of(setAlnum, 24))
	add("openai_key", "sk-proj-"+m.of(setURL, 120))
	add("openai_key", "sk-"+m.of(setAlnum, 20)+"T3BlbkFJ"+m.of(setAlnum, 20))
	add("openrouter_key", "sk-or-v1-"+m.of(setHex, 64))
	add("anthropic_key", "sk-ant-api03-"+m.of(setURL, 93)+"AA")
	add("huggingface_token", "hf_"+m.of(setAlnum, 34))
	add("npm_token", crcToken("npm_", m.of(setAlnum, 30)))
	add("pypi_token", "pypi-AgE"+m.of(setURL, 150))
	add("twilio_key", "SK"+m.of(setHex, 32))
	add("sendgrid_key", "SG."+m.of(setURL, 22)+"."+m.of(setURL, 43))
	add("mailgun_key", "key-"+m.of(setHex, 32))
	add("mailchimp_key", m.of(setHex, 32)+"-us12")
	add("telegram_bot_token", m.of("123456789", 10)+":AA"+m.of(setURL, 33))
	add("discord_bot_token", "MT"+m.of(setAlnum, 24)+"."+m.of(setURL, 6)+"."+m.of(setURL, 38))
	in("discord_webhook", "https://discord.com/api/webhooks/"+m.of("123456789", 18)+"/", m.of(setURL, 68), "")
	add("jwt", m.jwt())
	add("private_key", m.pem("OPENSSH PRIVATE KEY"))
	add("private_key", strings.ReplaceAll(m.pem("RSA PRIVATE KEY"), "\n", `\n`))
	add("putty_key", "PuTTY-User-Key-File-3: ssh-ed25519\nPublic-Lines: 1\n"+m.of(setBase64, 64)+"\nPrivate-Lines: 1\n"+m.of(setBase64, 48)+"\n")
	add("age_key", m.ageKey())
	in("url_password", "https://alice:", m.of(setAlnum, 12), "@example.com/x")
	in("url_password", "postgres://app:", m.of(setAlnum, 16), "@db:5432/app")
	in("kubernetes_key", "client-key-data: ", m.of(setBase64, 200), "")
	add("digitalocean_token", "dop_v1_"+m.of(setHex, 64))
	add("shopify_token", "shpat_"+m.of(setHex, 32))
	add("square_token", "sq0atp-"+m.of(setURL, 22))
	add("braintree_token", "access_token$production$"+m.of("abcdefghijklmnop0123456789", 16)+"$"+m.of(setHex, 32))
	in("paypal_secret", "PAYPAL_CLIENT_SECRET=", m.of(setURL, 80), "")
	in("cloudflare_token", "CLOUDFLARE_API_TOKEN=", m.of(setURL, 40), "")
	add("cloudflare_origin_key", "v1.0-"+m.of(setHex, 24)+"-"+m.of(setHex, 146))
	add("vault_token", "hvs."+m.of(setURL, 90))
	add("terraform_token", m.of(setAlnum, 14)+".atlasv1."+m.of(setURL, 67))
	add("docker_token", "dckr_pat_"+m.of(setURL, 27))
	add("linear_key", "lin_api_"+m.of(setAlnum, 40))
	add("notion_token", "ntn_"+m.of(setAlnum, 46))
	add("postman_key", "PMAK-"+m.of(setHex, 24)+"-"+m.of(setHex, 34))
	add("grafana_token", "glsa_"+m.of(setAlnum, 32)+"_"+m.of(setHex, 8))
	add("databricks_token", "dapi"+m.of(setHex, 32))
	add("planetscale_token", "pscale_tkn_"+m.of(setURL, 43))
	add("doppler_token", "dp.pt."+m.of(setAlnum, 43))
	add("newrelic_key", "NRAK-"+m.of(setUpper, 27))
	add("sentry_token", "sntryu_"+m.of(setHex, 64))
	add("atlassian_token", "ATATT3"+m.of(setURL, 180))
	add("heroku_key", "HRKU-"+m.of(setURL, 58))
	add("rubygems_key", "rubygems_"+m.of(setHex, 48))
	add("crates_token", "cio"+m.of(setAlnum, 32))
	add("tailscale_key", "tskey-auth-"+m.of(setAlnum, 12)+"-"+m.of(setAlnum, 30))
	add("groq_key", "gsk_"+m.of(setAlnum, 52))
	add("xai_key", "xai-"+m.of(setAlnum, 80))
	add("replicate_token", "r8_"+m.of(setAlnum, 37))
	add("perplexity_key", "pplx-"+m.of(setAlnum, 48))
	add("supabase_token", "sbp_"+m.of(setHex, 40))
	add("figma_token", "figd_"+m.of(setURL, 43))
	in("authorization", "Authorization: Bearer ", m.of(setAlnum, 40), "")
	in("assignment", `"api_key": "`, m.of(setAlnum, 32), `"`)
	in("assignment", "DB_PASSWORD=", m.of(setAlnum, 20), "\n")
	return out
}
