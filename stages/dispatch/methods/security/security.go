// Package security answers Sluice's own methods for operators of the defender: what the
// protocol has no method for.
//
//	sluice.ledger.release     {"entries":[1,2]}  hands out evidence from quarantine
//	sluice.integrity.status   {"shown":true}     the host's integrity, checked now
//	sluice.integrity.accept   {}                 takes the files as they are
//
// They are for operators with operator.admin on a connection of their own. What an agent,
// a hook, a channel or a node starts is refused, whatever scopes it carries: nothing that
// is judged may end the alert or hand out the evidence. All of them wait for the disk and
// leave an entry in the ledger, so they are Long.
package security

import (
	"context"
	"slices"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch"
)

// Released is evidence that was handed out: where it is on the gateway's machine.
type Released struct {
	Seq  uint64 `json:"seq"`
	Path string `json:"path"`
}

// Deps are the defender's parts. Errors that are a *frames.Error are sent as they are; by is
// the caller's authenticated identity.
type Deps struct {
	// Release notes in the ledger that by takes the evidence of the entries.
	Release func(ctx context.Context, by string, entries []uint64) ([]Released, error)
	// Status checks the host's files now and returns what is found, to be sent as JSON.
	Status func(ctx context.Context) (status any, alert bool, err error)
	// Shown notes in the ledger that by was shown the alert, and returns the entry.
	Shown func(ctx context.Context, by string) (uint64, error)
	// Accept makes the files as they are the new baseline and returns the status then.
	Accept func(ctx context.Context, by string) (any, error)
}

// Family holds the handlers.
type Family struct{ deps Deps }

// New returns the family.
func New(deps Deps) *Family { return &Family{deps} }

// Methods lists the handlers.
func (f *Family) Methods() []dispatch.Method {
	return []dispatch.Method{
		{Name: "sluice.ledger.release", Handle: f.release, Long: true},
		{Name: "sluice.integrity.status", Handle: f.status, Long: true},
		{Name: "sluice.integrity.accept", Handle: f.accept, Long: true},
	}
}

// operator is the identity of the caller, if that may operate the defender.
func operator(e *pipeline.Envelope) (string, error) {
	if e.Peer == nil || e.Peer.Role != frames.RoleOperator || !e.Peer.Scopes.Allows(frames.ScopeAdmin) {
		return "", frames.MissingScope(frames.ScopeAdmin)
	}
	return e.Peer.Identity, nil
}

const (
	// maxEntries bounds one release; the ledger takes no more.
	maxEntries = 1024
	// maxEntry is the largest number that JSON keeps exactly; what is below 1 is decoded as
	// a larger one.
	maxEntry = 1 << 53
)

func (f *Family) release(ctx context.Context, e *pipeline.Envelope) error {
	by, err := operator(e)
	if err != nil {
		return err
	}
	var p struct {
		Entries []uint64 `json:"entries"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	wrong := func(n uint64) bool { return n < 1 || n > maxEntry }
	if len(p.Entries) == 0 || len(p.Entries) > maxEntries || slices.ContainsFunc(p.Entries, wrong) {
		return frames.Invalid("invalid params: at /entries: 1 to %d numbers of entries", maxEntries)
	}
	released, err := f.deps.Release(ctx, by, p.Entries)
	if err != nil {
		return err
	}
	return e.AnswerValue(struct {
		Released []Released `json:"released"`
	}{released})
}

// Status is the payload of sluice.integrity.status and accept. Entry is the ledger's that
// says that the alert was shown; Unnoted says why there is none although there should be.
type Status struct {
	Integrity any    `json:"integrity"`
	Entry     uint64 `json:"ledgerEntry,omitzero"`
	Unnoted   string `json:"unnoted,omitzero"`
}

func (f *Family) status(ctx context.Context, e *pipeline.Envelope) error {
	by, err := operator(e)
	if err != nil {
		return err
	}
	var p struct {
		Shown bool `json:"shown"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	status, alert, err := f.deps.Status(ctx)
	if err != nil {
		return err
	}
	out := Status{Integrity: status}
	if p.Shown && alert {
		if out.Entry, err = f.deps.Shown(ctx, by); err != nil {
			out.Unnoted = err.Error() // an alert is shown also when it cannot be noted
		}
	}
	return e.AnswerValue(out)
}

func (f *Family) accept(ctx context.Context, e *pipeline.Envelope) error {
	by, err := operator(e)
	if err != nil {
		return err
	}
	status, err := f.deps.Accept(ctx, by)
	if err != nil {
		return err
	}
	return e.AnswerValue(Status{Integrity: status})
}
