package policyfile

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	protect "github.com/protectgen/protectgen/runtime"
)

// What values look like. YAML's own idea of a number, with its other bases and
// underscores, is not asked.
var (
	wholeNumber  = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)
	number       = regexp.MustCompile(`^([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)
	withUnits    = regexp.MustCompile(`^(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`)
	negative     = regexp.MustCompile(`^-[0-9.]`)
	longWindows  = map[string]string{"s": "1s", "m": "1m", "h": "1h"}
	unitsExample = "such as 300ms, 2s, 1m30s or 12h"
)

// duration reads 1m30s, or forever.
func (s scalar) duration() (time.Duration, error) {
	switch {
	case s.text == "forever":
		return protect.Forever, nil
	case s.text == "0" && !s.quoted:
		return 0, nil
	case negative.MatchString(s.text):
		return 0, fmt.Errorf("%s is negative", show(s.text))
	case number.MatchString(s.text):
		return 0, fmt.Errorf("%s has no unit; write %ss", show(s.text), show(s.text))
	case !withUnits.MatchString(s.text):
		return 0, fmt.Errorf("%s is not a duration; write one with its unit, %s", show(s.text), unitsExample)
	}
	d, err := time.ParseDuration(s.text)
	if err != nil {
		return 0, fmt.Errorf("%s is too long; the longest is %v", show(s.text), time.Duration(math.MaxInt64))
	}
	return d, nil
}

// integer reads a whole number.
func (s scalar) integer() (int, error) {
	if err := s.whole(); err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(s.text)
	if err != nil {
		return 0, fmt.Errorf("%s is more than %d", show(s.text), math.MaxInt32)
	}
	return n, nil
}

// unsigned reads a whole number that may be larger.
func (s scalar) unsigned() (uint64, error) {
	if err := s.whole(); err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(s.text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is too large", show(s.text))
	}
	return n, nil
}

func (s scalar) whole() error {
	switch {
	case wholeNumber.MatchString(s.text) && s.quoted:
		return fmt.Errorf("%q is a text; write %s without quotes", s.text, show(s.text))
	case wholeNumber.MatchString(s.text):
		return nil
	case negative.MatchString(s.text):
		return fmt.Errorf("%s is negative", show(s.text))
	}
	return fmt.Errorf("%s is not a whole number, such as 10", show(s.text))
}

// share reads 50% or 0.5.
func (s scalar) share() (float64, error) {
	percent, isPercent := strings.CutSuffix(s.text, "%")
	switch {
	case negative.MatchString(s.text):
		return 0, fmt.Errorf("%s is negative", show(s.text))
	case !number.MatchString(percent):
		return 0, fmt.Errorf("%s is not a share, such as 50%% or 0.5", show(s.text))
	case s.quoted && !isPercent:
		return 0, fmt.Errorf("%q is a text; write %s without quotes", s.text, show(s.text))
	}
	n, err := strconv.ParseFloat(percent, 64)
	if isPercent {
		n /= 100
	}
	switch {
	case err != nil || n > 1 && isPercent:
		return 0, fmt.Errorf("%s is more than 100%%", show(s.text))
	case n > 1 && n <= 100:
		return 0, fmt.Errorf("%s is more than 1; write %s%%", show(s.text), show(s.text))
	case n > 1:
		return 0, fmt.Errorf("%s is more than 1", show(s.text))
	}
	return n, nil
}

// onError reads a word.
func (s scalar) onError() (o protect.OnError, err error) {
	if o.UnmarshalText([]byte(s.text)) == nil {
		return o, nil
	}
	var words []string
	for o := protect.Deny; ; o++ {
		word, err := o.MarshalText()
		if err != nil {
			return 0, fmt.Errorf("there is no %s (%s)", show(s.text), hint(s.text, words))
		}
		words = append(words, string(word))
	}
}

// rate reads a limit as directives write it: 100/1m, or 100/m.
func (s scalar) rate() (tokens uint64, window time.Duration, err error) {
	calls, per, ok := strings.Cut(s.text, "/")
	if !ok || per == "forever" {
		return 0, 0, fmt.Errorf("%s is not a limit; write calls and a window, such as 100/1m", show(s.text))
	}
	if tokens, err = (scalar{text: calls}).unsigned(); err != nil {
		return 0, 0, err
	}
	if long, ok := longWindows[per]; ok {
		per = long
	}
	window, err = scalar{text: per}.duration()
	return tokens, window, err
}
