//go:build bufdebug

package bufpool_test

import (
	"strings"
	"testing"

	"sluice/bufpool"
)

const debugBuild = true

func TestPoisonAfterRelease(t *testing.T) {
	l := bufpool.Copy([]byte("secret"))
	b := l.Bytes()
	l.Release()
	if string(b) == "secret" {
		t.Error("released bytes are still readable")
	}
}

func TestPanicNamesBothStacks(t *testing.T) {
	l := bufpool.Get(1)
	l.Release()
	defer func() {
		msg, _ := recover().(string)
		if !strings.Contains(msg, "lent at:") || !strings.Contains(msg, "released at:") || strings.Count(msg, "TestPanicNamesBothStacks") < 2 {
			t.Errorf("the panic names no stacks: %q", msg)
		}
	}()
	l.Release()
}
