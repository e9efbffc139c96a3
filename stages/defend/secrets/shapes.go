package secrets

// shape is one kind of secret. Most are a prefix and a run of characters; the others
// have a find function.
type shape struct {
	id   string
	name string // for people: "the text holds " + name
	// words are looked for by the automaton. For a plain shape each is a prefix that must
	// stand in this letter case.
	words []string
	body  class
	min   int
	max   int // of the body; 0 = maxBody
	// sure says whether a body is certainly a secret (a checksum fits); nil = always.
	sure func(body []byte) bool
	// need must hold, or it is no secret; nil = always.
	need func(body []byte) bool
	// find returns the secret near the word that was found at p.text[at:end].
	find func(p *probe, at, end int) (Match, bool)
}

const (
	maxBody = 4096
	// defaultEntropy is the least of a body, in bits a byte times 1024:
	defaultEntropy = 2560 // 2.5 bits: 20 random hexadecimal digits have more
)

// shapes are the known kinds of secrets: their makers' documented formats.
var shapes = []shape{
	{id: "aws_access_key_id", name: "an AWS access key id", words: []string{"AKIA", "ASIA", "ABIA", "ACCA"}, body: upperNum, min: 16, max: 16},
	{id: "aws_secret_access_key", name: "an AWS secret access key", words: []string{"aws_secret_access_key", "secretaccesskey", "aws_secret_key"}, find: findAWSSecret},
	{id: "google_api_key", name: "a Google API key", words: []string{"AIza"}, body: urlSafe, min: 35, max: 35},
	{id: "google_oauth_secret", name: "a Google OAuth client secret", words: []string{"GOCSPX-"}, body: urlSafe, min: 28, max: 28},
	{id: "google_oauth_token", name: "a Google OAuth token", words: []string{"ya29."}, body: urlSafe, min: 20},
	{id: "azure_storage_key", name: "an Azure storage key", words: []string{"AccountKey=", "SharedAccessKey="}, body: base64C, min: 42, max: 88},
	{id: "azure_client_secret", name: "an Azure client secret", words: []string{"7Q~", "8Q~"}, find: findAzureSecret},
	{id: "azure_sas", name: "an Azure SAS signature", words: []string{"&sig=", "?sig="}, find: findSAS},
	{id: "github_token", name: "a GitHub token", words: []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_"}, body: alnum, min: 36, max: 255, sure: crcFits},
	{id: "github_fine_grained_token", name: "a GitHub token", words: []string{"github_pat_"}, body: word, min: 36, max: 255},
	{id: "gitlab_token", name: "a GitLab token", words: []string{"glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glimt-", "glagent-", "glsoat-", "GR1348941"}, body: dotted, min: 20, max: 320},
	{id: "slack_token", name: "a Slack token", words: []string{"xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxc-", "xoxd-", "xoxe.", "xoxe-", "xapp-"}, body: urlSafe | dotC, min: 20, max: 400},
	{id: "slack_webhook", name: "a Slack webhook", words: []string{"hooks.slack.com/services/", "hooks.slack.com/workflows/"}, body: base64C, min: 40, max: 100},
	{id: "stripe_key", name: "a Stripe key", words: []string{"sk_live_", "rk_live_", "sk_test_", "rk_test_", "whsec_"}, body: alnum, min: 20, max: 255},
	{id: "openai_key", name: "an OpenAI key", words: []string{"sk-proj-", "sk-svcacct-", "sk-admin-", "sk-None-"}, body: urlSafe, min: 40, max: 255},
	{id: "openai_key", name: "an OpenAI key", words: []string{"sk-"}, body: alnum, min: 32, max: 64, need: mixed},
	{id: "openrouter_key", name: "an OpenRouter key", words: []string{"sk-or-v1-"}, body: hexLow, min: 64, max: 64},
	{id: "anthropic_key", name: "an Anthropic key", words: []string{"sk-ant-"}, body: urlSafe, min: 32, max: 255},
	{id: "huggingface_token", name: "a Hugging Face token", words: []string{"hf_", "api_org_"}, body: alnum, min: 34, max: 40},
	{id: "npm_token", name: "an npm token", words: []string{"npm_"}, body: alnum, min: 36, max: 36, sure: crcFits},
	{id: "pypi_token", name: "a PyPI token", words: []string{"pypi-AgE"}, body: urlSafe, min: 50},
	{id: "twilio_key", name: "a Twilio key", words: []string{"SK"}, body: hexLow, min: 32, max: 32},
	{id: "sendgrid_key", name: "a SendGrid key", words: []string{"SG."}, find: findSendGrid},
	{id: "mailgun_key", name: "a Mailgun key", words: []string{"key-"}, body: hexLow, min: 32, max: 32},
	{id: "mailchimp_key", name: "a Mailchimp key", words: []string{"-us"}, find: findMailchimp},
	{id: "telegram_bot_token", name: "a Telegram bot token", words: []string{":AA"}, find: findTelegram},
	{id: "discord_bot_token", name: "a Discord bot token", words: []string{"MT", "MD", "MJ", "MZ", "ND", "NJ", "NT", "NZ", "OD", "OT"}, find: findDiscord},
	{id: "discord_webhook", name: "a Discord webhook", words: []string{"/api/webhooks/"}, find: findDiscordHook},
	{id: "jwt", name: "a JSON web token", words: []string{"eyJ"}, find: findJWT},
	{id: "private_key", name: "a private key", words: []string{"-----BEGIN"}, find: findPEM},
	{id: "putty_key", name: "a private key", words: []string{"PuTTY-User-Key-File-"}, find: findPuTTY},
	{id: "age_key", name: "an age key", words: []string{"AGE-SECRET-KEY-1"}, body: upperNum, min: 58, max: 58, need: ageBody},
	{id: "url_password", name: "a password in an address", words: []string{"://"}, find: findURL},
	{id: "kubernetes_key", name: "a Kubernetes client key", words: []string{"client-key-data:"}, find: findKubeKey},
	{id: "digitalocean_token", name: "a DigitalOcean token", words: []string{"dop_v1_", "doo_v1_", "dor_v1_"}, body: hexLow, min: 64, max: 64},
	{id: "shopify_token", name: "a Shopify token", words: []string{"shpat_", "shpss_", "shpca_", "shppa_", "shptka_"}, body: alnum, min: 32, max: 40},
	{id: "square_token", name: "a Square token", words: []string{"sq0atp-", "sq0csp-", "sq0idp-"}, body: urlSafe, min: 22, max: 60},
	{id: "braintree_token", name: "a PayPal token", words: []string{"access_token$production$", "access_token$sandbox$"}, find: findBraintree},
	{id: "paypal_secret", name: "a PayPal secret", words: []string{"paypal_client_secret", "paypal_secret"}, find: findNamed(40, 100)},
	{id: "cloudflare_token", name: "a Cloudflare token", words: []string{"cloudflare_api_token", "cloudflare_api_key", "cf_api_token", "cf_api_key"}, find: findNamed(30, 60)},
	{id: "cloudflare_origin_key", name: "a Cloudflare key", words: []string{"v1.0-"}, body: hexLow | dashC, min: 160, max: 180},
	{id: "vault_token", name: "a Vault token", words: []string{"hvs.", "hvb.", "hvr."}, body: urlSafe, min: 24, max: 300},
	{id: "terraform_token", name: "a Terraform token", words: []string{".atlasv1."}, find: findTerraform},
	{id: "docker_token", name: "a Docker token", words: []string{"dckr_pat_", "dckr_oat_"}, body: urlSafe, min: 20, max: 64},
	{id: "linear_key", name: "a Linear key", words: []string{"lin_api_", "lin_oauth_"}, body: alnum, min: 32, max: 64},
	{id: "notion_token", name: "a Notion token", words: []string{"ntn_", "secret_"}, body: alnum, min: 40, max: 50, need: mixed},
	{id: "postman_key", name: "a Postman key", words: []string{"PMAK-"}, body: hexLow | dashC, min: 59, max: 59},
	{id: "grafana_token", name: "a Grafana token", words: []string{"glsa_", "glc_"}, body: word, min: 40, max: 255},
	{id: "databricks_token", name: "a Databricks token", words: []string{"dapi"}, body: hexLow, min: 32, max: 34},
	{id: "planetscale_token", name: "a PlanetScale token", words: []string{"pscale_tkn_", "pscale_pw_", "pscale_oauth_"}, body: dotted, min: 32, max: 64},
	{id: "doppler_token", name: "a Doppler token", words: []string{"dp.pt.", "dp.st.", "dp.ct.", "dp.sa."}, body: alnum | dotC | underC, min: 40, max: 80},
	{id: "newrelic_key", name: "a New Relic key", words: []string{"NRAK-"}, body: upperNum, min: 27, max: 27},
	{id: "sentry_token", name: "a Sentry token", words: []string{"sntrys_", "sntryu_"}, body: base64C | underC, min: 60, max: 400},
	{id: "atlassian_token", name: "an Atlassian token", words: []string{"ATATT3", "ATCTT3"}, body: urlSafe, min: 60, max: 400},
	{id: "heroku_key", name: "a Heroku key", words: []string{"HRKU-"}, body: urlSafe, min: 36, max: 80},
	{id: "rubygems_key", name: "a RubyGems key", words: []string{"rubygems_"}, body: hexLow, min: 48, max: 48},
	{id: "crates_token", name: "a crates.io token", words: []string{"cio"}, body: alnum, min: 32, max: 32, need: mixed},
	{id: "tailscale_key", name: "a Tailscale key", words: []string{"tskey-"}, body: urlSafe, min: 20, max: 100},
	{id: "groq_key", name: "a Groq key", words: []string{"gsk_"}, body: alnum, min: 48, max: 60},
	{id: "xai_key", name: "an xAI key", words: []string{"xai-"}, body: alnum, min: 70, max: 90},
	{id: "replicate_token", name: "a Replicate token", words: []string{"r8_"}, body: alnum, min: 37, max: 40},
	{id: "perplexity_key", name: "a Perplexity key", words: []string{"pplx-"}, body: alnum, min: 40, max: 64},
	{id: "supabase_token", name: "a Supabase token", words: []string{"sbp_"}, body: hexLow, min: 40, max: 40},
	{id: "figma_token", name: "a Figma token", words: []string{"figd_"}, body: urlSafe, min: 40, max: 64},
	{id: "authorization", name: "an authorization header", words: []string{"bearer ", "authorization: basic "}, find: findBearer},
	{id: "assignment", name: "what looks like a secret's value", words: []string{"password", "passwd", "passphrase", "secret", "token", "api_key", "apikey", "api-key", "access_key", "access-key", "accesskey", "auth_key", "authkey", "credential", "private_key", "privatekey", "signing_key", "encryption_key"}, find: findAssignment},
}

// mixed holds for what a generator makes and a person seldom does: letters and two
// digits, or one digit among letters of both cases.
func mixed(body []byte) bool {
	digits, lowers, uppers := 0, 0, 0
	for _, c := range body {
		switch k := classes[c]; {
		case k&digitC != 0:
			digits++
		case k&lowerC != 0:
			lowers++
		case k&upperC != 0:
			uppers++
		}
	}
	return lowers+uppers >= 2 && (digits >= 2 || digits == 1 && lowers > 2 && uppers > 2)
}

func ageBody(body []byte) bool {
	var key [16 + 58]byte
	return bech32Fits(append(append(key[:0], "AGE-SECRET-KEY-1"...), body...))
}
