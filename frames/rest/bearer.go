package rest

import (
	"net/http"
	"strings"
)

// BearerToken returns the token of an Authorization: Bearer header; empty without one.
func BearerToken(r *http.Request) string {
	scheme, token, ok := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
