package policyfile

import (
	"errors"
	"testing"
)

func TestAPanicOfTheParserIsAnError(t *testing.T) {
	if _, err := caught(func() (int, error) { panic("index out of range") }); err == nil || err.Error() != "the parser panicked: index out of range" {
		t.Errorf("a panic is %v", err)
	}
	refusal := errors.New("refused")
	if v, err := caught(func() (int, error) { return 1, refusal }); v != 1 || err != refusal {
		t.Errorf("without a panic it returns %v, %v", v, err)
	}
}
