package reputation

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
)

// Config is how VirusTotal is asked. Without a key nothing is asked.
type Config struct {
	APIKey            string   `json:"apiKey" doc:"VirusTotal API key; empty asks nothing" secret:"true" reload:"restart"`
	BaseURL           string   `json:"baseUrl" doc:"address of the API; https, or http to this machine" reload:"restart"`
	TimeoutMs         int      `json:"timeoutMs" doc:"time for one answer, and for all of one action" unit:"ms" min:"500" max:"30000" reload:"restart"`
	Concurrency       int      `json:"concurrency" doc:"questions under way at the same time; more are not asked" min:"1" max:"64" reload:"restart"`
	RatePerMinute     int      `json:"ratePerMinute" doc:"questions a minute that the key allows; more are not asked" min:"1" max:"100000" reload:"restart"`
	CacheEntries      int      `json:"cacheEntries" doc:"answers that are remembered; the oldest makes room" min:"16" max:"1000000" reload:"restart"`
	CacheTTLMs        int      `json:"cacheTtlMs" doc:"time for which a verdict is remembered" unit:"ms" min:"1000" max:"604800000" reload:"restart"`
	UnknownTTLMs      int      `json:"unknownTtlMs" doc:"time for which it is remembered that VirusTotal does not know an address or a file" unit:"ms" min:"1000" max:"604800000" reload:"restart"`
	BreakerFailures   int      `json:"breakerFailures" doc:"failures in a row after which nothing is asked for a while" min:"1" max:"1000" reload:"restart"`
	BreakerCooldownMs int      `json:"breakerCooldownMs" doc:"that while; then one question is tried" unit:"ms" min:"100" max:"3600000" reload:"restart"`
	MaxURLs           int      `json:"maxUrls" doc:"addresses of one action that are looked up" min:"1" max:"64" reload:"restart"`
	MaxFiles          int      `json:"maxFiles" doc:"files of one action that are looked up" min:"1" max:"64" reload:"restart"`
	Roots             []string `json:"roots" doc:"folders below which files are read to be hashed, absolute; others are never opened" max:"64" reload:"restart"`
	MaxFileBytes      int64    `json:"maxFileBytes" doc:"largest file that is hashed" unit:"bytes" min:"1024" max:"1073741824" reload:"restart"`
	PrivateURLs       bool     `json:"privateUrls" doc:"also tell VirusTotal addresses of this machine and of private networks" reload:"restart"`
	ReviewUnavailable bool     `json:"reviewUnavailable" doc:"review an action whose addresses or files could not be looked up (fail closed); otherwise it only gets the tag vt_unavailable" reload:"restart"`
	MaliciousRisk     int      `json:"maliciousRisk" doc:"risk when an engine says malicious" min:"0" max:"100" reload:"restart"`
	SuspiciousRisk    int      `json:"suspiciousRisk" doc:"risk when one says suspicious and none malicious" min:"0" max:"100" reload:"restart"`
	UndetectedRisk    int      `json:"undetectedRisk" doc:"risk when none says harmless either" min:"0" max:"100" reload:"restart"`
	UnknownURLRisk    int      `json:"unknownUrlRisk" doc:"risk of an address that VirusTotal does not know" min:"0" max:"100" reload:"restart"`
	UnknownFileRisk   int      `json:"unknownFileRisk" doc:"risk of a file that VirusTotal does not know" min:"0" max:"100" reload:"restart"`
	MissingFileRisk   int      `json:"missingFileRisk" doc:"risk of a file that is not there" min:"0" max:"100" reload:"restart"`
	ErrorRisk         int      `json:"errorRisk" doc:"risk when VirusTotal answers with an error, or a file cannot be read" min:"0" max:"100" reload:"restart"`
}

// Default returns the first runtime's risks (first-runtime.md 6.6) and the limits of a
// free key.
func Default() Config {
	return Config{BaseURL: "https://www.virustotal.com/api/v3", TimeoutMs: 1400, Concurrency: 8, RatePerMinute: 4,
		CacheEntries: 10_000, CacheTTLMs: 6 * 3_600_000, UnknownTTLMs: 1_800_000, BreakerFailures: 5, BreakerCooldownMs: 30_000,
		MaxURLs: 8, MaxFiles: 4, Roots: []string{}, MaxFileBytes: 64 << 20,
		MaliciousRisk: 75, SuspiciousRisk: 45, UndetectedRisk: 10, UnknownURLRisk: 10, UnknownFileRisk: 8, MissingFileRisk: 10, ErrorRisk: 12}
}

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	for _, f := range []struct {
		key             string
		value, min, max int
	}{
		{"timeoutMs", c.TimeoutMs, 500, 30_000}, {"concurrency", c.Concurrency, 1, 64},
		{"ratePerMinute", c.RatePerMinute, 1, 100_000}, {"cacheEntries", c.CacheEntries, 16, 1_000_000},
		{"cacheTtlMs", c.CacheTTLMs, 1000, 604_800_000}, {"unknownTtlMs", c.UnknownTTLMs, 1000, 604_800_000},
		{"breakerFailures", c.BreakerFailures, 1, 1000}, {"breakerCooldownMs", c.BreakerCooldownMs, 100, 3_600_000},
		{"maxUrls", c.MaxURLs, 1, 64}, {"maxFiles", c.MaxFiles, 1, 64}, {"roots", len(c.Roots), 0, 64},
		{"maxFileBytes", int(c.MaxFileBytes), 1024, 1 << 30},
		{"maliciousRisk", c.MaliciousRisk, 0, 100}, {"suspiciousRisk", c.SuspiciousRisk, 0, 100},
		{"undetectedRisk", c.UndetectedRisk, 0, 100}, {"unknownUrlRisk", c.UnknownURLRisk, 0, 100},
		{"unknownFileRisk", c.UnknownFileRisk, 0, 100}, {"missingFileRisk", c.MissingFileRisk, 0, 100},
		{"errorRisk", c.ErrorRisk, 0, 100},
	} {
		if f.value < f.min || f.value > f.max {
			return fmt.Errorf("defend.reputation.%s: %d; %d to %d", f.key, f.value, f.min, f.max)
		}
	}
	for i, r := range c.Roots {
		if !filepath.IsAbs(r) {
			return fmt.Errorf("defend.reputation.roots[%d]: %q is not absolute", i, r)
		}
	}
	return checkBase(c.BaseURL)
}

// checkBase keeps the key from travelling in the clear.
func checkBase(base string) error {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("defend.reputation.baseUrl: %q is no address of an API", base)
	}
	ip := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return fmt.Errorf("defend.reputation.baseUrl: %q would send the key in the clear; https is needed except to this machine", base)
	}
	return nil
}
