package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/pipeline"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
)

// replayTimeout is how long replay waits for one answer before it sends the next frame:
// a method that waits for a later frame must not stop it. What is then still open is
// answered, at the latest, when the gateway stops.
const replayTimeout = 10 * time.Second

// maxRecordBytes bounds one line of a recording: the largest frame, base64, and the rest.
const maxRecordBytes = 2 * frames.MaxFrameBytes

func newReplayCommand(p *process) *cobra.Command {
	var state, configPath string
	var asJSON bool
	timeout := replayTimeout
	cmd := &cobra.Command{
		Use:   "replay FILE...",
		Short: "Send recorded frames through the pipeline and print the answers and verdicts",
		Long: "Send the client's frames of recordings (JSON lines: conn, dir, frame) through the seven stages of a\n" +
			"gateway without sockets, one after another, and print each answer and the defender's verdict.\n\n" +
			"The gateway has a state folder of its own, the default configuration, no model and no channel; --config\n" +
			"names a configuration to judge by (its model is then asked, its channels still are not used).\n" +
			"A recorded connect cannot be proved again, so each connection is granted what the recorded hello-ok\n" +
			"granted.\n\n" +
			"A line may have a member \"expect\": the answer must contain it ({\"ok\":false,\"error\":{\"code\":…}}), and\n" +
			"a member \"verdict\" in it is the defender's: allow, review, block, or none where nothing was judged.\n" +
			"Exit status 1 when an expectation is not met.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("replay needs a FILE; see `sluice replay --help`")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if timeout <= 0 {
				return usage("--timeout is %s; it must be positive", timeout)
			}
			r := &replay{p: p, files: args, asJSON: asJSON, timeout: timeout}
			return r.run(cmd.Context(), state, configPath)
		},
	}
	cmd.Flags().StringVar(&state, "state", "", "keep the state in `DIR` (default: a temporary folder, removed at the end)")
	cmd.Flags().StringVar(&configPath, "config", "", "configuration `FILE` to judge by")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a frame")
	cmd.Flags().DurationVar(&timeout, "timeout", replayTimeout, "wait for one answer before the next frame is sent")
	cmd.SetFlagErrorFunc(badFlag)
	return cmd
}

// record is one line of a recording (protocol/wire.md section 0) with our "expect".
type record struct {
	Conn   int            `json:"conn"`
	Dir    string         `json:"dir"`
	Bin    bool           `json:"bin"`
	Frame  jsontext.Value `json:"frame"`
	Expect jsontext.Value `json:"expect"`
}

// raw are the frame's bytes. A frame that was no JSON is recorded as text, a binary one
// as base64.
func (r *record) raw() []byte {
	var text string
	if r.Frame.Kind() != '"' || json.Unmarshal(r.Frame, &text) != nil {
		return r.Frame
	}
	if r.Bin {
		if b, err := base64.StdEncoding.DecodeString(text); err == nil {
			return b
		}
	}
	return []byte(text)
}

// replay is one run of the command.
type replay struct {
	p       *process
	files   []string
	asJSON  bool
	timeout time.Duration

	g        *Gateway
	open     []*exchange // submitted and not yet printed
	frames   int
	expected int
	failed   int
}

// run starts the gateway, replays every file and stops it.
func (r *replay) run(ctx context.Context, state, configPath string) (err error) {
	if state == "" {
		if state, err = os.MkdirTemp("", "sluice-replay-"); err != nil {
			return fmt.Errorf("no temporary state folder: %w; name one with --state DIR", err)
		}
		defer os.RemoveAll(state)
	}
	loc, err := locate(state, firstOf(configPath, filepath.Join(state, "sluice.json5")), func(string) string { return "" })
	if err != nil {
		return err
	}
	loc.named = configPath != ""
	// The caller's environment is left out: it may name the state, the model or the
	// channels of a gateway in use. Flags win over the configuration named.
	flags := map[string]string{"storage.path": filepath.Join(loc.state, "sluice.db"), "storage.backend": "bolt",
		"defend.quarantine.dir": filepath.Join(loc.state, "quarantine"), "channels.webhook.targets": "{}", "telemetry.logs.level": "warn"}
	if r.g, err = newGateway(ctx, gatewayOptions{location: loc, flags: flags, stderr: r.p.err, noListen: true}); err != nil {
		return err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		err = errors.Join(err, r.g.Stop(stop))
		if e := r.flush(true); err == nil { // what only the stop has answered
			err = e
		}
		if e := r.summary(); err == nil {
			err = e
		}
	}()
	if err := r.g.Start(ctx); err != nil {
		return err
	}
	for i, name := range r.files {
		if err := r.file(ctx, i, name); err != nil {
			return err
		}
	}
	return nil
}

func (r *replay) summary() error {
	if !r.asJSON {
		fmt.Fprintf(r.p.out, "%s, %s, %d not met\n", count(r.frames, "frame"), count(r.expected, "expectation"), r.failed)
	}
	if r.failed > 0 {
		return fmt.Errorf("%d of %s not met", r.failed, count(r.expected, "expectation"))
	}
	return nil
}

// file replays one recording.
func (r *replay) file(ctx context.Context, index int, name string) error {
	records, err := readRecording(name)
	if err != nil {
		return err
	}
	conns := map[int]*replayConn{}
	answers := recordedAnswers(records)
	for n, rec := range records {
		if rec == nil || rec.Dir != "c2s" || rec.Frame == nil {
			continue
		}
		c := conns[rec.Conn]
		if c == nil {
			c = newReplayConn(index, rec.Conn)
			conns[rec.Conn] = c
		}
		x := &exchange{file: name, line: n + 1, rec: rec, conn: c, done: make(chan struct{})}
		r.frames++
		if rec.Expect != nil {
			r.expected++
		}
		if err := r.send(ctx, x, answers); err != nil {
			return err
		}
	}
	return nil
}

// readRecording returns the lines by number; a blank one is nil.
func readRecording(name string) ([]*record, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("the recording cannot be read: %w", err)
	}
	defer f.Close()
	var list []*record
	in := bufio.NewScanner(f)
	in.Buffer(make([]byte, 0, 64<<10), maxRecordBytes)
	for in.Scan() {
		var rec *record
		if line := in.Bytes(); len(strings.TrimSpace(string(line))) > 0 {
			rec = new(record)
			if err := json.Unmarshal(line, rec); err != nil {
				return nil, fmt.Errorf("%s:%d is no line of a recording: %w", name, len(list)+1, err)
			}
			if rec.Expect != nil && rec.Expect.Kind() != '{' {
				return nil, fmt.Errorf("%s:%d: expect must be an object", name, len(list)+1)
			}
		}
		list = append(list, rec)
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w (a line may have %d bytes)", name, len(list)+1, err, maxRecordBytes)
	}
	return list, nil
}

// send puts one frame into the pipeline and waits for its end, up to the timeout.
func (r *replay) send(ctx context.Context, x *exchange, answers map[answerKey]*recordedAnswer) error {
	r.open = append(r.open, x)
	raw := x.rec.raw()
	x.read(raw)
	if x.conn.closed() {
		x.finish("the connection is closed already")
		return r.flush(false)
	}
	if x.method == "connect" && x.conn.Peer() == nil {
		x.grant(answers[answerKey{x.rec.Conn, string(x.id)}])
		return r.flush(false)
	}
	lease := bufpool.Get(len(raw))
	lease.B = append(lease.B, raw...)
	e := pipeline.NewEnvelope(pipeline.SourceReplay, lease)
	e.Client, e.Peer, e.Shard = x.conn, x.conn.Peer(), x.conn.shard
	e.OnSettle(x)
	x.conn.begin(x)
	if err := r.g.Submit(e); err != nil {
		r.g.refuse(e, err)
		x.finish(err.Error())
	}
	select {
	case <-x.done:
	case <-time.After(r.timeout):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return r.flush(false)
}

// flush prints the exchanges that have ended, in order of their frames as far as they
// have; all prints also those that never did.
func (r *replay) flush(all bool) error {
	kept := r.open[:0]
	for _, x := range r.open {
		if !all && !x.ended() {
			kept = append(kept, x)
			continue
		}
		o := x.outcome()
		if o.Mismatch != "" {
			r.failed++
		}
		if err := r.print(o); err != nil {
			return err
		}
	}
	r.open = kept
	return nil
}

func (r *replay) print(o outcome) error {
	if r.asJSON {
		return printLine(r.p.out, o)
	}
	_, err := io.WriteString(r.p.out, o.text())
	return err
}

// replayConn is a connection of a recording as the pipeline sees it: frames.Client
// without a socket. The answers of a frame go to its exchange.
type replayConn struct {
	id    string
	shard uint32
	subs  frames.Subscriptions
	hs    frames.Handshake

	mu     sync.Mutex
	peer   *frames.Peer
	end    *frames.Close
	byID   map[string]*exchange // raw request id -> the latest exchange with it
	latest *exchange
}

var _ frames.Client = (*replayConn)(nil)

func newReplayConn(file, conn int) *replayConn {
	return &replayConn{id: fmt.Sprintf("replay-%d-%d", file, conn), shard: uint32(file)<<16 ^ uint32(conn),
		hs:   frames.Handshake{Nonce: "replay", RemoteIP: "127.0.0.1", Host: "127.0.0.1", PeerLoopback: true, Local: true, ConnectedAtMs: time.Now().UnixMilli()},
		byID: map[string]*exchange{}}
}

// ID implements frames.Conn.
func (c *replayConn) ID() string { return c.id }

// Peer implements frames.Conn.
func (c *replayConn) Peer() *frames.Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer
}

// Handshake implements frames.Client.
func (c *replayConn) Handshake() *frames.Handshake { return &c.hs }

// Subscriptions implements frames.Client.
func (c *replayConn) Subscriptions() *frames.Subscriptions { return &c.subs }

// Accept implements frames.Client.
func (c *replayConn) Accept(peer *frames.Peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peer = peer
}

// Send implements frames.Conn: it gives the frame to the exchange that it answers.
func (c *replayConn) Send(b frames.Buffer) bool {
	frame := jsontext.Value(append([]byte(nil), b.Bytes()...))
	b.Release()
	var head struct {
		ID jsontext.Value `json:"id"`
	}
	_ = unmarshalLax(frame, &head)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end != nil {
		return false
	}
	x := c.byID[string(head.ID)]
	if x == nil {
		x = c.latest // an answer without the request's id: the frame had none
	}
	if x != nil {
		x.answers = append(x.answers, frame)
	}
	return true
}

// Close implements frames.Conn.
func (c *replayConn) Close(cl frames.Close) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end == nil {
		c.end = &cl
		if c.latest != nil {
			c.latest.closed = &cl
		}
	}
}

func (c *replayConn) closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end != nil
}

func (c *replayConn) begin(x *exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byID[string(x.id)], c.latest = x, x
}
