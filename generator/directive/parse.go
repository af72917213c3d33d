package directive

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Prefix is what every directive begins with.
const Prefix = "//protect:"

// Problem is a mistake in a directive, and where it is.
type Problem struct {
	Pos     token.Pos
	Message string
	Hint    string // what to write instead, may be empty
}

// Directive is a directive as it stands in a file.
type Directive struct {
	Spec *Spec
	Pos  token.Pos // of the slashes
	Args []Arg     // positional ones first, each group in source order
	Bad  bool      // something is wrong with it; Args has what is not
}

// Arg is one argument of a directive.
type Arg struct {
	Param *Param
	Pos   token.Pos // of the key, or of the value of a positional one
	Text  string    // the value as it was written
	Value any       // see [Type]
}

// Parse reads one comment that begins at pos, slashes included. It returns
// false for a comment that has nothing to do with the language. A directive
// that is not known, and a comment that is nearly a directive, have problems
// and are nil.
func Parse(pos token.Pos, comment string) (*Directive, []Problem, bool) {
	line, ok := ast.ParseDirective(pos, comment)
	if !ok || line.Tool != "protect" {
		problem, near := nearly(pos, comment)
		if !near {
			return nil, nil, false
		}
		return nil, []Problem{problem}, true
	}
	spec := Lookup(line.Name)
	if spec == nil {
		return nil, []Problem{unknown(pos+token.Pos(len(Prefix)), line)}, true
	}
	p := reader{d: &Directive{Spec: spec, Pos: pos}}
	fs, problem := fields(line.ArgsPos, line.Args)
	p.read(fs)
	if problem != nil {
		p.report(*problem)
	} else {
		p.missing()
	}
	if len(p.problems) == 0 {
		p.problems = p.d.validate()
	}
	p.d.Bad = len(p.problems) > 0
	return p.d, p.problems, true
}

// Arg returns the argument of a name: a key, or what the schema calls a
// positional argument.
func (d *Directive) Arg(name string) (Arg, bool) {
	for _, a := range d.Args {
		if a.Param.Name == name {
			return a, true
		}
	}
	return Arg{}, false
}

// Bare reports whether the directive sets nothing but the name of its part
// and the methods that it holds for.
func (d *Directive) Bare() bool {
	return !slices.ContainsFunc(d.Args, func(a Arg) bool { return a.Param.Name != "name" && a.Param.Name != "methods" })
}

// Place reports what cannot stand where the directive does.
func (d *Directive) Place(at Place) []Problem {
	where := map[Place]string{OnInterface: "an interface", OnMethod: "a method"}
	if d.Spec.Place&at == 0 {
		return []Problem{{Pos: d.Pos, Message: fmt.Sprintf("%s stands on %s, not on %s", d.Spec.Name, where[d.Spec.Place], where[at])}}
	}
	var problems []Problem
	for _, a := range d.Args {
		if a.Param.place(d.Spec)&at == 0 {
			problems = append(problems, Problem{Pos: a.Pos, Message: fmt.Sprintf("%s: %s= stands on %s, not on %s", d.Spec.Name, a.Param.Name, where[a.Param.place(d.Spec)], where[at])})
		}
	}
	return problems
}

type reader struct {
	d        *Directive
	problems []Problem
}

func (p *reader) report(problem Problem) {
	problem.Message = p.d.Spec.Name + ": " + problem.Message
	p.problems = append(p.problems, problem)
}

// read sorts the fields into positional arguments and keys.
func (p *reader) read(fs []field) {
	spec := p.d.Spec
	var keyed []Arg
	position := 0
	for i, f := range fs {
		key, value, ok := f.split()
		if !ok {
			if strings.HasPrefix(f.text, "//") {
				p.report(Problem{Pos: f.pos, Message: "a directive takes the whole line", Hint: "put the comment on a line of its own"})
				break
			}
			if position < len(spec.Args) && !p.spaced(fs, i) {
				param := &spec.Args[position]
				p.d.Args = p.add(p.d.Args, Arg{Param: param, Pos: f.pos}, f)
				if !param.Repeat {
					position++
				}
				continue
			}
			p.surplus(fs, i)
			break
		}
		param := spec.key(key)
		switch {
		case param == nil && len(spec.Args) > 0 && spec.Args[0].Name == key:
			p.report(Problem{Pos: f.pos, Message: fmt.Sprintf("%s has no key of its own", key), Hint: strings.TrimSpace("write it without " + key + "=: " + Prefix + spec.Name + " " + value.text)})
			p.d.Args = append(p.d.Args, Arg{Param: &spec.Args[0], Pos: f.pos}) // it is not missing as well
		case param == nil:
			p.report(Problem{Pos: f.pos, Message: "unknown key " + key, Hint: didYouMean(key, spec.keys())})
		case slices.ContainsFunc(keyed, func(a Arg) bool { return a.Param == param }):
			p.report(Problem{Pos: f.pos, Message: key + " stands twice"})
		default:
			keyed = p.add(keyed, Arg{Param: param, Pos: f.pos}, value)
		}
	}
	p.d.Args = append(p.d.Args, keyed...)
}

// add reads a value and appends its argument, or reports what is wrong with it.
func (p *reader) add(args []Arg, a Arg, f field) []Arg {
	a.Text = f.text
	value, problem := a.Param.value(f.unquote())
	if problem != nil {
		p.report(*problem)
		// Kept for its place: what is there is not missing as well.
		return append(args, a)
	}
	a.Value = value
	if a.Param.Repeat && slices.ContainsFunc(args, func(b Arg) bool { return b.Value == value }) {
		p.report(Problem{Pos: a.Pos, Message: fmt.Sprintf("%v stands twice", value)})
		return args
	}
	return append(args, a)
}

// spaced reports whether a field is the key of key = value.
func (p *reader) spaced(fs []field, i int) bool {
	return p.d.Spec.key(fs[i].text) != nil && i+1 < len(fs) && strings.HasPrefix(fs[i+1].text, "=")
}

// surplus reports a field that is neither a key nor a positional argument.
func (p *reader) surplus(fs []field, i int) {
	f, spec := fs[i], p.d.Spec
	problem := Problem{Pos: f.pos, Message: "unexpected " + f.text}
	word := strings.TrimRight(f.text, ":")
	switch name, value, colon := strings.Cut(f.text, ":"); {
	case i > 0 && strings.HasSuffix(fs[i-1].text, ","), strings.HasPrefix(f.text, ","):
		problem.Hint = "write a list without spaces around its commas"
	case i > 0 && spec.key(strings.TrimSuffix(fs[i-1].text, "=")) != nil:
		problem.Hint = "write " + fs[i-1].text + f.text + ", without spaces around the ="
	case i > 0 && p.isExpr(fs[i-1]):
		problem.Hint = `an expression with spaces stands in quotes, as in key="a + b"`
	case spec.key(word) != nil:
		problem.Hint = "write " + word + "=" + placeholderOf(spec.key(word)) + ", without spaces around the ="
	case colon && spec.key(name) != nil:
		problem.Hint = "write " + name + "=" + value
	case Lookup(f.text) != nil:
		problem.Hint = "one directive a line: write " + Prefix + f.text
	case len(spec.Args) > 0:
		problem.Hint = fmt.Sprintf("%s takes one %s; what else it takes is written key=value", spec.Name, spec.Args[0].Name)
	default:
		problem.Hint = fmt.Sprintf("what %s takes is written key=value", spec.Name)
	}
	p.report(problem)
}

// isExpr reports whether a field is a key whose value is an expression.
func (p *reader) isExpr(f field) bool {
	key, _, ok := f.split()
	param := p.d.Spec.key(key)
	return ok && param != nil && param.Type == Expr
}

// missing reports the positional arguments that are required and not there.
func (p *reader) missing() {
	for i := range p.d.Spec.Args {
		param := &p.d.Spec.Args[i]
		if _, ok := p.d.Arg(param.Name); param.Required && !ok {
			p.report(Problem{Pos: p.d.Pos, Message: param.Name + " is missing", Hint: "write " + p.d.Spec.Example[0]})
		}
	}
}

func (s *Spec) keys() []string {
	var names []string
	for _, k := range s.Keys {
		names = append(names, k.Name)
	}
	return names
}

func names() []string {
	var out []string
	for _, s := range specs {
		out = append(out, s.Name)
	}
	return out
}

// unknown is the problem of a directive that there is not.
func unknown(pos token.Pos, line ast.Directive) Problem {
	problem := Problem{Pos: pos, Message: "unknown directive " + line.Name, Hint: didYouMean(line.Name, names())}
	for _, name := range names() {
		rest, ok := strings.CutPrefix(line.Name, name)
		if r, _ := utf8.DecodeRuneInString(rest); ok && !unicode.IsLetter(r) { // limit:100/1m, limit100/1m
			rest = strings.Trim(rest, ":=,()")
			problem.Hint = strings.Join(strings.Fields("write "+Prefix+name+" "+rest+" "+line.Args), " ")
		}
	}
	return problem
}

// nearly reports a comment that looks like a directive and is none: one with
// a space before or after its parts, with capitals, between /* and */, without
// a name, with another sign for the colon, or of a tool whose name is nearly
// protect.
//
// Prose must pass: what follows the colon is the name of a directive, or next
// to it, and where there is a space on both sides (// protect: limit the
// number of calls) all of it must read as a directive.
func nearly(pos token.Pos, comment string) (Problem, bool) {
	if len(comment) < 2 {
		return Problem{}, false
	}
	if rest, ok := strings.CutPrefix(comment, Prefix); ok {
		words := strings.Fields(rest)
		if len(words) == 0 {
			return Problem{Pos: pos, Message: "this names no directive", Hint: didYouMean("", names())}, true
		}
		if _, near := isNearName(words[0]); !near && strings.HasPrefix(rest, words[0]) {
			return unknown(pos+token.Pos(len(Prefix)), ast.Directive{Name: words[0]}), true
		}
	}
	if correct, ok := otherSign(comment); ok {
		return Problem{Pos: pos, Message: notOne, Hint: "write " + correct}, true
	}
	block := strings.HasPrefix(comment, "/*")
	text := comment[2:]
	if block {
		text = strings.TrimSuffix(text, "*/")
	}
	at := pos + 2
	for line := range strings.Lines(text) {
		body := strings.TrimLeftFunc(line, func(r rune) bool { return unicode.IsSpace(r) || block && r == '*' })
		tool, rest, ok := strings.Cut(body, ":")
		indent := len(line) - len(body)
		if ok && isTool(strings.TrimSpace(tool)) {
			trimmed := strings.TrimSpace(rest)
			name, args, _ := strings.Cut(trimmed, " ")
			if near, ok := isNearName(name); ok {
				prose := indent > 0 && rest != strings.TrimLeftFunc(rest, unicode.IsSpace)
				correct := strings.TrimSpace(Prefix + near + " " + strings.TrimSpace(args))
				d, problems, _ := Parse(0, correct)
				if !prose || d != nil && len(problems) == 0 {
					start := pos
					if block {
						start = at + token.Pos(indent)
					}
					return Problem{Pos: start, Message: notOne, Hint: "write " + correct}, true
				}
			}
		}
		at += token.Pos(len(line))
	}
	return Problem{}, false
}

const notOne = "this is nearly a directive, and would do nothing"

// otherSign returns the directive that is meant by a comment with a dot, a
// dash, a slash or a space for the colon. Here prose is near: only what reads
// as a directive in all else is taken for one.
func otherSign(comment string) (correct string, ok bool) {
	body := strings.TrimLeft(comment[2:], " \t")
	rest, ok := strings.CutPrefix(body, "protect")
	if !ok || comment[1] != '/' || rest == "" || !strings.ContainsRune(".-_/ ", rune(rest[0])) {
		return "", false
	}
	correct = Prefix + strings.TrimSpace(rest[1:])
	d, problems, ok := Parse(0, correct)
	if !ok || d == nil || len(problems) > 0 {
		return "", false
	}
	// "// protect.pool" may be a name, "// protect limit" a sentence.
	bare, spaced := len(d.Args) == 0, rest[0] == ' '
	return correct, !(len(body) < len(comment)-2 && (bare || spaced)) && !(bare && spaced)
}

// isTool reports whether a word is protect, or so much like it that it was
// meant.
func isTool(word string) bool {
	switch word = strings.ToLower(word); word {
	case "protectgen":
		return true
	case "project": // a word of its own
		return false
	}
	return distance(word, "protect") <= 1
}

// isNearName returns the directive that a word is, but for capitals and one
// letter.
func isNearName(word string) (string, bool) {
	word = strings.ToLower(strings.TrimRight(word, ",;"))
	for _, name := range names() {
		if word == name || len(name) > 4 && distance(word, name) <= 1 {
			return name, true
		}
	}
	return "", false
}
