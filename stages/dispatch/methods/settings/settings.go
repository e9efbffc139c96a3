// Package settings answers the config.* methods over the configuration document
// (behaviour as recorded from the real gateway 2026.9.6, texts included).
//
// The document is a file, not a storage effect: config.Manager replaces it atomically
// and durably before a handler answers. Handlers that touch the file may wait for a slow
// disk, so they are Long. Lifecycle: New subscribes to the Manager, Close ends that.
package settings

import (
	"context"
	"sync"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch"
	"sluice/storage/config"

	"github.com/go-json-experiment/json"
)

// Deps are what the family needs. All are required.
type Deps struct {
	// Manager holds the configuration in force. Revisions are its Options' affair.
	Manager *config.Manager
	// Version is the program's, for config.schema.
	Version string
	// Events takes config.changed and chat.metadata.changed.
	Events frames.Broadcaster
	// Hold keeps back what a write would do to its own author, such as closing the
	// connections of a replaced secret, until the result is called; nil keeps nothing.
	Hold func() (release func())
	// Guard runs each write of the file, for who asked for it; nil runs it by itself.
	Guard func(ctx context.Context, by string, write func() error) error
}

// Family holds the handlers.
type Family struct {
	deps   Deps
	schema func() ([]byte, error)
	cancel func()
}

// New returns the family and announces every change of the configuration from now on,
// whether it came by a method or by an editor. The schema does not change while the
// program runs: it is generated now and encoded once, when somebody first asks.
func New(deps Deps) *Family {
	f := &Family{deps: deps}
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00") // as JavaScript writes it
	f.schema = sync.OnceValues(func() ([]byte, error) {
		return json.Marshal(deps.Manager.Schema().Response(deps.Version, now), json.Deterministic(true))
	})
	f.cancel = deps.Manager.Subscribe(f.announce)
	return f
}

// Close ends the announcements; the handlers go on working.
func (f *Family) Close() { f.cancel() }

// Methods lists the handlers.
func (f *Family) Methods() []dispatch.Method {
	return []dispatch.Method{
		{Name: "config.get", Handle: f.get, Long: true},
		{Name: "config.set", Handle: f.set, Long: true},
		{Name: "config.patch", Handle: f.patch, Long: true},
		{Name: "config.apply", Handle: f.apply, Long: true},
		{Name: "config.schema", Handle: f.describe},
		{Name: "config.schema.lookup", Handle: f.lookup},
	}
}

// get answers config.get: the file as it is now, valid or not, without secrets.
func (f *Family) get(_ context.Context, e *pipeline.Envelope) error {
	g, err := f.deps.Manager.Get()
	if err != nil {
		return refusal(err)
	}
	return e.AnswerValue(g)
}

// describe answers config.schema.
func (f *Family) describe(_ context.Context, e *pipeline.Envelope) error {
	b, err := f.schema()
	if err != nil {
		return err
	}
	e.Answer(b)
	return nil
}

// lookup answers config.schema.lookup: one key and what stands directly below it.
func (f *Family) lookup(_ context.Context, e *pipeline.Envelope) error {
	var p struct {
		Path string `json:"path"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	res, err := f.deps.Manager.Schema().Lookup(p.Path)
	if err != nil {
		return refusal(err)
	}
	return e.AnswerValue(res)
}
