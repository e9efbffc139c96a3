package connect

import "testing"

func TestSmoke(t *testing.T) {
	w := newWorld(t)
	a := w.connect(local(), params("gateway-client", "backend", scopes("operator.admin"), token(testSecret)))
	t.Log(a.raw)
	d := newDevice(0)
	for i := 0; i < 2; i++ {
		a = w.connect(local(), params("cli", "cli", scopes("operator.read"), token(testSecret), d.sign()))
		t.Log(a.raw, a.close, w.take())
	}
	a = w.connect(remote(), params("cli", "cli", scopes("operator.admin"), token(testSecret), d.sign()))
	t.Log(a.raw, a.close, w.take())
	a = w.connect(remote(), params("cli", "cli", scopes("operator.admin"), token("nope")))
	t.Log(a.raw, a.close, w.take())
	a = w.connect(local(), params("cli", "cli", scopes("operator.admin"), token("nope")))
	t.Log(a.raw, a.close, w.take())
}
