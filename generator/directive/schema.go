package directive

// Place says where a directive or a key may stand.
type Place int

// The places.
const (
	OnInterface Place = 1 << iota
	OnMethod
	Anywhere = OnInterface | OnMethod
)

// Spec declares a directive.
type Spec struct {
	Name    string
	Doc     string   // one sentence
	More    string   // what else its reader must know, may be empty
	Example []string // lines as they are written in a source file
	Place   Place
	Section string  // the field of protect.Policy that it fills, empty for none
	Args    []Param // positional, in order
	Keys    []Param // key=value, in any order
}

// Param declares an argument of a directive: positional, or a key.
type Param struct {
	Name     string // the key; of a positional argument, what it is called
	Type     Type
	Doc      string
	Default  string // as it would be written, empty for none
	Required bool   // of positional arguments
	Repeat   bool   // of the last positional argument: it may stand several times
	Zero     bool   // an explicit 0 makes sense
	Place    Place  // 0 is the directive's
	Field    string // the field of the section that it sets, empty for none
	Words    []string
}

// Type is what a value may be, and decides what [Arg.Value] holds.
type Type int

// The types of values.
const (
	Count    Type = iota // 10: int
	PerTime              // 100/1m: Rate
	Percent              // 50%: float64, the share from 0 to 1
	Duration             // 2s: time.Duration
	Wait                 // 2s or forever: time.Duration
	Name                 // alerts: string
	Ident                // ProtectedWeather: string, an identifier of Go
	Word                 // one of Param.Words: string
	Names                // a,b: []Item
	Patterns             // Get*,List: []Item
	Errors               // ErrX,*T: []Item, each with an expression
	Func                 // f or pkg.f: Item with an expression
	Expr                 // an expression: Item with an expression
)

// placeholder is what help and usage lines write for a value of the type.
var placeholder = [...]string{
	Count:    "N",
	PerTime:  "N/DURATION",
	Percent:  "N%",
	Duration: "DURATION",
	Wait:     "DURATION",
	Name:     "NAME",
	Ident:    "NAME",
	Word:     "",
	Names:    "NAME,...",
	Patterns: "PATTERN,...",
	Errors:   "ErrX,*T",
	Func:     "FUNC",
	Expr:     "EXPR",
}

// syntax says how values of the type are written.
var syntax = [...]string{
	Count:    "a whole number: 10",
	PerTime:  "a number of calls and a time: 100/1m, or 100/s, 100/m, 100/h",
	Percent:  "a percentage: 50%",
	Duration: "a duration with its unit: 300ms, 2s, 1m30s, 12h",
	Wait:     "a duration with its unit, 300ms or 2s, or forever: as long as the context",
	Name:     "a name without spaces or commas",
	Ident:    "an identifier of Go",
	Word:     "one of the words listed",
	Names:    "names, separated by commas without spaces",
	Patterns: "method names, * and ? match any letters and any letter, separated by commas without spaces",
	Errors:   "errors (ErrX, sql.ErrNoRows) and error types (*T), separated by commas without spaces",
	Func:     "a function of the package, or a qualified one of a package that the file imports",
	Expr:     "an expression over the method's parameters, and functions of the package or of packages that the file imports",
}

// methods selects some of the methods that a directive on an interface holds for.
var methods = Param{
	Name: "methods", Type: Patterns, Place: OnInterface,
	Doc: "only the methods of these names, embedded ones included; replaces a directive without methods= there",
}

// layers are the directives that put a layer around a call, in the order in
// which help tells of them: what off removes.
var layers = []string{"limit", "breaker", "pool", "bulkhead", "timeout", "retry", "fallback"}

// specs is the whole language.
var specs = []*Spec{
	{
		Name:    "wrap",
		Doc:     "Asks for a wrapper of the interface, and names it.",
		More:    "Any other directive on the interface or on one of its methods asks for a wrapper as well.",
		Example: []string{"//protect:wrap name=SafeWeather"},
		Place:   OnInterface,
		Keys: []Param{
			{Name: "name", Type: Ident, Doc: "the wrapper's type; its constructor is New and this name; by default Protected and the interface's name"},
		},
	},
	{
		Name:    "limit",
		Doc:     "Lets at most N calls pass in each window of time, for each key.",
		More:    "Windows are fixed and begin with the first call of a key: up to twice N can pass around the boundary of two windows. An open breaker refuses before a token is spent.",
		Example: []string{"//protect:limit 100/1m key=userID", "//protect:limit 10/s key=req.Tenant.ID wait=200ms"},
		Place:   Anywhere,
		Section: "Limit",
		Args: []Param{
			{Name: "rate", Type: PerTime, Required: true, Field: "Tokens,Window", Doc: "calls, and the window that they are counted in"},
		},
		Keys: []Param{
			{Name: "key", Type: Expr, Doc: "what the calls are counted by: a string, an integer or a fmt.Stringer; one that panics fails the call, as a panic of it would; without it all calls share one bucket"},
			{Name: "name", Type: Name, Doc: "the limiter's name in the Runtime; limits of one name are one limiter"},
			{Name: "wait", Type: Wait, Default: "0s", Zero: true, Field: "Wait", Doc: "how long a call may wait for its token"},
			{Name: "onerror", Type: Word, Words: []string{"deny", "allow", "local"}, Default: "deny", Field: "OnError", Doc: "what to do when the store of the limit fails: refuse, let pass, or count in memory meanwhile"},
			{Name: "scale", Type: Func, Field: "Scale", Doc: "func() float64: a factor from 0 to 1 for N, asked on each call"},
			methods,
		},
	},
	{
		Name:    "breaker",
		Doc:     "Stops calling what keeps failing, and tries again after a while.",
		More:    "It opens on failures in a row, on failures within a time (within=), or on a share of failures (rate= of= within=).",
		Example: []string{"//protect:breaker failures=5 recovery=30s", "//protect:breaker rate=50% of=20 within=10s ignore=ErrNotFound,*ValidationError"},
		Place:   Anywhere,
		Section: "Breaker",
		Keys: []Param{
			{Name: "failures", Type: Count, Default: "5", Field: "Failures", Doc: "the Nth failure opens"},
			{Name: "within", Type: Duration, Field: "Within", Doc: "failures count for this long; without it they count while they come in a row"},
			{Name: "rate", Type: Percent, Field: "Rate", Doc: "the share of failures that opens, instead of failures="},
			{Name: "of", Type: Count, Field: "Of", Doc: "calls to see before rate= is judged"},
			{Name: "recovery", Type: Duration, Default: "30s", Field: "Recovery", Doc: "how long it stays open before probes may pass"},
			{Name: "probes", Type: Count, Default: "1", Field: "Probes", Doc: "calls at once while it probes, and the successes that close it"},
			{Name: "slow", Type: Duration, Field: "Slow", Doc: "a call that takes longer counts as a failure"},
			{Name: "name", Type: Name, Doc: "the breaker's name in the Runtime; breakers of one name are one breaker, and one without settings joins those with them"},
			{Name: "ignore", Type: Errors, Doc: "errors that say nothing about the callee's health"},
			{Name: "failure", Type: Func, Field: "Failure", Doc: "func(error) protect.Outcome: judges the errors that are not ignored"},
			{Name: "needs", Type: Names, Field: "Needs", Doc: "breakers this one depends on: while one of them is open, calls are refused; another package's has a dot in its name, and is not looked for"},
			methods,
		},
	},
	{
		Name:    "pool",
		Doc:     "Runs each call on an instance borrowed from a pool of the interface's implementations.",
		More:    "With a pool every method runs on a borrowed instance, so each must be able to report a refusal: it needs an error result. Close() error closes the pools instead.",
		Example: []string{"//protect:pool size=10 overflow=5", "//protect:pool replicas size=20 methods=Get*,List*"},
		Place:   Anywhere,
		Section: "Pool",
		Args: []Param{
			{Name: "name", Type: Name, Doc: "the pool's name in the Runtime, needed where an interface has several; a pool without settings joins the one of its name"},
		},
		Keys: []Param{
			{Name: "size", Type: Count, Default: "10", Field: "Size", Doc: "instances that stay"},
			{Name: "overflow", Type: Count, Default: "0", Zero: true, Field: "Overflow", Doc: "instances that may come on top, and are closed on return"},
			{Name: "wait", Type: Wait, Default: "5s", Field: "Wait", Doc: "how long a call may wait for an instance"},
			{Name: "idle", Type: Duration, Field: "Idle", Doc: "an instance unused for longer is closed"},
			{Name: "life", Type: Duration, Field: "Life", Doc: "an instance older than this is closed"},
			{Name: "prefill", Type: Count, Default: "0", Zero: true, Field: "Prefill", Doc: "instances made when the pool starts"},
			{Name: "broken", Type: Func, Doc: "func(error) bool: whether a call's error means that its instance must not be lent again"},
			methods,
		},
	},
	{
		Name:    "bulkhead",
		Doc:     "Lets at most N calls run at once.",
		Example: []string{"//protect:bulkhead 10 wait=100ms"},
		Place:   Anywhere,
		Section: "Bulkhead",
		Args: []Param{
			{Name: "max", Type: Count, Required: true, Field: "Max", Doc: "calls at once"},
		},
		Keys: []Param{
			{Name: "wait", Type: Wait, Default: "0s", Zero: true, Field: "Wait", Doc: "how long a call may wait for its place"},
			methods,
		},
	},
	{
		Name:    "timeout",
		Doc:     "Sets the deadline of the whole call: waiting, retries and running.",
		More:    "It reaches the callee through its context, so the method needs one.",
		Example: []string{"//protect:timeout 2s"},
		Place:   Anywhere,
		Args: []Param{
			{Name: "timeout", Type: Duration, Required: true, Field: "Timeout", Doc: "how long a call may take"},
		},
		Keys: []Param{methods},
	},
	{
		Name:    "retry",
		Doc:     "Tries a failed call again; every attempt passes limiter and breaker.",
		More:    "Attempts are spaced by backoff, doubled each time up to max, with jitter, and never less than what a refusal says to wait.",
		Example: []string{"//protect:retry 3 backoff=100ms max=2s"},
		Place:   Anywhere,
		Section: "Retry",
		Args: []Param{
			{Name: "attempts", Type: Count, Required: true, Field: "Attempts", Doc: "calls in all, the first included"},
		},
		Keys: []Param{
			{Name: "backoff", Type: Duration, Default: "100ms", Field: "Backoff", Doc: "the longest first wait"},
			{Name: "max", Type: Duration, Default: "2s", Field: "Max", Doc: "the longest wait of all"},
			{Name: "when", Type: Func, Field: "When", Doc: "func(error) bool: whether an error is worth another attempt"},
			methods,
		},
	},
	{
		Name:    "fallback",
		Doc:     "Calls a function with the arguments and the error when the call was refused or failed.",
		More:    "The function has the method's parameters and an error after them, and the method's results; for a generic interface it may have the interface's type parameters. On an interface, the word next instead of a function asks for a constructor, NewFallback and the interface's name, of a chain of implementations: it tries them in order and joins their errors.",
		Example: []string{"//protect:fallback cachedForecast", "//protect:fallback next"},
		Place:   Anywhere,
		Args: []Param{
			{Name: "func", Type: Func, Required: true, Doc: "what to call"},
		},
		Keys: []Param{methods},
	},
	{
		Name:    "off",
		Doc:     "Removes what the interface gave: the layers named, or all.",
		More:    "A pool stays: every method of a pooled interface runs on a borrowed instance. On the interface it needs methods=, for methods that come by embedding.",
		Example: []string{"//protect:off", "//protect:off limit retry", "//protect:off breaker methods=Ping"},
		Place:   Anywhere,
		Args: []Param{
			{Name: "layer", Type: Word, Words: layers, Repeat: true, Doc: "what to remove; all when there is none"},
		},
		Keys: []Param{methods},
	},
}

// Lookup returns the directive of a name, nil when there is none.
func Lookup(name string) *Spec {
	for _, s := range specs {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Layers returns the names of the directives that put a layer around a call.
func Layers() []string { return append([]string(nil), layers...) }

// key returns the key of a name, nil when there is none.
func (s *Spec) key(name string) *Param {
	for i := range s.Keys {
		if s.Keys[i].Name == name {
			return &s.Keys[i]
		}
	}
	return nil
}

// place is where the key may stand.
func (p *Param) place(s *Spec) Place {
	if p.Place != 0 {
		return p.Place
	}
	return s.Place
}
