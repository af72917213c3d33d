package main

import (
	"bytes"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/protectgen/protectgen/internal/testserver"
)

func TestTheDatabaseIsKilledAndNobodyIsLost(t *testing.T) {
	testserver.Require(t, "postgres", "postgresql")
	defer goleak.VerifyNone(t)
	var page bytes.Buffer
	err := run(t.Context(), &page)
	t.Log(page.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"0 failed, 0 refused", "opened, and again after each of", "6 lent at once again", "each once", "none left over",
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}
