package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
)

// SignatureHeader carries "t=<unix seconds>,v1=<hex>", where v1 is the HMAC-SHA256 of
// "<t>.<body>" under the target's secret.
const SignatureHeader = "X-Sluice-Signature"

// Sign returns the header's value for a body that is sent at the given time.
func Sign(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac(secret, t, body))
}

func mac(secret, t string, body []byte) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(t))
	h.Write([]byte{'.'})
	h.Write(body)
	return h.Sum(nil)
}

// The errors of Verify.
var (
	// ErrSignatureForm: the header is missing or not of the form t=…,v1=….
	ErrSignatureForm = errors.New("signature missing or malformed; send " + SignatureHeader + ": t=<unix seconds>,v1=<hex hmac-sha256 of \"t.body\">")
	// ErrSignatureTime: t is too far from now.
	ErrSignatureTime = errors.New("signature is too old or too new; check the clocks")
	// ErrSignature: v1 is not the body's.
	ErrSignature = errors.New("signature does not match the body")
)

// Verify checks a header's value at the given time. t may differ from now by window at
// most. A header may carry several v1, for a change of secret; one must match. The
// comparison takes constant time.
func Verify(secret, header string, body []byte, now time.Time, window time.Duration) error {
	t, sums := "", []string(nil)
	for part := range strings.SplitSeq(header, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case !ok:
			return ErrSignatureForm
		case key == "t" && t == "":
			t = value
		case key == "v1" && len(sums) < 4:
			sums = append(sums, value)
		}
	}
	seconds, err := strconv.ParseInt(t, 10, 64)
	if err != nil || len(sums) == 0 || secret == "" {
		return ErrSignatureForm
	}
	if d := now.Sub(time.Unix(seconds, 0)); d > window || d < -window {
		return ErrSignatureTime
	}
	want := mac(secret, t, body)
	for _, sum := range sums {
		if got, err := hex.DecodeString(sum); err == nil && hmac.Equal(got, want) {
			return nil
		}
	}
	return ErrSignature
}
