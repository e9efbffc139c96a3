package system

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"sluice/frames"

	"github.com/go-json-experiment/json"
)

// Presence is who is here: the gateway itself, the connected clients that are listed,
// and what system-event has reported (openclaw.md 3.1: 5 minutes, 200 rows). Its
// encoded snapshot is made once a change, not once a reader.
type Presence struct {
	versions *frames.Versions
	events   frames.Broadcaster
	self     Entry
	maxRows  int
	ttl      time.Duration
	// nameBytes bounds what a row repeats of a client's words: every hello and every
	// presence event carries all rows.
	nameBytes int

	mu      sync.Mutex
	rows    map[string]Entry // by connection or reported key
	encoded atomic.Pointer[[]byte]
	telling sync.Mutex // the version of a later event is never the smaller one
}

// Entry is one row, as clients read it (PresenceEntry in schema96.json).
type Entry struct {
	Host            string   `json:"host,omitzero"`
	IP              string   `json:"ip,omitzero"`
	Version         string   `json:"version,omitzero"`
	Platform        string   `json:"platform,omitzero"`
	DeviceFamily    string   `json:"deviceFamily,omitzero"`
	ModelIdentifier string   `json:"modelIdentifier,omitzero"`
	LastInputSecs   *int64   `json:"lastInputSeconds,omitzero"`
	Mode            string   `json:"mode,omitzero"`
	Reason          string   `json:"reason,omitzero"`
	ClientID        string   `json:"clientId,omitzero"`
	DeviceID        string   `json:"deviceId,omitzero"`
	InstanceID      string   `json:"instanceId,omitzero"`
	OnlineSince     int64    `json:"onlineSince,omitzero"`
	Roles           []string `json:"roles,omitzero"`
	Scopes          []string `json:"scopes,omitzero"`
	Tags            []string `json:"tags,omitzero"`
	Text            string   `json:"text,omitzero"`
	TS              int64    `json:"ts"`

	live bool // belongs to a connection: stays as long as that does
}

// NewPresence returns a presence that holds the gateway's own row.
func NewPresence(cfg Config, version, instanceID string, versions *frames.Versions, events frames.Broadcaster) *Presence {
	host, _ := os.Hostname()
	ip := localIP()
	p := &Presence{versions: versions, events: events, rows: make(map[string]Entry), maxRows: cfg.PresenceRows, nameBytes: cfg.PresenceBytes,
		ttl: time.Duration(cfg.PresenceTTLMs) * time.Millisecond}
	p.self = Entry{Host: host, IP: ip, Version: version, Platform: runtime.GOOS + " " + kernelRelease(),
		DeviceFamily: family(), Mode: "gateway", Reason: "self", InstanceID: instanceID, TS: time.Now().UnixMilli(),
		Text: fmt.Sprintf("Gateway: %s (%s) · app %s · mode gateway · reason self", host, ip, version)}
	p.encode()
	return p
}

func family() string { return strings.ToUpper(runtime.GOOS[:1]) + runtime.GOOS[1:] }

// localIP is the address that others in the network see; no packet is sent.
func localIP() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "127.0.0.1"
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	return "127.0.0.1"
}

// JSON is the encoded array; it is replaced, never changed.
func (p *Presence) JSON() []byte { return *p.encoded.Load() }

// Connected lists a client; cli, backend and probe clients are not listed.
func (p *Presence) Connected(peer *frames.Peer) {
	if !peer.Listed() {
		return
	}
	now := time.Now().UnixMilli()
	host := peer.Client.DisplayName
	if host == "" {
		host = peer.Client.ID
	}
	p.put(peer.ConnID, Entry{Host: host, ClientID: peer.Client.ID, Version: peer.Client.Version,
		Platform: peer.Client.Platform, DeviceFamily: peer.Client.DeviceFamily, ModelIdentifier: peer.Client.ModelIdentifier,
		Mode: peer.Client.Mode, Reason: "connect", DeviceID: peer.DeviceID, InstanceID: peer.Client.InstanceID,
		OnlineSince: now, Roles: []string{peer.Role.String()}, Scopes: peer.Scopes.Names(), TS: now, live: true,
		Text: fmt.Sprintf("Node: %s · mode %s", orUnknown(peer.Client.DisplayName), peer.Client.Mode)})
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// Disconnected removes a client's row.
func (p *Presence) Disconnected(peer *frames.Peer) {
	p.mu.Lock()
	_, ok := p.rows[peer.ConnID]
	delete(p.rows, peer.ConnID)
	if ok {
		p.encode()
	}
	p.mu.Unlock()
	if ok {
		p.announce()
	}
}

// Report adds or refreshes a row from system-event.
func (p *Presence) Report(key string, e Entry) { p.put("report:"+key, e) }

func (p *Presence) put(key string, e Entry) {
	key = short(key, 2*p.nameBytes)
	e.clip(p.nameBytes)
	p.mu.Lock()
	if _, ok := p.rows[key]; !ok && len(p.rows) >= p.maxRows {
		p.dropOldest()
	}
	p.rows[key] = e
	p.encode()
	p.mu.Unlock()
	p.announce()
}

// listItems bounds a row's lists.
const listItems = 16

// clip cuts what the client says about itself.
func (e *Entry) clip(n int) {
	for _, s := range []*string{&e.Host, &e.IP, &e.Version, &e.Platform, &e.DeviceFamily, &e.ModelIdentifier, &e.Mode, &e.Reason,
		&e.ClientID, &e.DeviceID, &e.InstanceID} {
		*s = short(*s, n)
	}
	e.Text = short(e.Text, 4*n)
	for _, l := range []*[]string{&e.Roles, &e.Scopes, &e.Tags} {
		if *l == nil {
			continue
		}
		cut := make([]string, 0, min(len(*l), listItems))
		for _, s := range (*l)[:min(len(*l), listItems)] {
			cut = append(cut, short(s, n))
		}
		*l = cut
	}
}

// short returns s cut to at most n bytes, between characters.
func short(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.Clone(s[:n])
}

// dropOldest drops the oldest report, or, when only connections are listed, the oldest
// of those.
func (p *Presence) dropOldest() {
	oldest, found := "", Entry{}
	for k, e := range p.rows {
		if oldest == "" || found.live && !e.live || found.live == e.live && e.TS < found.TS {
			oldest, found = k, e
		}
	}
	delete(p.rows, oldest)
}

// Expire drops reported rows that nobody has refreshed; the gateway's ticker calls it.
func (p *Presence) Expire(now time.Time) {
	limit := now.Add(-p.ttl).UnixMilli()
	changed := false
	p.mu.Lock()
	for k, e := range p.rows {
		if !e.live && e.TS < limit {
			delete(p.rows, k)
			changed = true
		}
	}
	if changed {
		p.encode()
	}
	p.mu.Unlock()
	if changed {
		p.announce()
	}
}

// encode renews the snapshot: the gateway first, then the newest.
func (p *Presence) encode() {
	rows := make([]Entry, 0, len(p.rows)+1)
	for _, e := range p.rows {
		rows = append(rows, e)
	}
	sort.Slice(rows, func(i, j int) bool { return rows[i].TS > rows[j].TS })
	rows = append([]Entry{p.self}, rows...)
	b, err := json.Marshal(rows)
	if err != nil { // plain structs
		panic(err)
	}
	p.encoded.Store(&b)
}

// announce tells everyone; the event carries the new state version.
func (p *Presence) announce() {
	p.telling.Lock()
	defer p.telling.Unlock()
	state := p.versions.BumpPresence()
	b := append([]byte(`{"presence":`), p.JSON()...)
	p.events.Broadcast(frames.Event{Name: "presence", Payload: append(b, '}'), DropIfSlow: true, State: &state})
}

// Rows is the number of rows.
func (p *Presence) Rows() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.rows) + 1
}
