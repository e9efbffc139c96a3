//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pageText is all text of the page, also that of shadow trees.
const pageText = `(function text(root){let s='';for(const e of root.childNodes){if(e.nodeType===3)s+=e.data;else if(e.nodeType===1&&!/^(SCRIPT|STYLE)$/.test(e.tagName)){if(e.shadowRoot)s+=text(e.shadowRoot);s+=text(e)}}return s})(document.body)`

// button is the expression for the visible button with this text.
func button(label string) string {
	return fmt.Sprintf(`(function find(root){for(const e of root.querySelectorAll('*')){if(e.matches('button,[role=button]')&&e.textContent.trim().startsWith(%q)&&e.getClientRects().length)return e;if(e.shadowRoot){const f=find(e.shadowRoot);if(f)return f}}return null})(document)`, label)
}

// chatInput is the expression for the chat's text field.
const chatInput = `(function find(root){for(const e of root.querySelectorAll('*')){if(e.matches('textarea')&&e.getClientRects().length)return e;if(e.shadowRoot){const f=find(e.shadowRoot);if(f)return f}}return null})(document)`

// type types a message into the chat and sends it.
func (p *page) typeMessage(tb testing.TB, text string) {
	tb.Helper()
	p.wait(tb, "the chat's text field", 60*time.Second, `!!(`+chatInput+`) && !(`+chatInput+`).disabled`)
	eventually(tb, "the text in the chat's field", 10*time.Second, func() bool { // the page moves the focus when a card goes
		p.eval(tb, chatInput+`.focus()`)
		p.command(tb, "Input.insertText", map[string]any{"text": text})
		value := p.eval(tb, chatInput+`.value`)
		if value != text && value != "" {
			tb.Fatalf("the chat's field holds %q", value)
		}
		return value == text
	})
	for _, kind := range []string{"keyDown", "keyUp"} {
		p.command(tb, "Input.dispatchKeyEvent", map[string]any{"type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"})
	}
}

func (p *page) says(tb testing.TB, text string) {
	tb.Helper()
	p.wait(tb, fmt.Sprintf("%q on the page", text), 30*time.Second, fmt.Sprintf("%s.includes(%q)", pageText, text))
}

// click presses a button with the mouse, as a person does: one that is covered is not pressed.
func (p *page) click(tb testing.TB, label string) {
	tb.Helper()
	p.wait(tb, "the button "+label, 30*time.Second, `!!(`+button(label)+`)`)
	var x, y float64
	at := p.eval(tb, `(()=>{const b=`+button(label)+`;b.scrollIntoView({block:'center'});const r=b.getBoundingClientRect();return (r.x+r.width/2)+' '+(r.y+r.height/2)})()`)
	if _, err := fmt.Sscan(at, &x, &y); err != nil {
		tb.Fatalf("the button %s is at %q", label, at)
	}
	for _, kind := range []string{"mouseMoved", "mousePressed", "mouseReleased"} {
		p.command(tb, "Input.dispatchMouseEvent", map[string]any{"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1})
	}
	p.wait(tb, "the card's end", 30*time.Second, `!(`+button(label)+`)`)
}

// TestControlUIReview: the Control UI shows what waits for a decision, and its buttons decide; it shows
// a block to whoever wrote the message.
func TestControlUIReview(t *testing.T) {
	if leftOut(t, "E2E_NO_UI") {
		return
	}
	if env.real {
		t.Log("the real gateway reviews nothing")
		return
	}
	g := startGateway(t, options{capture: "control_ui_review", config: guarded(), flags: []string{"--control-ui", filepath.Join(env.clients, "openclaw", "dist", "control-ui")}})
	c := dial(t, g.url())
	p := openPage(t)
	p.navigate(t, fmt.Sprintf("http://127.0.0.1:%d/chat?session=main#token=%s", g.proxyPort, token))
	p.wait(t, "the chat's text field", 60*time.Second, `!!(`+chatInput+`) && !(`+chatInput+`).disabled`)

	// A stranger's message, allowed.
	answer := hook(t, g, "agent:main:main", suspicious)
	waiting(t, c)
	p.says(t, "Review: agent")
	p.says(t, "prompt: "+suspicious)
	p.screenshot(t, "review-stranger.png")
	p.click(t, "Allow once")
	if h := <-answer; h.Status != http.StatusOK {
		t.Errorf("the hook was answered %+v", h)
	}
	p.says(t, "streamed reply with several tokens")
	p.screenshot(t, "review-allowed.png")

	// A command, denied.
	decided, err := c.send("exec.approval.request", map[string]any{"command": "rm x", "commandArgv": []string{"rm", "x"}, "cwd": "/tmp", "host": "gateway", "agentId": "main", "sessionKey": "agent:main:main"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.says(t, "Exec approval needed")
	p.screenshot(t, "review-command.png")
	p.click(t, "Deny")
	if r := <-decided; !r.OK || !strings.Contains(string(r.Payload), `"decision":"deny"`) {
		t.Errorf("the command's answer: %s %+v", r.Payload, r.Error)
	}

	// One's own suspicious message, allowed, and a forbidden one.
	p.typeMessage(t, suspicious+" for me")
	p.says(t, "Review: chat.send")
	p.screenshot(t, "review-own.png")
	p.click(t, "Allow once")
	eventually(t, "the turn of the allowed message", 20*time.Second, func() bool {
		texts := c.texts(t, "main")
		return len(texts) == 4 && texts[2] == "user: "+suspicious+" for me" && texts[3] == "assistant: "+reply
	})
	p.typeMessage(t, forbidden)
	p.says(t, "Not sent") // the page words every refused message like this
	p.screenshot(t, "blocked.png")
	if texts := c.texts(t, "main"); len(texts) != 4 {
		t.Errorf("the history after a block: %q", texts)
	}
}
