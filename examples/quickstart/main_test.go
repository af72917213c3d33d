package main

import (
	"bytes"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestQuickstartIsAsItSays(t *testing.T) {
	defer goleak.VerifyNone(t)
	var page bytes.Buffer
	if err := run(t.Context(), &page); err != nil {
		t.Fatalf("%v\n%s", err, page.String())
	}
	for _, want := range []string{
		"ada, call 6    refused", "1000 of 1000 refused", "0 reached the server", "12 of 12 served",
		"never more than 3 at once", "index out of range",
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page does not say %q:\n%s", want, page.String())
		}
	}
}
