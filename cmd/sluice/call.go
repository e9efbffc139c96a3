package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sluice/frames"
	"sluice/frames/client"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
)

const (
	deviceFile = "device.json" // the identity of `sluice call`, in the state folder
	// defaultCallTimeout is upstream's CLI's; a turn may take as long as a turn may.
	defaultCallTimeout  = 30 * time.Second
	defaultFinalTimeout = 10 * time.Minute
)

// callOptions are the flags of `sluice call`.
type callOptions struct {
	at                           place
	params, url, token, password string
	device                       string
	scopes                       []string
	timeout                      time.Duration
	final, asJSON                bool
	protocol                     int
}

func newCallCommand(p *process) *cobra.Command {
	var o callOptions
	cmd := &cobra.Command{
		Use:   "call METHOD",
		Short: "Call one method of any gateway of the protocol",
		Long: "Connect to a gateway, call METHOD and print the payload of its answer.\n\n" +
			"Without --url (or SLUICE_URL) the gateway is the local one: the address and the secret come from its\n" +
			"configuration and state folder. The local secret is sent to this machine only; for another one give --token or\n" +
			"--password (or SLUICE_TOKEN, SLUICE_PASSWORD). The caller proves a device key of its own, which is kept in\n" +
			"the state folder; a gateway may ask to have it approved first.\n\n" +
			"Exit status: 0 answered, 1 refused or not reachable, 2 wrong command line.",
		Example: "  sluice call health\n  sluice call chat.send --params '{\"sessionKey\":\"main\",\"message\":\"hi\",\"idempotencyKey\":\"1\"}'\n" +
			"  sluice call config.get --url wss://gw.example --token \"$T\"",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("call needs one METHOD, got %d arguments; `sluice methods` lists them", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("timeout") && o.final {
				o.timeout = defaultFinalTimeout
			}
			return o.run(cmd.Context(), p, args[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.params, "params", "", "params as `JSON`, @FILE, or - for standard input")
	f.StringVar(&o.url, "url", "", "`URL` of the gateway: ws://HOST:PORT or wss://…")
	f.StringVar(&o.token, "token", "", "the gateway's `TOKEN` (other users of this machine can see it; SLUICE_TOKEN is safer)")
	f.StringVar(&o.password, "password", "", "the gateway's `PASSWORD` (better: SLUICE_PASSWORD)")
	f.StringVar(&o.device, "device", "", "device identity `FILE`, made when it is missing (default: device.json in the state folder)")
	f.DurationVar(&o.timeout, "timeout", defaultCallTimeout, "time for connecting and the answer; with --final 10m")
	f.BoolVar(&o.final, "final", false, "wait for the second answer of a method that answers \"accepted\" first (agent)")
	f.BoolVar(&o.asJSON, "json", false, `print {"ok":…,"payload":…} or {"ok":false,"error":…} on one line`)
	f.IntVar(&o.protocol, "protocol", 0, "speak only protocol version 3 or 4 (default: what the gateway chooses)")
	f.StringSliceVar(&o.scopes, "scopes", client.OperatorScopes(), "scopes to ask for")
	o.at.flags(cmd)
	cmd.SetFlagErrorFunc(badFlag)
	return cmd
}

// run makes the call and prints what came of it.
func (o *callOptions) run(ctx context.Context, p *process, method string) error {
	params, err := readParams(o.params, p.in)
	if err != nil {
		return err
	}
	opt, err := o.client(p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("no answer within %s (--timeout)", o.timeout))
	defer cancel()
	payload, err := o.call(ctx, p, opt, method, params)
	if err == nil {
		return o.printPayload(p.out, payload)
	}
	var remote *client.RemoteError
	if o.asJSON && errors.As(err, &remote) {
		if err := printLine(p.out, map[string]any{"ok": false, "error": remote}); err != nil {
			return err
		}
	}
	return describe(err, method, opt.URL)
}

func (o *callOptions) call(ctx context.Context, p *process, opt client.Options, method string, params jsontext.Value) (jsontext.Value, error) {
	c, err := client.Dial(ctx, opt)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if !o.final {
		return c.Call(ctx, method, params)
	}
	return c.CallFinal(ctx, method, params, func(accepted jsontext.Value) { fmt.Fprintf(p.err, "accepted: %s\n", accepted) })
}

func (o *callOptions) printPayload(w io.Writer, payload jsontext.Value) error {
	if o.asJSON {
		out := map[string]any{"ok": true}
		if payload != nil {
			out["payload"] = payload
		}
		return printLine(w, out)
	}
	if payload == nil {
		return nil
	}
	_ = payload.Indent(jsontext.WithIndent("  ")) // it was decoded: it is valid
	_, err := fmt.Fprintf(w, "%s\n", payload)
	return err
}

// client builds the options of the connection.
func (o *callOptions) client(p *process) (client.Options, error) {
	get := getenv(p.environ)
	opt := client.Default()
	opt.Client = client.Info{ID: "cli", DisplayName: "sluice call", Version: Version, Platform: opt.Client.Platform, Mode: "cli"}
	opt.Scopes = o.scopes
	switch o.protocol {
	case 0:
		opt.MinProtocol, opt.MaxProtocol = frames.MinProtocolVersion, frames.ProtocolVersion
	case 3, 4:
		opt.MinProtocol, opt.MaxProtocol = o.protocol, o.protocol
	default:
		return opt, usage("--protocol is %d; 3 or 4", o.protocol)
	}
	if o.timeout <= 0 {
		return opt, usage("--timeout is %s; it must be positive", o.timeout)
	}
	loc, err := locate(o.at.state, o.at.config, get)
	if err != nil {
		return opt, err
	}
	opt.URL = firstOf(o.url, get("SLUICE_URL"))
	opt.Auth = client.Auth{Token: firstOf(o.token, get("SLUICE_TOKEN")), Password: firstOf(o.password, get("SLUICE_PASSWORD"))}
	if err := o.fromLocal(p, loc, &opt); err != nil {
		return opt, err
	}
	if err := opt.Validate(); err != nil {
		return opt, &exitError{code: 2, err: err}
	}
	path := o.device
	if path == "" {
		if err := prepareState(loc.state); err != nil {
			return opt, err
		}
		path = filepath.Join(loc.state, deviceFile)
	}
	opt.Identity, err = client.LoadIdentity(path)
	return opt, err
}

// fromLocal fills in what was not said from the local gateway's configuration. Its
// secret goes to this machine only: a URL names anybody.
func (o *callOptions) fromLocal(p *process, loc location, opt *client.Options) error {
	secretGiven := opt.Auth != (client.Auth{})
	if opt.URL != "" && (secretGiven || !loopbackURL(opt.URL)) {
		return nil
	}
	snap, err := loadConfig(loc, p.environ)
	if err != nil {
		return fmt.Errorf("the local gateway's configuration says nothing about the address and secret to use: %w; mend it, or give --url and --token", err)
	}
	cfg := section[gatewayConfig](snap, "gateway")
	if opt.URL == "" {
		if opt.URL, err = localURL(cfg.Listen); err != nil {
			return err
		}
	}
	if !secretGiven {
		opt.Auth = localSecret(loc, cfg.Auth)
	}
	return nil
}

// localSecret is the secret of the gateway of this state folder. A missing token file
// is no error here: the gateway will say that it wants a token.
func localSecret(loc location, cfg authConfig) client.Auth {
	switch {
	case cfg.Mode == "password":
		return client.Auth{Password: cfg.Password}
	case cfg.Mode == "none":
		return client.Auth{}
	case cfg.Token != "":
		return client.Auth{Token: cfg.Token}
	}
	b, err := os.ReadFile(filepath.Join(loc.state, tokenFile))
	if err != nil {
		return client.Auth{}
	}
	return client.Auth{Token: strings.TrimSpace(string(b))}
}

// localURL is how a gateway that listens there is reached from this machine.
func localURL(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("gateway.listen: %q is no HOST:PORT", listen)
	}
	if port == "0" {
		return "", errors.New("gateway.listen has port 0, so the gateway's port is known only to itself; give --url")
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "ws://" + net.JoinHostPort(host, port), nil
}

func loopbackURL(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && loopbackHost(u.Hostname())
}

// readParams reads --params. Nothing said sends none, which every schema that requires
// nothing accepts.
func readParams(text string, in io.Reader) (jsontext.Value, error) {
	var b []byte
	var err error
	switch name, isFile := strings.CutPrefix(text, "@"); {
	case text == "":
		return nil, nil
	case text == "-":
		b, err = io.ReadAll(io.LimitReader(in, frames.MaxFrameBytes+1))
	case isFile:
		b, err = os.ReadFile(name)
	default:
		b = []byte(text)
	}
	if err != nil {
		return nil, fmt.Errorf("--params: %w", err)
	}
	if len(b) > frames.MaxFrameBytes {
		return nil, usage("--params: more than %d bytes, which no gateway takes", frames.MaxFrameBytes)
	}
	v := jsontext.Value(b)
	if err := v.Compact(); err != nil {
		return nil, usage("--params is no JSON: %v", err)
	}
	return v, nil
}

// describe says what happened and what to do about it.
func describe(err error, method, address string) error {
	var remote *client.RemoteError
	var closed *client.CloseError
	var netErr *net.OpError
	switch {
	case errors.As(err, &remote):
		text := remote.Error()
		if remote.Details != nil {
			text += "\n  details: " + string(remote.Details)
		}
		if hint := remedy(remote, method); hint != "" {
			text += "\n  " + hint
		}
		return errors.New(text)
	case errors.As(err, &closed) && closed.Code == int(frames.CloseServiceRestart):
		return fmt.Errorf("%w; the gateway is stopping: try again when it is back", err)
	case errors.As(err, &netErr) && netErr.Op == "dial":
		return fmt.Errorf("%w\n  is a gateway running at %s? start one with `sluice serve`, or name another with --url", err, address)
	}
	return err
}

// remedy is what to do about a refusal; the stable part of one is details.code.
func remedy(e *client.RemoteError, method string) string {
	var d struct {
		Code         string `json:"code"`
		MissingScope string `json:"missingScope"`
		RequestID    string `json:"requestId"`
	}
	_ = unmarshalLax(e.Details, &d)
	switch {
	case strings.HasPrefix(d.Code, "AUTH_TOKEN_"), d.Code == "AUTH_UNAUTHORIZED":
		return "give the gateway's token with --token or SLUICE_TOKEN; a Sluice keeps it in the file token of its state folder (--state)"
	case strings.HasPrefix(d.Code, "AUTH_PASSWORD_"):
		return "give the gateway's password with --password or SLUICE_PASSWORD"
	case strings.HasPrefix(d.Code, "AUTH_DEVICE_"), strings.HasPrefix(d.Code, "DEVICE_"):
		return "the gateway does not accept this device; use another identity with --device FILE, or have it paired again"
	case e.Code == string(frames.CodeNotPaired), d.Code == "PAIRING_REQUIRED":
		id := firstOf(d.RequestID, "ID")
		return fmt.Sprintf("approve this device on the gateway: sluice call device.pair.list, then device.pair.approve --params '{\"requestId\":%q}', and call again", id)
	case d.Code == "PROTOCOL_MISMATCH":
		return "the gateway does not speak these protocol versions; leave --protocol out, or give the version that details name"
	case d.Code == "MISSING_SCOPE":
		return fmt.Sprintf("this connection was not granted %s; ask for it with --scopes, or have the device approved for it", d.MissingScope)
	case strings.HasPrefix(e.Message, "unknown method:"):
		return unknownMethod(method)
	case e.Retryable && e.RetryAfterMs > 0:
		return fmt.Sprintf("try again in %s", time.Duration(e.RetryAfterMs)*time.Millisecond)
	case e.Retryable:
		return "try again"
	}
	return ""
}

// unknownMethod tells a typing error from a method that the gateway does not have.
func unknownMethod(method string) string {
	if frames.LookupMethod([]byte(method)) != nil {
		return "the protocol has this method, but this gateway does not answer it; `sluice methods` lists what a Sluice answers"
	}
	var near []string
	for _, m := range frames.Methods() {
		if strings.EqualFold(m.Name, method) || slices.Contains(strings.Split(m.Name, "."), method) {
			near = append(near, m.Name)
		}
	}
	if len(near) > 0 {
		return "similar methods: " + strings.Join(near[:min(len(near), 8)], ", ")
	}
	return "`sluice methods` lists the methods"
}
