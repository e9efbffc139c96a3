package defend

import (
	"context"
	"errors"
	"time"

	"sluice/pipeline"
)

// proof is where the evidence of a decision is.
type proof struct {
	file  string
	entry uint64
}

// errSlowDisk is why a decision is answered before its evidence is written.
var errSlowDisk = errors.New("the disk took longer than defend.timeoutMs; what waits is written when it can be")

// evidence writes the file of a blocked action and the ledger's line. A verdict stands
// also when it cannot be written down, or not in time: that is health's and the log's to
// say. Who waits for the verdict waits for the disk no longer than for the defenders; what
// had begun by then is written when the disk lets it.
func (s *Stage) evidence(cfg *Config, e *pipeline.Envelope, a *Action, d *pipeline.Decision, blocked, passes bool) proof {
	if s.deps.Journal == nil && !(blocked && s.ledger.on()) {
		return proof{}
	}
	limit := time.NewTimer(time.Duration(cfg.TimeoutMs) * time.Millisecond)
	defer limit.Stop()
	select {
	case s.writers <- struct{}{}:
	case <-limit.C:
		s.unwritten(a, d, errSlowDisk)
		return proof{}
	}
	done := make(chan proof, 1)
	hold := e.RetainBytes() // what a aliases, should e be answered before this is done
	go func() {
		defer func() {
			if r := recover(); r != nil {
				s.panicked(r)
				done <- proof{}
			}
			if hold != nil {
				hold.Release()
			}
			<-s.writers
		}()
		done <- s.write(a, d, blocked, passes)
	}()
	select {
	case p := <-done:
		return p
	case <-limit.C:
		s.unwritten(a, d, errSlowDisk)
		return proof{}
	}
}

// write writes the evidence and waits for the disk.
func (s *Stage) write(a *Action, d *pipeline.Decision, blocked, passes bool) (p proof) {
	var err error
	if blocked && s.ledger.on() {
		if p.file, err = s.ledger.write(a, d); err != nil {
			s.deps.Log.Error("quarantine file not written; the action stays blocked", "source", a.Source, "id", s.id(a), "err", err)
		}
	}
	if s.deps.Journal == nil {
		return p
	}
	p.entry, err = s.deps.Journal(context.WithoutCancel(s.ctx), Record{Decision: d, Passed: passes, Origin: a.Origin.String(), Sender: a.Sender, Method: a.Source,
		SessionKey: a.SessionKey, RequestID: a.RequestID(), File: p.file, Content: a.content()})
	if err != nil {
		s.unwritten(a, d, err)
		return p
	}
	s.stats.Journaled.Add(1)
	s.late.Store(false)
	return p
}

// unwritten notes that a decision is not in the ledger, or not yet.
func (s *Stage) unwritten(a *Action, d *pipeline.Decision, err error) {
	s.stats.JournalFailed.Add(1)
	s.late.Store(errors.Is(err, errSlowDisk))
	s.deps.Log.Error("a decision is missing in the ledger; the verdict stands", "source", a.Source, "id", s.id(a), "action", d.Action.String(), "err", err)
}

// written waits until nothing is being written any more.
func (s *Stage) written(ctx context.Context) error {
	taken := 0
	defer func() {
		for range taken {
			<-s.writers
		}
	}()
	for ; taken < cap(s.writers); taken++ {
		select {
		case s.writers <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// id is the action's for logs: a client chooses it, and may put a secret there.
func (s *Stage) id(a *Action) string { return redactor(s.deps.Redact).name(a.RequestID()) }
