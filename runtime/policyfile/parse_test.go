package policyfile_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	protect "github.com/protectgen/protectgen/runtime"
	"github.com/protectgen/protectgen/runtime/policyfile"
)

// everything sets every field that a file has.
const everything = `
weather.Weather.Forecast:
  timeout: 2s
  retry: {attempts: 3, backoff: 100ms, max: 5s}
  limit:
    tokens: 100
    window: 1m
    wait: 1s
    onerror: local
  breaker:
    rate: 50%
    of: 20
    within: 10s
    recovery: 1m30s
    probes: 2
    slow: 1.5s
    needs: [billing, "user store"]
  bulkhead: {max: 10, wait: forever}
  pool: {size: 10, overflow: 5, wait: forever, idle: 1m, life: 1h, prefill: 2}
weather.Weather.Alerts:
  breaker: {failures: 2}
`

var everythingRead = map[string]protect.Policy{
	"weather.Weather.Forecast": {
		Timeout: 2 * time.Second,
		Retry:   &protect.RetryPolicy{Attempts: 3, Backoff: 100 * time.Millisecond, Max: 5 * time.Second},
		Limit:   &protect.LimitPolicy{Tokens: 100, Window: time.Minute, Wait: time.Second, OnError: protect.Local},
		Breaker: &protect.BreakerPolicy{
			Rate: 0.5, Of: 20, Within: 10 * time.Second, Recovery: 90 * time.Second, Probes: 2,
			Slow: 1500 * time.Millisecond, Needs: []string{"billing", "user store"},
		},
		Bulkhead: &protect.BulkheadPolicy{Max: 10, Wait: protect.Forever},
		Pool:     &protect.PoolPolicy{Size: 10, Overflow: 5, Wait: protect.Forever, Idle: time.Minute, Life: time.Hour, Prefill: 2},
	},
	"weather.Weather.Alerts": {Breaker: &protect.BreakerPolicy{Failures: 2}},
}

func TestEveryFieldOfAPolicyIsRead(t *testing.T) {
	got, err := policyfile.Parse("policies.yaml", []byte(everything))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, got, everythingRead)
	// What is read above must really be everything, today and later.
	var unset []string
	set := map[string]bool{}
	for _, p := range got {
		note(reflect.ValueOf(p), "", set)
	}
	for path, isSet := range set {
		if !isSet {
			unset = append(unset, path)
		}
	}
	if len(unset) > 0 {
		t.Errorf("fields that the test does not set: %v", unset)
	}
}

// note adds the paths of v's fields that a file has, and whether one is set.
func note(v reflect.Value, path string, set map[string]bool) {
	for f, v := range v.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "-":
		case v.Kind() == reflect.Pointer && !v.IsNil():
			note(v.Elem(), path+name+".", set)
		case v.Kind() != reflect.Pointer:
			set[path+name] = set[path+name] || !v.IsZero()
		}
	}
}

func TestFormsOfAPolicy(t *testing.T) {
	limit := func(tokens uint64, window time.Duration) protect.Policy {
		return protect.Policy{Limit: &protect.LimitPolicy{Tokens: tokens, Window: window}}
	}
	for _, c := range []struct {
		name, text string
		want       protect.Policy
	}{
		{"no protection", "{}", protect.Policy{}},
		{"limit as in a directive", "{limit: 100/1m}", limit(100, time.Minute)},
		{"limit a second", "{limit: 5/s}", limit(5, time.Second)},
		{"limit a minute", "{limit: 5/m}", limit(5, time.Minute)},
		{"limit an hour", `{limit: "5/h"}`, limit(5, time.Hour)},
		{"the largest limit", "{limit: 9007199254740992/2562047h47m16.854775807s}", limit(1<<53, math.MaxInt64)},
		{"the shortest window", "{limit: 1/1ns}", limit(1, 1)},
		{"onerror by its zero value", "{limit: {tokens: 5, window: 1s, onerror: deny}}", limit(5, time.Second)},
		{"retry by its attempts", "{retry: 3}", protect.Policy{Retry: &protect.RetryPolicy{Attempts: 3}}},
		{"bulkhead by its places", "{bulkhead: 10}", protect.Policy{Bulkhead: &protect.BulkheadPolicy{Max: 10}}},
		{"breaker with its defaults", "{breaker: {}}", protect.Policy{Breaker: &protect.BreakerPolicy{}}},
		{"zeroes that make sense", "{pool: {overflow: 0, prefill: 0}, bulkhead: {max: 1, wait: 0s}, limit: {tokens: 1, window: 1s, wait: 0}}", protect.Policy{
			Pool: &protect.PoolPolicy{}, Bulkhead: &protect.BulkheadPolicy{Max: 1}, Limit: &protect.LimitPolicy{Tokens: 1, Window: time.Second},
		}},
		{"rate as a share", "{breaker: {rate: 0.5, of: 1, within: 1s}}", protect.Policy{Breaker: &protect.BreakerPolicy{Rate: 0.5, Of: 1, Within: time.Second}}},
		{"rate of all", "{breaker: {rate: 100%, of: 1, within: 1s}}", protect.Policy{Breaker: &protect.BreakerPolicy{Rate: 1, Of: 1, Within: time.Second}}},
		{"the smallest rate", "{breaker: {rate: 5e-324, of: 1, within: 1s}}", protect.Policy{Breaker: &protect.BreakerPolicy{Rate: math.SmallestNonzeroFloat64, Of: 1, Within: time.Second}}},
		{"a timeout in quotes", "{timeout: '2s'}", protect.Policy{Timeout: 2 * time.Second}},
		{"a timeout in micros", "{timeout: 5µs}", protect.Policy{Timeout: 5 * time.Microsecond}},
		{"no timeout at all", "{timeout: forever}", protect.Policy{Timeout: protect.Forever}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := policyfile.Parse("f", []byte("k: "+c.text))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, got, map[string]protect.Policy{"k": c.want})
		})
	}
}

func TestFormsOfAFile(t *testing.T) {
	want := map[string]protect.Policy{"a": {Timeout: time.Second}, "b/c d": {}}
	for name, text := range map[string]string{
		"block":           "a:\n  timeout: 1s\nb/c d: {}\n",
		"Windows":         "\uFEFFa:\r\n  timeout: 1s\r\nb/c d: {}\r\n",
		"comments":        "# who may call\na: # often\n  timeout: 1s # long\n\n\nb/c d: {}",
		"one document":    "%YAML 1.2\n---\na: {timeout: 1s}\nb/c d: {}\n...\n",
		"empty documents": "---\n# none\n---\n---\na: {timeout: 1s}\nb/c d: {}\n---\n---\n...\n",
		"JSON":            `{"a":{"timeout":"1s"},"b/c d":{}}`,
		"indented JSON":   "{\n  \"a\": {\n    \"timeout\": \"1s\"\n  },\n  \"b/c d\": {}\n}\n",
		"JSON with tabs":  "{\n\t\"a\": {\n\t\t\"timeout\": \"1s\"\n\t},\n\t\"b/c d\": {}\n}\n",
		"escaped JSON":    `{"\u0061":{"timeou\u0074":"1s"},"b\/c d":{}}`,
		"quoted names":    "'a': {\"timeout\": 1s}\n\"b/c d\": {}\n",
		"trailing commas": "{a: {timeout: 1s,}, b/c d: {},}",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := policyfile.Parse("f", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, got, want)
		})
	}
}

func TestAListMayBeLong(t *testing.T) {
	var text strings.Builder
	text.WriteString("k:\n  breaker:\n    needs:\n")
	for i := range 100 {
		fmt.Fprintf(&text, "    - b%d\n", i)
	}
	got, err := policyfile.Parse("f", []byte(text.String()))
	if err != nil || len(got["k"].Breaker.Needs) != 100 {
		t.Errorf("the policies are %v (%v)", got, err)
	}
}

func TestAFileWithoutPoliciesMustSaySo(t *testing.T) {
	got, err := policyfile.Parse("f", []byte("{}\n"))
	if err != nil || len(got) != 0 {
		t.Errorf("{} is %v, %v; want no policies", got, err)
	}
	for _, text := range []string{"", "\n\n", "# nothing yet\n", "---\n", "...\n"} {
		_, err := policyfile.Parse("f", []byte(text))
		if err == nil || err.Error() != "f: the file has no policies; write {} if that is meant" {
			t.Errorf("%q is %v", text, err)
		}
	}
}

func TestMistakesAreReportedWhereTheyStand(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"unknown section", "k:\n  brekaer: {failures: 5}\n", []string{"2:3: a policy has no field brekaer (did you mean breaker?)"}},
		{"unknown section like none", "k: {fallback: f}", []string{"1:5: a policy has no field fallback (there are timeout, retry, limit, breaker, bulkhead, pool)"}},
		{"unknown field", "k:\n  breaker:\n    recovry: 30s\n", []string{"3:5: breaker has no field recovry (did you mean recovery?)"}},
		{"field in capitals", "k: {breaker: {Failures: 3}}", []string{"1:15: breaker has no field Failures (did you mean failures?)"}},
		{"letters swapped", "k: {limit: {tokens: 1, widnow: 1s}}", []string{"1:24: limit has no field widnow (did you mean window?)"}},
		{"field like none", "k: {bulkhead: {max: 1, key: user}}", []string{"1:24: bulkhead has no field key (there are max, wait)"}},
		{"field that is a function", "k: {limit: {tokens: 1, window: 1s, scale: f}}", []string{"1:36: limit has no field scale (there are tokens, window, wait, onerror)"}},
		{"nameless field", "k: {'-': 1}", []string{"1:5: a policy has no field - (there are timeout, retry, limit, breaker, bulkhead, pool)"}},

		{"key twice", "k: {}\nl: {}\nk: {}\n", []string{"3:1: k stands twice, first in line 1"}},
		{"field twice", "k:\n  timeout: 1s\n  timeout: 2s\n", []string{"3:3: timeout stands twice, first in line 2"}},
		{"key twice, in other words", "{\"a\": {}, \"\\u0061\": {}}", []string{"1:11: a stands twice, first in line 1"}},
		{"empty key", "'': {}\n", []string{"1:1: a policy needs a key"}},

		{"no unit", "k:\n  timeout: 30\n", []string{"2:12: timeout: 30 has no unit; write 30s"}},
		{"no unit, with a fraction", "k: {timeout: 1.5}", []string{"1:14: timeout: 1.5 has no unit; write 1.5s"}},
		{"no unit, in quotes", `{"k": {"timeout": "30"}}`, []string{"1:19: timeout: 30 has no unit; write 30s"}},
		{"unit unknown", "k: {timeout: 1d}", []string{"1:14: timeout: 1d is not a duration; write one with its unit, such as 300ms, 2s, 1m30s or 12h"}},
		{"blank in a duration", "k: {timeout: 1 s}", []string{"1:14: timeout: 1 s is not a duration; write one with its unit, such as 300ms, 2s, 1m30s or 12h"}},
		{"plus", "k: {timeout: +1s}", []string{"1:14: timeout: +1s is not a duration; write one with its unit, such as 300ms, 2s, 1m30s or 12h"}},
		{"duration negative", "k: {timeout: -1s}", []string{"1:14: timeout: -1s is negative"}},
		{"duration too long", "k: {timeout: 2562048h}", []string{"1:14: timeout: 2562048h is too long; the longest is 2562047h47m16.854775807s"}},
		{"duration is true", "k: {timeout: true}", []string{"1:14: timeout: true is not a duration; write one with its unit, such as 300ms, 2s, 1m30s or 12h"}},
		{"timeout 0", "k: {timeout: 0s}", []string{"1:14: timeout: 0s makes no sense; leave it out"}},
		{"default by 0", "k: {breaker: {failures: 0, recovery: 0, probes: 0}}", []string{
			"1:25: breaker.failures: 0 makes no sense; leave it out",
			"1:38: breaker.recovery: 0 makes no sense; leave it out",
			"1:49: breaker.probes: 0 makes no sense; leave it out",
		}},

		{"limit without window", "k:\n  limit: 100\n", []string{"2:10: limit: 100 is not a limit; write calls and a window, such as 100/1m"}},
		{"limit without unit", "k: {limit: 100/60}", []string{"1:12: limit: 60 has no unit; write 60s"}},
		{"limit for ever", "k: {limit: 1/forever}", []string{"1:12: limit: 1/forever is not a limit; write calls and a window, such as 100/1m"}},
		{"limit of words", "k: {limit: many/1m}", []string{"1:12: limit: many is not a whole number, such as 10"}},
		{"limit of none", "k: {limit: 0/1m}", []string{"1:12: limit.tokens: 0 lets no call pass; the limit must be at least 1"}},
		{"limit in no time", "k: {limit: 1/0s}", []string{"1:12: limit.window: a limit needs a window, such as 1m"}},
		{"limit of too many", "k: {limit: 9007199254740993/1m}", []string{"1:12: limit.tokens: 9007199254740993 is more than 9007199254740992"}},
		{"limit beyond numbers", "k: {limit: 99999999999999999999/1m}", []string{"1:12: limit: 99999999999999999999 is too large"}},
		{"limit with a list", "k: {limit: [100, 1m]}", []string{"1:12: limit must be a mapping, not a list"}},
		{"limit lacks a field", "k:\n  limit:\n    tokens: 5\n", []string{"2:3: limit.window: a limit needs a window, such as 1m"}},
		{"limit lacks both", "k: {limit: {}}", []string{
			"1:5: limit.tokens: 0 lets no call pass; the limit must be at least 1",
			"1:5: limit.window: a limit needs a window, such as 1m",
		}},
		{"onerror unknown", "k: {limit: {tokens: 1, window: 1s, onerror: alow}}", []string{"1:45: limit.onerror: there is no alow (did you mean allow?)"}},
		{"onerror like none", "k: {limit: {tokens: 1, window: 1s, onerror: 1}}", []string{"1:45: limit.onerror: there is no 1 (there are deny, allow, local)"}},

		{"number in quotes", `{"k": {"retry": {"attempts": "3"}}}`, []string{`1:30: retry.attempts: "3" is a text; write 3 without quotes`}},
		{"number with a fraction", "k: {retry: 2.0}", []string{"1:12: retry.attempts: 2.0 is not a whole number, such as 10"}},
		{"number octal", "k: {retry: 010}", []string{"1:12: retry.attempts: 010 is not a whole number, such as 10"}},
		{"number hexadecimal", "k: {retry: 0x10}", []string{"1:12: retry.attempts: 0x10 is not a whole number, such as 10"}},
		{"number with underscores", "k: {retry: 1_0}", []string{"1:12: retry.attempts: 1_0 is not a whole number, such as 10"}},
		{"number negative", "k: {bulkhead: -1}", []string{"1:15: bulkhead.max: -1 is negative"}},
		{"number too large for any", "k: {bulkhead: 9223372036854775808}", []string{"1:15: bulkhead.max: 9223372036854775808 is more than 2147483647"}},
		{"number too large", "k: {bulkhead: 2147483648}", []string{"1:15: bulkhead.max: 2147483648 is more than 2147483647"}},
		{"no place", "k: {bulkhead: 0}", []string{"1:15: bulkhead.max: 0 lets no call pass; a bulkhead must have at least 1 place"}},
		{"no attempt", "k: {retry: {attempts: 0}}", []string{"1:23: retry.attempts: 0 makes no call; there must be at least 1 attempt"}},

		{"rate above 1", "k: {breaker: {rate: 50, of: 1, within: 1s}}", []string{"1:21: breaker.rate: 50 is more than 1; write 50%"}},
		{"rate far above 1", "k: {breaker: {rate: 101, of: 1, within: 1s}}", []string{"1:21: breaker.rate: 101 is more than 1"}},
		{"rate above all", "k: {breaker: {rate: 101%, of: 1, within: 1s}}", []string{"1:21: breaker.rate: 101% is more than 100%"}},
		{"rate beyond numbers", "k: {breaker: {rate: 1e999%, of: 1, within: 1s}}", []string{"1:21: breaker.rate: 1e999% is more than 100%"}},
		{"rate negative", "k: {breaker: {rate: -0.5, of: 1, within: 1s}}", []string{"1:21: breaker.rate: -0.5 is negative"}},
		{"rate no number", "k: {breaker: {rate: .nan, of: 1, within: 1s}}", []string{"1:21: breaker.rate: .nan is not a share, such as 50% or 0.5"}},
		{"rate in quotes", "k: {breaker: {rate: '0.5', of: 1, within: 1s}}", []string{`1:21: breaker.rate: "0.5" is a text; write 0.5 without quotes`}},
		{"rate alone", "k:\n  breaker:\n    rate: 50%\n", []string{
			"2:3: breaker.of: a rate needs of: the calls to see before it is judged",
			"2:3: breaker.within: a rate needs within: the time that it is taken over",
		}},
		{"rate and failures", "k: {breaker: {rate: 50%, of: 1, within: 1s, failures: 5}}", []string{"1:55: breaker.failures: a breaker opens on failures or on a rate, not on both"}},
		{"needs no list", "k: {breaker: {needs: billing}}", []string{"1:22: breaker.needs: must be a list, as [a, b], not billing"}},
		{"needs a list of more", "k: {breaker: {needs: [a, {b: c}]}}", []string{"1:26: breaker.needs: must be a list of names, not of a mapping"}},
		{"needs twice", "k:\n  breaker:\n    needs:\n    - a\n    - a\n", []string{"4:5: breaker.needs: a stands twice"}},
		{"needs without a comma", "k:\n  breaker:\n    needs: [a\n      b]\n", []string{"3:13: breaker.needs: must be a list of names, not of a text over several lines"}},
		{"needs that does not show", "k: {breaker: {needs: [a\u00A0]}}\n", []string{`1:23: breaker.needs: "a\u00a0" has characters that do not show; put it in quotes if they are meant`}},
		{"prefill above size", "k: {pool: {size: 2, prefill: 3}}", []string{"1:30: pool.prefill: 3 is more than size 2"}},

		{"policy without a value", "k:\nl: {}\n", []string{"1:1: the policy has no value; write {} for no protection at all"}},
		{"section without a value", "k:\n  breaker:\n  timeout: 1s\n", []string{"2:11: breaker: has no value; leave it out, or write its fields"}},
		{"field without a value", "k: {timeout: , retry: 2}", []string{"1:13: timeout: has no value"}},
		{"null", `{"k": {"pool": null}}`, []string{"1:16: pool: has no value; leave it out, or write its fields"}},
		{"field with a mapping", "k: {timeout: {s: 1}}", []string{"1:14: timeout: must be a single value, not a mapping"}},
		{"field with a list", "k: {pool: {size: [1]}}", []string{"1:18: pool.size: must be a single value, not a list"}},
		{"field with a text block", "k:\n  timeout: |\n    1s\n", []string{"2:12: timeout: must be a single value, not a block of text"}},
		{"policy with a value", "k: 5\n", []string{"1:4: a policy must be a mapping, not 5"}},
		{"policy with a list", "k:\n- timeout: 1s\n", []string{"2:1: a policy must be a mapping, not a list"}},
		{"section without a brief form", "k: {breaker: 5}", []string{"1:14: breaker must be a mapping, not 5"}},
		{"file with a list", "- k\n", []string{"1:1: the file must be a mapping, not a list"}},
		{"file with a word", "policies\n", []string{"1:1: the file must be a mapping, not policies"}},
		{"long and odd words", "k: \"" + strings.Repeat("x", 50) + "\\n\"\n", []string{"1:4: a policy must be a mapping, not " + strings.Repeat("x", 40) + "..."}},
		{"unprintable words", "k: \"a\\n\"\n", []string{`1:4: a policy must be a mapping, not "a\n"`}},

		{"anchor and alias", "k: &a {timeout: 1s}\nl: *a\n", []string{
			"1:4: a policy must be a mapping, not an anchor",
			"2:4: a policy must be a mapping, not an alias",
		}},
		{"merge key", "k:\n  <<: {timeout: 1s}\n", []string{"2:3: a policy has a merge key where a name should be"}},
		{"tag", "k: {timeout: !!str 1s}\n", []string{"1:14: timeout: must be a single value, not a tag"}},
		{"complex key", "? k\n: {}\n", []string{"1:1: the file has something else where a name should be"}},
		{"key over two lines", "{\n  // comment\n  \"k\": {}\n}\n", []string{"2:3: the file has a text over several lines where a name should be"}},
		{"key that does not show", "k: {}\n\uFEFFl: {}\n", []string{`2:1: "\ufeffl" has characters that do not show; put it in quotes if they are meant`}},
		{"null key", "~: {}\n", []string{"1:1: the file has nothing where a name should be"}},
		{"two documents", "k: {}\n---\nl: {}\n", []string{"3:1: a second document; a file has one"}},
		{"two documents, and one without anything", "k: {}\n---\n# none\n---\nl: {}\n", []string{"5:1: a second document; a file has one"}},
		{"no YAML", "k: [\n", []string{"1:4: sequence end token ']' not found"}},
		{"tab", "k:\n\ttimeout: 1s\n", []string{"2:1: found character '\\t' that cannot start any token"}},

		{"everything that is wrong, in order", "k:\n  pool: {size: -1, wait: 5}\n  limit: 5\n  nope: 1\nl:\n  bulkhead: {max: x, wait: y}\nk: {}\n", []string{
			"2:16: pool.size: -1 is negative",
			"2:26: pool.wait: 5 has no unit; write 5s",
			"3:10: limit: 5 is not a limit; write calls and a window, such as 100/1m",
			"4:3: a policy has no field nope (there are timeout, retry, limit, breaker, bulkhead, pool)",
			"6:19: bulkhead.max: x is not a whole number, such as 10",
			"6:28: bulkhead.wait: y is not a duration; write one with its unit, such as 300ms, 2s, 1m30s or 12h",
			"7:1: k stands twice, first in line 1",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := policyfile.Parse("p.yaml", []byte(c.text))
			if err == nil {
				t.Fatalf("accepted: %v", got)
			}
			if got != nil {
				t.Errorf("policies beside an error: %v", got)
			}
			if !errors.Is(err, protect.ErrInvalid) {
				t.Error("the error is not ErrInvalid")
			}
			want := "p.yaml:" + strings.Join(c.want, "\np.yaml:")
			if text := strings.ReplaceAll(err.Error(), "\t", `\t`); text != want {
				t.Errorf("reported:\n%s\nwant:\n%s", text, want)
			}
		})
	}
}

func TestAProblemTellsItsPlace(t *testing.T) {
	_, err := policyfile.Parse("p.yaml", []byte("ä: {ö: 1}\n"))
	p, ok := errors.AsType[*policyfile.Problem](err)
	if !ok {
		t.Fatalf("%v is no Problem", err)
	}
	want := policyfile.Problem{File: "p.yaml", Line: 1, Column: 5, Message: p.Message}
	if *p != want {
		t.Errorf("the problem is %+v, want %+v", *p, want)
	}
}

func TestWhatIsNoTextIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"bytes":    {"k: \xff", "f: the file is not UTF-8 text"},
		"too long": {"k: {}\n" + strings.Repeat("#", 1<<20), "f: the file has more than 1048576 bytes"},
	} {
		_, err := policyfile.Parse("f", []byte(c.text))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// Without a bound on the nesting each of these takes gigabytes.
func TestNestingHasABound(t *testing.T) {
	for text, want := range map[string]string{
		strings.Repeat("[", 1<<20):                   "f:1:17: nested too deep",
		strings.Repeat("{a: ", 1<<18):                "f:1:65: nested too deep",
		strings.Repeat("- ", 1<<19):                  "f:1:33: nested too deep",
		"k: {}\nl: " + strings.Repeat("[]", 17):      "",
		"a: []\n" + strings.Repeat("- ", 16) + "b\n": "",
	} {
		_, err := policyfile.Parse("f", []byte(text))
		switch {
		case err == nil:
			t.Errorf("%.10q: accepted", text)
		case want == "" && strings.Contains(err.Error(), "too deep"):
			t.Errorf("%.10q: %v", text, err)
		case want != "" && err.Error() != want:
			t.Errorf("%.10q: %v, want %s", text, err, want)
		}
	}
}

// The JSON of a policy, as the status page shows it, can be put into a file.
func TestWhatAPolicyWritesAFileReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policies := map[string]protect.Policy{}
		for _, key := range rapid.SliceOfN(rapid.StringN(1, -1, 20), 0, 3).Draw(t, "keys") {
			policies[key] = drawPolicy(t)
		}
		data, err := json.Marshal(policies)
		if err != nil {
			t.Fatal(err)
		}
		got, err := policyfile.Parse("f", data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		equal(t, got, policies)
	})
}

func drawPolicy(t *rapid.T) protect.Policy {
	const most = math.MaxInt32
	wait := rapid.OneOf(rapid.Just(protect.Forever), rapid.Map(rapid.Int64Range(0, math.MaxInt64), func(n int64) time.Duration { return time.Duration(n) }))
	some := rapid.Map(rapid.Int64Range(1, math.MaxInt64), func(n int64) time.Duration { return time.Duration(n) })
	p := protect.Policy{Timeout: wait.Draw(t, "timeout")}
	if rapid.Bool().Draw(t, "retry") {
		p.Retry = &protect.RetryPolicy{Attempts: rapid.IntRange(1, most).Draw(t, "attempts"), Backoff: wait.Draw(t, "backoff"), Max: wait.Draw(t, "max")}
	}
	if rapid.Bool().Draw(t, "limit") {
		p.Limit = &protect.LimitPolicy{
			Tokens: rapid.Uint64Range(1, 1<<53).Draw(t, "tokens"), Window: some.Draw(t, "window"), Wait: wait.Draw(t, "wait"),
			OnError: protect.OnError(rapid.IntRange(0, int(protect.Local)).Draw(t, "onerror")),
		}
	}
	switch rapid.IntRange(0, 2).Draw(t, "breaker") {
	case 1:
		p.Breaker = &protect.BreakerPolicy{Failures: rapid.IntRange(0, most).Draw(t, "failures"), Within: wait.Draw(t, "within")}
	case 2:
		p.Breaker = &protect.BreakerPolicy{Rate: rapid.Float64Range(math.SmallestNonzeroFloat64, 1).Draw(t, "rate"), Of: rapid.IntRange(1, most).Draw(t, "of"), Within: some.Draw(t, "within")}
	}
	if p.Breaker != nil {
		p.Breaker.Recovery, p.Breaker.Slow = wait.Draw(t, "recovery"), wait.Draw(t, "slow")
		p.Breaker.Probes = rapid.IntRange(0, most).Draw(t, "probes")
		p.Breaker.Needs = rapid.SliceOfNDistinct(rapid.StringN(1, -1, 10), 0, 3, rapid.ID).Draw(t, "needs")
	}
	if rapid.Bool().Draw(t, "bulkhead") {
		p.Bulkhead = &protect.BulkheadPolicy{Max: rapid.IntRange(1, most).Draw(t, "places"), Wait: wait.Draw(t, "wait")}
	}
	if rapid.Bool().Draw(t, "pool") {
		size := rapid.IntRange(1, most).Draw(t, "size")
		p.Pool = &protect.PoolPolicy{
			Size: size, Overflow: rapid.IntRange(0, most-size).Draw(t, "overflow"), Prefill: rapid.IntRange(0, size).Draw(t, "prefill"),
			Wait: wait.Draw(t, "wait"), Idle: wait.Draw(t, "idle"), Life: wait.Draw(t, "life"),
		}
	}
	return p
}

// FuzzParse holds Parse to its word on any text: it returns, every policy that
// it accepts is valid, and the rest is explained as ErrInvalid.
func FuzzParse(f *testing.F) {
	f.Add([]byte(everything))
	f.Fuzz(func(t *testing.T, data []byte) {
		policies, err := policyfile.Parse("f", data)
		if err != nil {
			if policies != nil || !errors.Is(err, protect.ErrInvalid) {
				t.Errorf("policies %v beside error %v", policies, err)
			}
			return
		}
		for key, p := range policies {
			if err := p.Validate(); key == "" || err != nil {
				t.Errorf("%q was accepted: %v", key, err)
			}
		}
		written, err := json.Marshal(policies)
		if err != nil {
			t.Fatal(err)
		}
		again, err := policyfile.Parse("f", written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		equal(t, again, policies)
	})
}

// FuzzLimit holds the limit of one word to what the JSON of a policy reads.
func FuzzLimit(f *testing.F) {
	f.Add("100/1m")
	f.Add("1/s")
	f.Fuzz(func(t *testing.T, text string) {
		quoted, err := json.Marshal(text)
		if err != nil {
			return
		}
		var want protect.LimitPolicy
		valid := json.Unmarshal(quoted, &want) == nil && want.Validate() == nil
		got, err := policyfile.Parse("f", fmt.Appendf(nil, `{"k": {"limit": %s}}`, quoted))
		switch {
		case err == nil && !valid:
			t.Errorf("%q was accepted: %+v", text, got)
		case err == nil && got["k"].Limit.Tokens != want.Tokens, err == nil && got["k"].Limit.Window != want.Window:
			t.Errorf("%q is %+v, want %+v", text, got["k"].Limit, want)
		}
	})
}

func TestLoadNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "policies.yaml")
	if err := os.WriteFile(path, []byte(everything), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := policyfile.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, got, everythingRead)

	if err := os.WriteFile(path, []byte("k: 5"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := policyfile.Load(path); err == nil || err.Error() != path+":1:4: a policy must be a mapping, not 5" {
		t.Errorf("a bad file is %v", err)
	}
	// Its beginning would be a file by itself.
	if err := os.WriteFile(path, []byte("k: {}\n"+strings.Repeat("#", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := policyfile.Load(path); err == nil || err.Error() != path+": the file has more than 1048576 bytes" {
		t.Errorf("a file that is too long is %v", err)
	}
	if _, err := policyfile.Load(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file is %v", err)
	}
	if _, err := policyfile.Load(dir); err == nil {
		t.Error("a directory was read")
	}
}

// equal compares policies by their data.
func equal(t interface {
	Helper()
	Errorf(string, ...any)
}, got, want map[string]protect.Policy) {
	t.Helper()
	keys := slices.Sorted(maps.Keys(got))
	if !slices.Equal(keys, slices.Sorted(maps.Keys(want))) {
		t.Errorf("the keys are %q, want %q", keys, slices.Sorted(maps.Keys(want)))
		return
	}
	for _, key := range keys {
		g, errG := json.Marshal(got[key])
		w, errW := json.Marshal(want[key])
		if errG != nil || errW != nil || string(g) != string(w) {
			t.Errorf("%s is %s (%v), want %s (%v)", key, g, errG, w, errW)
		}
	}
}
