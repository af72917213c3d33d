package policyfile

import "testing"

func TestAHintIsTheWordThatWasMeant(t *testing.T) {
	words := []string{"failures", "within", "rate", "of", "wait", "want"}
	all := "there are failures, within, rate, of, wait, want"
	for word, want := range map[string]string{
		"failure":  "did you mean failures?",
		"faliures": "did you mean failures?", // one swap
		"FAILURES": "did you mean failures?",
		"wat":      "did you mean wait?", // the first of two that are as near
		"waint":    "did you mean wait?",
		"wan":      "did you mean want?", // wait is further
		"fo":       "did you mean of?",
		"too":      all, // nothing of "of" would be left where it was
		"recovery": all,
		"":         all,
	} {
		if got := hint(word, words); got != want {
			t.Errorf("for %q: %q, want %q", word, got, want)
		}
	}
}
