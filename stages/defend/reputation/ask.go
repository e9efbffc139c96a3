package reputation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxAnswerBytes bounds an answer; a file's report has some hundred KiB.
const maxAnswerBytes = 8 << 20

// lookup answers from memory, by a question under way, or by a new one.
func (d *Defender) lookup(ctx context.Context, t thing, k key, path string) verdict {
	if v, ok := d.cache.get(k, d.deps.Now()); ok {
		d.Stats.Cached.Add(1)
		return v
	}
	fl, first := d.flights.join(k)
	switch {
	case fl == nil:
		d.Stats.Limited.Add(1)
		return verdict{unavailable: true}
	case !first:
		d.Stats.Shared.Add(1)
	case !d.mayAsk():
		d.Stats.Limited.Add(1)
		d.flights.leave(k, fl, verdict{unavailable: true})
	default:
		go func() { d.flights.leave(k, fl, d.ask(t, k, path)) }() // close waits for it
	}
	select {
	case <-fl.done:
		return fl.verdict
	case <-ctx.Done():
		return verdict{unavailable: true}
	}
}

// mayAsk takes the breaker's and the rate's leave, in this order: a closed door costs no
// token.
func (d *Defender) mayAsk() bool {
	now := d.deps.Now()
	if !d.breaker.allow(now) {
		return false
	}
	if !d.limit.AllowN(now, 1) {
		d.breaker.cancel()
		return false
	}
	return true
}

// ask sends one question and remembers a verdict.
func (d *Defender) ask(t thing, k key, path string) verdict {
	ctx, cancel := context.WithTimeout(d.ctx, time.Duration(d.cfg.TimeoutMs)*time.Millisecond)
	defer cancel()
	begin := time.Now()
	d.Stats.Asked.Add(1)
	v, ttl, err := d.send(ctx, t, path)
	d.Stats.Latency.Observe(int64(time.Since(begin)))
	now := d.deps.Now()
	if err != nil {
		if d.ctx.Err() == nil { // Close is no failure of theirs
			d.Stats.Failed.Add(1)
			var pause time.Duration
			if e, ok := errors.AsType[*statusError](err); ok {
				pause = e.pause
			}
			if d.breaker.failed(now, pause, err.Error()) {
				d.deps.Log.Warn("reputation: VirusTotal is not asked for a while", "err", err)
			}
		} else {
			d.breaker.cancel()
		}
		v.unavailable = true
		return v
	}
	d.breaker.succeeded()
	d.cache.put(k, v, now.Add(ttl))
	return v
}

// statusError is an answer that is none.
type statusError struct {
	status int
	pause  time.Duration // asked for, or sensible; 0 = none
}

func (e *statusError) Error() string {
	switch e.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Sprintf("status %d: the key (defend.reputation.apiKey) is refused", e.status)
	case http.StatusNoContent, http.StatusTooManyRequests:
		return fmt.Sprintf("status %d: the key's quota is used up", e.status)
	}
	return fmt.Sprintf("status %d", e.status)
}

// How long to wait after answers that will not change soon, and at most.
const (
	quotaPause   = time.Minute
	refusedPause = 10 * time.Minute
	maxPause     = time.Hour
)

func (d *Defender) send(ctx context.Context, t thing, path string) (verdict, time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(d.cfg.BaseURL, "/")+path, nil)
	if err != nil {
		return verdict{}, 0, errors.New("the address of the question cannot be made")
	}
	req.Header.Set("x-apikey", d.cfg.APIKey)
	req.Header.Set("Accept", "application/json")
	res, err := d.client.Do(req)
	if err != nil {
		return verdict{}, 0, withoutAddress(err)
	}
	defer res.Body.Close()
	body := io.LimitReader(res.Body, maxAnswerBytes)
	unknown := time.Duration(d.cfg.UnknownTTLMs) * time.Millisecond
	switch res.StatusCode {
	case http.StatusOK:
		stats, err := readStats(body)
		if err != nil {
			return verdict{}, 0, err
		}
		v, known := d.weigh(t, stats)
		if !known {
			return v, unknown, nil
		}
		return v, time.Duration(d.cfg.CacheTTLMs) * time.Millisecond, nil
	case http.StatusNotFound:
		_, _ = io.Copy(io.Discard, io.LimitReader(body, 64<<10)) // the connection is used again
		risk := d.cfg.UnknownURLRisk
		if t == aFile {
			risk = d.cfg.UnknownFileRisk
		}
		return verdict{risk: risk, tag: t.tag("unknown"), reason: "VirusTotal does not know " + t.String()}, unknown, nil
	}
	v := verdict{risk: d.cfg.ErrorRisk, tag: t.tag("error"), reason: "VirusTotal answered with an error"}
	return v, 0, &statusError{res.StatusCode, pauseAfter(res)}
}

func pauseAfter(res *http.Response) time.Duration {
	var pause time.Duration
	switch res.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		pause = refusedPause
	case http.StatusNoContent, http.StatusTooManyRequests:
		pause = quotaPause
		if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
			pause = min(time.Duration(min(s, 3600))*time.Second, maxPause)
		}
	}
	return pause
}

// withoutAddress keeps the looked-up address, which may be somebody's secret, out of
// logs: net/http's errors repeat it.
func withoutAddress(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
		if errors.Is(err, context.DeadlineExceeded) {
			return errors.New("no answer in time (defend.reputation.timeoutMs)")
		}
	}
}

// stats are VirusTotal's counts of engines (object "last_analysis_stats").
type stats struct {
	Malicious  int `json:"malicious"`
	Suspicious int `json:"suspicious"`
	Harmless   int `json:"harmless"`
	Undetected int `json:"undetected"`
}

// readStats reads an answer; one without counts is no answer.
func readStats(r io.Reader) (*stats, error) {
	var answer struct {
		Data struct {
			Attributes struct {
				Stats *stats `json:"last_analysis_stats"`
			} `json:"attributes"`
		} `json:"data"`
	}
	if err := json.UnmarshalRead(r, &answer, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); err != nil {
		return nil, errors.New("the answer is cut, too long or no JSON")
	}
	if answer.Data.Attributes.Stats == nil {
		return nil, errors.New("the answer has no last_analysis_stats")
	}
	return answer.Data.Attributes.Stats, nil
}

// weigh turns counts into a verdict (first-runtime.md 6.6); known is false when no engine
// has an opinion.
func (d *Defender) weigh(t thing, s *stats) (v verdict, known bool) {
	switch {
	case s.Malicious > 0:
		return verdict{risk: d.cfg.MaliciousRisk, tag: t.tag("malicious"), reason: "VirusTotal says that " + t.String() + " is malicious"}, true
	case s.Suspicious > 0:
		return verdict{risk: d.cfg.SuspiciousRisk, tag: t.tag("suspicious"), reason: "VirusTotal says that " + t.String() + " is suspicious"}, true
	case s.Harmless > 0:
		return verdict{tag: t.tag("clean"), reason: "VirusTotal says that " + t.String() + " is harmless"}, true
	}
	return verdict{risk: d.cfg.UndetectedRisk, tag: t.tag("unknown"), reason: "no engine at VirusTotal has an opinion on " + t.String()}, false
}
