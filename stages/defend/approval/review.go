package approval

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"sluice/frames"
	"sluice/pipeline"
)

// Review is an action that the defend stage wants an operator to decide on.
type Review struct {
	// Kind is KindExec for a command that would run, KindPlugin for anything else.
	Kind string
	// Title says what kind of action it is: a method's name, "agent.turn".
	Title string
	// Content is the exact content that goes on when it is allowed. It is not copied: it
	// stays as it is until done is called. The approval is bound to its sum, and the sum is
	// compared again before it goes on.
	Content []byte
	// Text is what operators are shown of Content: all of it that means something. Empty
	// shows Content itself.
	Text string
	// Of a command (KindExec); Command empty is Text.
	Command string
	Argv    []string
	Cwd     string

	AgentID, SessionKey string
	// RunID is the turn that it would start; AbortSession knows it by that.
	RunID    string
	Decision *pipeline.Decision
	By       *frames.Peer
}

// The outcomes of a review.
const (
	OutcomeAllowed = "allowed"
	OutcomeDenied  = "denied"
	OutcomeExpired = "expired"
)

// Outcome is how a review ended.
type Outcome struct {
	// ID is the approval's; empty when there was none (it could not be shown, or the
	// broker is full).
	ID string
	// Result is allowed, denied or expired; By who decided, "" for nobody.
	Result, By string
	// Err refuses the action; nil exactly when Result is allowed.
	Err *frames.Error
}

// CodeReview is the details.code of a review's refusal.
const CodeReview = "DEFENDER_REVIEW"

// Refusal is the details of the error that refuses a reviewed action.
type Refusal struct {
	Code       string   `json:"code"`
	Decision   decision `json:"decision"`
	ApprovalID string   `json:"approvalId,omitzero"`
	Outcome    string   `json:"outcome"`
}

// decision is the verdict that asked for the review, as in the other errors of defend.
type decision struct {
	Action    string   `json:"action"`
	RiskScore int      `json:"riskScore"`
	Reasons   []string `json:"reasons"`
	Tags      []string `json:"tags"`
}

// pluginID is who asks, in approvals that the defender asks for.
const pluginID = "sluice.defend"

// Review asks the operators about r and returns its approval's id ("" when there is
// none). done is called exactly once, from any goroutine, perhaps before Review returns.
// Review does not wait, neither for operators nor for the disk.
func (b *Broker) Review(r Review, done func(Outcome)) (id string) {
	a := b.reviewAsk(&r)
	d, err := b.reviewDraft(a, &r)
	if err != nil {
		done(b.refused(&r, "", OutcomeDenied, "", err))
		return ""
	}
	e, rerr := b.reserve(a, d, time.Duration(b.cfg.Load().ReviewTimeoutMs)*time.Millisecond)
	if rerr != nil {
		done(Outcome{Result: OutcomeDenied, Err: asWire(rerr)})
		return ""
	}
	b.mu.Lock()
	e.runID = r.RunID
	e.patient = true // an operator who is not here now may come by the command line
	e.decided = func(v verdict) { done(b.outcome(e, &r, &v)) }
	closed := b.closed
	if !closed {
		b.wg.Add(1)
	} else {
		b.forget(e)
	}
	b.mu.Unlock()
	if closed {
		done(Outcome{Result: OutcomeExpired, Err: errClosed})
		return ""
	}
	go func() {
		defer b.wg.Done()
		if err := b.register(context.Background(), e, false); err != nil {
			done(Outcome{Result: OutcomeDenied, Err: asWire(err)})
		}
	}()
	return e.id
}

// abortTimeout bounds the wait for an approval that is just being decided.
const abortTimeout = 10 * time.Second

// AbortSession ends the reviews of a session that was aborted, reset or deleted, or of one
// of its runs: nobody wants their work any more, and its lane would wait for them. The
// key is canonical. It does not wait: it may be called on the goroutine that writes.
func (b *Broker) AbortSession(sessionKey, runID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	for _, e := range b.pending {
		if e.decided == nil || e.stream != sessionKey || runID != "" && e.runID != runID {
			continue
		}
		b.wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), abortTimeout)
			defer cancel()
			if b.take(ctx, e) != nil {
				return
			}
			defer b.release(e)
			if !b.ended(e) {
				b.finish(e, aborted)
			}
		})
	}
}

func asWire(err error) *frames.Error {
	if w, ok := err.(*frames.Error); ok {
		return w
	}
	return errUnavailable
}

// reviewAsk words r as a request for approval.
func (b *Broker) reviewAsk(r *Review) *Ask {
	shown := r.Text
	if shown == "" {
		shown = string(r.Content)
	}
	a := &Ask{Kind: r.Kind, By: r.By, AgentID: r.AgentID, SessionKey: r.SessionKey, PluginID: pluginID, ToolName: r.Title, Severity: "warning"}
	if r.Decision != nil && r.Decision.Risk >= 65 {
		a.Severity = "critical"
	}
	if r.Kind == KindExec {
		a.Command, a.Argv, a.Cwd = or(r.Command, shown), r.Argv, r.Cwd
		a.Warning = why(r.Decision)
		a.OneShot = true // what else is in Content is not bound by a grant
		return a
	}
	a.Kind, a.Decisions = KindPlugin, []string{AllowOnce, Deny}
	a.Title, _ = cutRunes("Review: "+b.show(r.Title).text, maxTitle)
	a.Description = b.describe(why(r.Decision), shown)
	a.Detail = shown
	return a
}

// describe puts the beginning of the text behind the reasons: clients without room for
// the detail, the real CLI among them, show the description alone.
func (b *Broker) describe(why, text string) string {
	why, _ = cutRunes(b.showProse(why).text, maxWhy)
	text = strings.TrimSpace(b.showProse(text).text)
	room := maxDescription - utf8.RuneCountInString(why) - 3
	if n := utf8.RuneCountInString(text); n > room {
		const note = "… (%d more characters: read all of them in the detail first)"
		room -= len(note) + 3
		text, _ = cutRunes(text, room)
		text += fmt.Sprintf(note, n-room)
	}
	return why + " — " + text
}

// maxWhy leaves half of a description to the text.
const maxWhy = maxDescription / 2

// reviewDraft makes the approval's forms. An operator who approves must have seen all.
func (b *Broker) reviewDraft(a *Ask, r *Review) (d *draft, err error) {
	if a.Kind == KindExec {
		d, err = b.exec(a)
	} else {
		s := b.showProse(a.Detail)
		if !s.whole || utf8.RuneCountInString(s.text) > maxDetail {
			return nil, fmt.Errorf("its text is too long to be shown to an operator whole (at most %d characters); send it in parts", maxDetail)
		}
		d, err = b.plugin(a)
	}
	if err != nil {
		return nil, err
	}
	d.sum = SumOf(r.Content)
	return d, nil
}

// why says what the defender found.
func why(d *pipeline.Decision) string {
	if d == nil {
		return "The defender asks for a review."
	}
	text := fmt.Sprintf("Risk %d of 100", d.Risk)
	if len(d.Reasons) > 0 {
		text += ": " + strings.Join(d.Reasons, "; ")
	}
	if len(d.Tags) > 0 {
		text += " [" + strings.Join(d.Tags, ", ") + "]"
	}
	return text
}

// outcome compares the content once more, and words the end of a review.
func (b *Broker) outcome(e *entry, r *Review, v *verdict) Outcome {
	switch v.status {
	case statusAllowed:
		if SumOf(r.Content) != e.sum {
			b.stats.Refused.Add(1)
			b.deps.Log.Error("a reviewed action changed while it waited; it is refused", "id", e.id)
			b.note(e, "refused", &verdict{reason: Changed, decision: v.decision, resolver: system})
			return b.refused(r, e.id, OutcomeDenied, v.by, fmt.Errorf("its content changed after it was shown"))
		}
		return Outcome{ID: e.id, Result: OutcomeAllowed, By: v.by}
	case statusDenied:
		return b.refused(r, e.id, OutcomeDenied, v.by, fmt.Errorf("an operator denied it"))
	case statusCancelled:
		if v.reason == reasonRestart {
			return Outcome{ID: e.id, Result: OutcomeExpired, Err: errClosed}
		}
		return b.refused(r, e.id, OutcomeExpired, "", fmt.Errorf("its run was aborted"))
	}
	return b.refused(r, e.id, OutcomeExpired, "", fmt.Errorf("no operator approved it within %s", time.Duration(e.expiresMs-e.createdMs)*time.Millisecond))
}

func (b *Broker) refused(r *Review, id, result, by string, cause error) Outcome {
	d, reason := decision{Action: pipeline.Review.String(), Reasons: []string{}, Tags: []string{}}, "its risk"
	if r.Decision != nil {
		d = decision{r.Decision.Action.String(), r.Decision.Risk, append([]string{}, r.Decision.Reasons...), append([]string{}, r.Decision.Tags...)}
		if len(d.Reasons) > 0 {
			reason = d.Reasons[0]
		}
	}
	text := cause.Error()
	if w, ok := cause.(*frames.Error); ok {
		text = w.Message
	}
	return Outcome{ID: id, Result: result, By: by, Err: &frames.Error{Code: frames.CodeForbidden,
		Message: "the defender asked for a review: " + reason + "; " + text,
		Details: Refusal{Code: CodeReview, Decision: d, ApprovalID: id, Outcome: result}}}
}
