package rest

import (
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
)

var (
	scriptTag = regexp.MustCompile(`(?is)<script(\s[^>]*)?>(.*?)</script>`)
	attribute = regexp.MustCompile(`\s([^\s=/>]+)(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s>]+))?`)
)

// inlineScripts returns the CSP sources of a page's inline scripts. RE2 reads the page
// in time linear in its size.
func inlineScripts(html string) []string {
	var sources []string
	for _, m := range scriptTag.FindAllStringSubmatch(html, -1) {
		if m[2] == "" || hasSrc(m[1]) {
			continue
		}
		sum := sha256.Sum256([]byte(m[2]))
		sources = append(sources, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	}
	return sources
}

func hasSrc(attributes string) bool {
	for _, m := range attribute.FindAllStringSubmatch(attributes, -1) {
		if strings.EqualFold(m[1], "src") {
			return true
		}
	}
	return false
}

// contentPolicy is the real gateway's policy for its Control UI, without the sources of
// what Sluice does not serve (portals, the terminal's WebAssembly).
func contentPolicy(scripts []string) string {
	return strings.Join([]string{
		"default-src 'self'",
		"base-uri 'none'",
		"object-src 'none'",
		"frame-ancestors 'none'",
		"frame-src 'self' http: https:",
		strings.Join(append([]string{"script-src 'self'"}, scripts...), " "),
		"style-src 'self' 'unsafe-inline' https://fonts.googleapis.com",
		"img-src 'self' data: blob: https:",
		"media-src 'self' data: blob:",
		"font-src 'self' https://fonts.gstatic.com",
		"worker-src 'self'",
		"connect-src 'self' ws: wss: data: https://api.openai.com https://tweakcn.com",
	}, "; ")
}
