package directive

import (
	"fmt"
	"go/token"
	"slices"
	"strings"
	"testing"
	"time"

	protect "github.com/protectgen/protectgen/runtime"
)

// problemsOf parses a comment at position 1 and returns its problems as
// "column: message (hint)", the column from 1.
func problemsOf(comment string) []string {
	_, problems, _ := Parse(1, comment)
	var out []string
	for _, p := range problems {
		s := fmt.Sprintf("%d: %s", p.Pos, p.Message)
		if p.Hint != "" {
			s += " (" + p.Hint + ")"
		}
		out = append(out, s)
	}
	return out
}

func TestMistakesAreReportedWhereTheyAre(t *testing.T) {
	for _, c := range []struct{ comment, want string }{
		// Directives and keys.
		{"//protect:limitt 100/1m", "11: unknown directive limitt (did you mean limit?)"},
		{"//protect:brekaer", "11: unknown directive brekaer (did you mean breaker?)"},
		{"//protect:xyzzyxyzzy", "11: unknown directive xyzzyxyzzy (known are breaker, bulkhead, fallback, limit, off, pool, retry, timeout, wrap)"},
		{"//protect:limit=100/1m", "11: unknown directive limit=100/1m (write //protect:limit 100/1m)"},
		{"//protect:limit(100/1m)", "11: unknown directive limit(100/1m) (write //protect:limit 100/1m)"},
		{"//protect:limit 100/1m kee=userID", "24: limit: unknown key kee (did you mean key?)"},
		{"//protect:breaker failure_threshold=5", "19: breaker: unknown key failure_threshold (known are failure, failures, ignore, methods, name, needs, of, probes, rate, recovery, slow, within)"},
		{"//protect:breaker Failures=5", "19: breaker: unknown key Failures (did you mean failures?)"},
		{"//protect:limit rate=100/1m", "17: limit: rate has no key of its own (write it without rate=: //protect:limit 100/1m)"},
		{"//protect:pool name=replicas size=3", "16: pool: name has no key of its own (write it without name=: //protect:pool replicas)"},
		{"//protect:limit100/1m key=a", "11: unknown directive limit100/1m (write //protect:limit 100/1m key=a)"},
		{"//protect:limit 100/1m key=a key=b", "30: limit: key stands twice"},
		{"//protect:breaker failures=3 failures=3", "30: breaker: failures stands twice"},

		// Positional arguments.
		{"//protect:limit", "1: limit: rate is missing (write //protect:limit 100/1m key=userID)"},
		{"//protect:timeout", "1: timeout: timeout is missing (write //protect:timeout 2s)"},
		{"//protect:retry backoff=1s", "1: retry: attempts is missing (write //protect:retry 3 backoff=100ms max=2s)"},
		{"//protect:fallback", "1: fallback: func is missing (write //protect:fallback cachedForecast)"},
		{"//protect:limit 100/1m 5/1s", "24: limit: unexpected 5/1s (limit takes one rate; what else it takes is written key=value)"},
		{"//protect:breaker 5", "19: breaker: unexpected 5 (what breaker takes is written key=value)"},
		{"//protect:breaker failures = 5", "19: breaker: unexpected failures (write failures=N, without spaces around the =)"},
		{"//protect:breaker failures= 5", "28: breaker: failures has no value (write a whole number: 10)\n29: breaker: unexpected 5 (write failures=5, without spaces around the =)"},
		{"//protect:breaker failures: 5", "19: breaker: unexpected failures: (write failures=N, without spaces around the =)"},
		{"//protect:breaker failures:5", "19: breaker: unexpected failures:5 (write failures=5)"},
		{"//protect:pool size = 5", "16: pool: unexpected size (write size=N, without spaces around the =)"},
		{"//protect:breaker ignore=ErrA, ErrB", "31: breaker: ignore: nothing stands between the commas\n32: breaker: unexpected ErrB (write a list without spaces around its commas)"},
		{"//protect:timeout 2s limit 5/s", "22: timeout: unexpected limit (one directive a line: write //protect:limit)"},
		{"//protect:timeout 2s // for all", "22: timeout: a directive takes the whole line (put the comment on a line of its own)"},

		// Counts.
		{"//protect:breaker failures=many", "28: breaker: failures: many is not a whole number (write a whole number: 10)"},
		{"//protect:breaker failures=5.5", "28: breaker: failures: 5.5 is not a whole number (write a whole number: 10)"},
		{"//protect:breaker failures=+5", "28: breaker: failures: +5 is not a whole number (write a whole number: 10)"},
		{"//protect:breaker failures=0x10", "28: breaker: failures: 0x10 is not a whole number (write a whole number: 10)"},
		{"//protect:breaker failures=99999999999999999999", "28: breaker: failures: 99999999999999999999 is too large"},
		{"//protect:breaker failures=3000000000", "19: breaker: failures: 3000000000 is more than 2147483647"},
		{"//protect:breaker failures=-1", "19: breaker: failures: -1 is negative"},
		{"//protect:breaker failures=0", "28: breaker: failures: 0 makes no sense (leave it out for the default, 5)"},
		{"//protect:breaker probes=0", "26: breaker: probes: 0 makes no sense (leave it out for the default, 1)"},
		{"//protect:pool size=0", "21: pool: size: 0 makes no sense (leave it out for the default, 10)"},
		{"//protect:pool size=", "21: pool: size has no value (write a whole number: 10)"},
		{"//protect:bulkhead 0", "20: bulkhead: max: 0 makes no sense (write a whole number: 10)"},
		{"//protect:retry 0", "17: retry: attempts: 0 makes no sense (write a whole number: 10)"},
		{"//protect:retry -2", "17: retry: attempts: -2 is negative"},
		{"//protect:pool size=5 prefill=6", "23: pool: prefill: 6 is more than size 5"},
		{"//protect:pool size=2147483647 overflow=1", "32: pool: overflow: size and overflow together are more than 2147483647"},

		// Rates.
		{"//protect:limit 100", "17: limit: rate: 100 calls in what time? (write 100/1m, or 100/s, 100/m, 100/h)"},
		{"//protect:limit 100/", "17: limit: rate: 100 calls in what time? (write 100/1m, or 100/s, 100/m, 100/h)"},
		{"//protect:limit 0/1m", "17: limit: rate: 0 lets no call pass; the limit must be at least 1"},
		{"//protect:limit -5/1m", "17: limit: rate: -5 is negative"},
		{"//protect:limit 99999999999999999999/1m", "17: limit: rate: 99999999999999999999 calls are too many"},
		{"//protect:limit 9007199254740993/1m", "17: limit: rate: 9007199254740993 is more than 9007199254740992"},
		{"//protect:limit fast", "17: limit: rate: fast is not a limit (write a number of calls and a time: 100/1m, or 100/s, 100/m, 100/h)"},
		{"//protect:limit 100/60", "21: limit: rate: 60 has no unit (write 60s)"},
		{"//protect:limit 100/0s", "21: limit: rate: 0s makes no sense (write a number of calls and a time: 100/1m, or 100/s, 100/m, 100/h)"},
		{"//protect:limit 100/d", "21: limit: rate: d is not a duration (write a number of calls and a time: 100/1m, or 100/s, 100/m, 100/h)"},
		{"//protect:limit 100/1d", "21: limit: rate: 1d is not a duration (write 24h)"},
		{"//protect:limit 100/-1m", "17: limit: rate: -1m0s is negative"},

		// Shares.
		{"//protect:breaker rate=0.5 of=20 within=10s", "24: breaker: rate: 0.5 is not a percentage (write 50%)"},
		{"//protect:breaker rate=50 of=20 within=10s", "24: breaker: rate: 50 is not a percentage (write 50%)"},
		{"//protect:breaker rate=half of=20 within=10s", "24: breaker: rate: half is not a percentage (write 50%)"},
		{"//protect:breaker rate=NaN% of=20 within=10s", "24: breaker: rate: NaN% is not a percentage (write 50%)"},
		{"//protect:breaker rate=-5% of=20 within=10s", "24: breaker: rate: -5% is negative"},
		{"//protect:breaker rate=0x1p4% of=20 within=10s", "24: breaker: rate: 0x1p4% is not a percentage (write 50%)"},
		{"//protect:breaker rate=0% of=20 within=10s", "24: breaker: rate: 0% makes no sense (leave it out for none)"},
		{"//protect:breaker rate=150% of=20 within=10s", "24: breaker: rate: 150% is more than 100%"},
		{"//protect:retry 3 backoff=10s", "19: retry: backoff: 10s is more than max, which is by default 2s (no wait is longer than max; write a larger max=, or a smaller backoff=)"},
		{"//protect:retry 3 max=1s backoff=1500ms", "26: retry: backoff: 1500ms is more than max 1s (no wait is longer than max; write a larger max=, or a smaller backoff=)"},
		{"//protect:breaker rate=50%", "1: breaker: a rate needs of: the calls to see before it is judged\n1: breaker: a rate needs within: the time that it is taken over"},
		{"//protect:breaker of=20", "19: breaker: of: of goes with rate"},
		{"//protect:breaker rate=50% of=20 within=10s failures=5", "45: breaker: failures: a breaker opens on failures or on a rate, not on both"},

		// Durations.
		{"//protect:timeout 30", "19: timeout: timeout: 30 has no unit (write 30s)"},
		{"//protect:timeout 0", "19: timeout: timeout: 0 makes no sense (write a duration with its unit: 300ms, 2s, 1m30s, 12h)"},
		{"//protect:timeout 0s", "19: timeout: timeout: 0s makes no sense (write a duration with its unit: 300ms, 2s, 1m30s, 12h)"},
		{"//protect:timeout -2s", "19: timeout: timeout: -2s is negative"},
		{"//protect:timeout soon", "19: timeout: timeout: soon is not a duration (write a duration with its unit: 300ms, 2s, 1m30s, 12h)"},
		{"//protect:timeout 2weeks", "19: timeout: timeout: 2weeks is not a duration (write 336h)"},
		{"//protect:timeout 9999999h", "19: timeout: timeout: 9999999h is too long: the longest is 2562047h47m16.854775807s"},
		{"//protect:timeout forever", "19: timeout: timeout: forever is not a duration (write a duration with its unit: 300ms, 2s, 1m30s, 12h)"},
		{"//protect:pool wait=0s", "21: pool: wait: 0s makes no sense (leave it out for the default, 5s)"},
		{"//protect:pool idle=0s", "21: pool: idle: 0s makes no sense (leave it out for none)"},
		{"//protect:breaker recovery=30", "28: breaker: recovery: 30 has no unit (write 30s)"},

		// Names and words.
		{"//protect:limit 1/s onerror=alow", "29: limit: onerror: alow is none of deny, allow, local (did you mean allow?)"},
		{`//protect:breaker name="a b"`, "26: breaker: name: ' ' cannot be part of a name"},
		{"//protect:breaker name=a,b", "25: breaker: name: ',' cannot be part of a name"},
		{"//protect:breaker needs=a,,b", "27: breaker: needs: nothing stands between the commas"},
		{"//protect:breaker needs=a,a", "27: breaker: needs: a stands twice"},
		{"//protect:wrap name=9Lives", "21: wrap: name: 9Lives is not an identifier of Go"},
		{"//protect:wrap name=type", "21: wrap: name: type is not an identifier of Go"},
		{"//protect:timeout 2s methods=[", "30: timeout: this [ is never closed"},
		{"//protect:timeout 2s methods=a/b", "30: timeout: methods: a/b matches no method"},
		{"//protect:off limt", "15: off: layer: limt is none of limit, breaker, pool, bulkhead, timeout, retry, fallback (did you mean limit?)"},
		{"//protect:off limit,retry", "15: off: layer: limit,retry is none of limit, breaker, pool, bulkhead, timeout, retry, fallback (write them with spaces between: limit retry)"},
		{"//protect:off limit limit", "21: off: limit stands twice"},

		// Expressions.
		{"//protect:limit 1/s key=tenant(ctx", "31: limit: this ( is never closed"},
		{"//protect:limit 1/s key=tenant)", "31: limit: nothing is open that this ) would close"},
		{"//protect:limit 1/s key=a[1)", "28: limit: nothing is open that this ) would close"},
		{`//protect:limit 1/s key="abc`, "25: limit: this quote has no end, or what it quotes is not written as in Go"},
		{"//protect:limit 1/s key=a+", "25: limit: key: a+ is not an expression of Go"},
		{"//protect:limit 1/s key=a//b", "26: limit: key: a comment stands in the expression"},
		{`//protect:limit 1/s key=f("//"+a/*b*/)`, "33: limit: key: a comment stands in the expression"},
		{`//protect:limit 1/s key="a +\n b"`, "26: limit: key: an expression stands on one line"},
		{"//protect:breaker ignore=ErrX,ErrY//no", "35: breaker: ignore: a comment stands in the expression"},
		{"//protect:retry 2 when=f//no", "25: retry: when: a comment stands in the expression"},
		{"//protect:limit 1/s key=a + b", "27: limit: unexpected + (an expression with spaces stands in quotes, as in key=\"a + b\")"},
		{"//protect:limit 1/s scale=f()", "27: limit: scale: f() is not the name of a function (write a function of the package, or a qualified one of a package that the file imports)"},
		{"//protect:fallback _", "20: fallback: func: _ is not the name of a function (write a function of the package, or a qualified one of a package that the file imports)"},
		{"//protect:fallback a.b.c", "20: fallback: func: a.b.c is not the name of a function (write a function of the package, or a qualified one of a package that the file imports)"},

		// Nearly directives.
		{"// protect:limit 100/1m", "1: this is nearly a directive, and would do nothing (write //protect:limit 100/1m)"},
		{"//protect:Limit 100/1m", "1: this is nearly a directive, and would do nothing (write //protect:limit 100/1m)"},
		{"//protect: limit 100/1m", "1: this is nearly a directive, and would do nothing (write //protect:limit 100/1m)"},
		{"//Protect:limit 100/1m", "1: this is nearly a directive, and would do nothing (write //protect:limit 100/1m)"},
		{"//PROTECT:LIMIT 100/1m", "1: this is nearly a directive, and would do nothing (write //protect:limit 100/1m)"},
		{"/*protect:limit 100/1m*/", "3: this is nearly a directive, and would do nothing (write //protect:limit 100/1m)"},
		{"/*\n * protect:limit 100/1m\n */", "7: this is nearly a directive, and would do nothing (write //protect:limit 100/1m)"},
		{"//protect :limit 100/1m", "1: this is nearly a directive, and would do nothing (write //protect:limit 100/1m)"},
		{"//\tprotect:timeout 2s", "1: this is nearly a directive, and would do nothing (write //protect:timeout 2s)"},
		{"//protct:limit 100/1m", "1: this is nearly a directive, and would do nothing (write //protect:limit 100/1m)"},
		{"//protectgen:limit 100/1m", "1: this is nearly a directive, and would do nothing (write //protect:limit 100/1m)"},
		{"// protect: limit 100/1m", "1: this is nearly a directive, and would do nothing (write //protect:limit 100/1m)"},
		{"//protect.limit 100/1m", "1: this is nearly a directive, and would do nothing (write //protect:limit 100/1m)"},
		{"// protect-limit 100/1m", "1: this is nearly a directive, and would do nothing (write //protect:limit 100/1m)"},
		{"//protect limit 100/1m", "1: this is nearly a directive, and would do nothing (write //protect:limit 100/1m)"},
		{"//protect/breaker", "1: this is nearly a directive, and would do nothing (write //protect:breaker)"},
		{"//protect:", "1: this names no directive (known are breaker, bulkhead, fallback, limit, off, pool, retry, timeout, wrap)"},
		{"//protect:Xyzzyxyzzy 5", "11: unknown directive Xyzzyxyzzy (known are breaker, bulkhead, fallback, limit, off, pool, retry, timeout, wrap)"},
		{"//protect:-", "11: unknown directive - (known are breaker, bulkhead, fallback, limit, off, pool, retry, timeout, wrap)"},
		{"// protect:timeot 2s", "1: this is nearly a directive, and would do nothing (write //protect:timeout 2s)"},

		// Several in one line are all reported.
		{"//protect:breaker failures=x recovery=5", "28: breaker: failures: x is not a whole number (write a whole number: 10)\n39: breaker: recovery: 5 has no unit (write 5s)"},
	} {
		if got := strings.Join(problemsOf(c.comment), "\n"); got != c.want {
			t.Errorf("%s\n got: %s\nwant: %s", c.comment, got, c.want)
		}
	}
}

func TestOtherCommentsAreLeftAlone(t *testing.T) {
	for _, comment := range []string{
		"// Weather is a client.",
		"//go:generate protectgen",
		"//nolint:errcheck",
		"// protect: the mutex below",
		"// protect: limit the number of callers",
		"// protect the limit",
		"//protect: the mutex below",
		"//protect:\tthe mutex below",
		"// protect:",
		"//protect",
		"// protect.pool",
		"// protect.Pool",
		"//protect.Breaker",
		"// protect limit 100/1m",
		"//protect breaker",
		"// protect-wrap",
		"// We write //protect:limit 100/1m on methods.",
		"//	//protect:limit 100/1m",
		"//",
		"/**/",
		"// see http://protect:limit@example.com",
		"//project:limit 5",
	} {
		if d, problems, ok := Parse(1, comment); ok {
			t.Errorf("%s is taken for a directive: %v %v", comment, d, problems)
		}
	}
}

func TestCorrectDirectives(t *testing.T) {
	for _, comment := range []string{
		"//protect:wrap",
		"//protect:wrap name=SafeWeather",
		"//protect:limit 100/1m key=userID",
		"//protect:limit 100/s",
		"//protect:limit 100/m",
		"//protect:limit 100/h",
		"//protect:limit 1/1m30s wait=0s onerror=local scale=load.Factor name=api:v1/eu",
		"//protect:limit 1/s wait=forever",
		`//protect:limit 1/s key=a.B(c, "x y)")`,
		`//protect:limit 1/s key="a + b"`,
		"//protect:limit 1/s key=a==b",
		"//protect:breaker",
		"//protect:breaker\tfailures=5\trecovery=30s",
		"//protect:breaker   failures=5   ",
		"//protect:breaker rate=12.5% of=20 within=10s slow=1s probes=3",
		"//protect:breaker ignore=ErrX,*T,sql.ErrNoRows,*pkg.T[int,string] failure=judge needs=a,b.c",
		"//protect:pool",
		"//protect:pool replicas size=20 overflow=0 prefill=0 wait=forever idle=1m life=1h broken=isBroken methods=Get*,List?",
		"//protect:bulkhead 10 wait=100ms",
		"//protect:timeout 2s methods=*",
		"//protect:retry 3 backoff=100ms max=2s when=pkg.Retryable",
		"//protect:fallback cached",
		"//protect:fallback next",
		"//protect:off",
		"//protect:off limit breaker",
	} {
		if d, problems, ok := Parse(1, comment); !ok || d == nil || len(problems) > 0 || d.Bad {
			t.Errorf("%s: %v %v %v", comment, ok, d, problems)
		}
	}
}

func TestExamplesOfTheSchemaAreCorrect(t *testing.T) {
	for _, s := range specs {
		for _, e := range s.Example {
			if d, problems, ok := Parse(1, e); !ok || d == nil || len(problems) > 0 {
				t.Errorf("%s: %v", e, problems)
			}
		}
		for _, p := range append(s.Args, s.Keys...) {
			if p.Default == "" {
				continue
			}
			if _, problem := p.value(field{p.Default, 1}); problem != nil && !strings.Contains(problem.Message, "makes no sense") {
				t.Errorf("default of %s %s: %v", s.Name, p.Name, problem)
			}
		}
	}
}

func TestValuesReachThePolicy(t *testing.T) {
	var p protect.Policy
	for _, comment := range []string{
		"//protect:limit 100/1m wait=2s onerror=local",
		"//protect:breaker rate=50% of=20 within=10s recovery=1m probes=2 slow=3s needs=a,b",
		"//protect:pool size=3 overflow=2 wait=forever idle=1m life=1h prefill=1",
		"//protect:bulkhead 7 wait=1s",
		"//protect:timeout 2s",
		"//protect:retry 3 backoff=1s max=4s",
	} {
		d, problems, _ := Parse(1, comment)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		d.Apply(&p)
	}
	want := protect.Policy{
		Timeout:  2 * time.Second,
		Retry:    &protect.RetryPolicy{Attempts: 3, Backoff: time.Second, Max: 4 * time.Second},
		Limit:    &protect.LimitPolicy{Tokens: 100, Window: time.Minute, Wait: 2 * time.Second, OnError: protect.Local},
		Breaker:  &protect.BreakerPolicy{Rate: 0.5, Of: 20, Within: 10 * time.Second, Recovery: time.Minute, Probes: 2, Slow: 3 * time.Second, Needs: []string{"a", "b"}},
		Bulkhead: &protect.BulkheadPolicy{Max: 7, Wait: time.Second},
		Pool:     &protect.PoolPolicy{Size: 3, Overflow: 2, Wait: protect.Forever, Idle: time.Minute, Life: time.Hour, Prefill: 1},
	}
	if got, want := format(p), format(want); got != want {
		t.Errorf("\n got: %s\nwant: %s", got, want)
	}
}

func TestAShareIsTheNearestNumber(t *testing.T) {
	for text, want := range map[string]float64{"33.3%": 0.333, "33.333%": 0.33333, "7%": 0.07, "100%": 1, "0.0001%": 0.000001} {
		var p protect.Policy
		d, problems, _ := Parse(1, "//protect:breaker rate="+text+" of=20 within=10s")
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		d.Apply(&p)
		if p.Breaker.Rate != want {
			t.Errorf("%s is %v, want %v", text, p.Breaker.Rate, want)
		}
	}
}

// format prints a policy with what its sections point to.
func format(p protect.Policy) string {
	return fmt.Sprintf("%v %+v %+v %+v %+v %+v", p.Timeout, *p.Retry, *p.Limit, *p.Breaker, *p.Bulkhead, *p.Pool)
}

func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		comment string
		at      Place
		want    string
	}{
		{"//protect:wrap name=X", OnMethod, "1: wrap stands on an interface, not on a method"},
		{"//protect:limit 1/s methods=Get*", OnMethod, "21: limit: methods= stands on an interface, not on a method"},
		{"//protect:limit 1/s methods=Get*", OnInterface, ""},
		{"//protect:limit 1/s key=id", OnMethod, ""},
	} {
		d, _, _ := Parse(1, c.comment)
		var got []string
		for _, p := range d.Place(c.at) {
			got = append(got, fmt.Sprintf("%d: %s", p.Pos, p.Message))
		}
		if s := strings.Join(got, "\n"); s != c.want {
			t.Errorf("%s\n got: %s\nwant: %s", c.comment, s, c.want)
		}
	}
}

func TestPositionsOfItems(t *testing.T) {
	for _, comment := range []string{
		`//protect:breaker ignore=ErrA,*T needs=x,y methods=Get*,List failure=f`,
		`//protect:breaker ignore="ErrA, *T" needs=" x ,y" methods="Get*, List" failure=" f "`,
	} {
		d, problems, _ := Parse(1, comment)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		var texts []string
		for _, key := range []string{"ignore", "needs", "methods", "failure"} {
			arg, _ := d.Arg(key)
			items, ok := arg.Value.([]Item)
			if !ok {
				items = []Item{arg.Value.(Item)}
			}
			for _, item := range items {
				texts = append(texts, item.Text)
				if got := comment[item.Pos-1:][:len(item.Text)]; got != item.Text {
					t.Errorf("%s stands at %q", item.Text, got)
				}
			}
		}
		if want := []string{"ErrA", "*T", "x", "y", "Get*", "List", "f"}; !slices.Equal(texts, want) {
			t.Errorf("%s: %q, want %q", comment, texts, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range specs {
		for _, e := range s.Example {
			f.Add(e)
		}
	}
	f.Add("/* protect:limit\n*/")
	f.Add(`//protect:limit 1/s key=a.B(c, "x y`)
	f.Add("//protect:off \xff\u00a0limit")
	f.Fuzz(func(t *testing.T, comment string) {
		const base token.Pos = 1000
		d, problems, ok := Parse(base, comment)
		if !ok && (d != nil || len(problems) > 0) {
			t.Fatalf("not a directive, and yet %v %v", d, problems)
		}
		if ok && d == nil && len(problems) == 0 {
			t.Fatal("neither a directive nor a problem")
		}
		inside := func(pos token.Pos) {
			if pos < base || pos > base+token.Pos(len(comment)) {
				t.Fatalf("position %d is outside the comment", pos-base)
			}
		}
		for _, p := range problems {
			inside(p.Pos)
			if p.Message == "" {
				t.Fatal("a problem without a message")
			}
		}
		if d == nil {
			return
		}
		if d.Bad != (len(problems) > 0) {
			t.Fatalf("Bad is %v with problems %v", d.Bad, problems)
		}
		for _, a := range d.Args {
			inside(a.Pos)
			if !d.Bad && a.Value == nil {
				t.Fatalf("%s has no value", a.Param.Name)
			}
		}
		var p protect.Policy
		d.Apply(&p)
		if !d.Bad && p.Validate() != nil {
			t.Fatalf("accepted, and yet %v", p.Validate())
		}
	})
}
