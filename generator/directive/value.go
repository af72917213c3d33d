package directive

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	protect "github.com/protectgen/protectgen/runtime"
)

// Rate is the value of a [PerTime].
type Rate struct {
	Tokens uint64
	Window time.Duration
}

// Item is one value that names something: a function, an error, a method, or
// an expression.
type Item struct {
	Text string
	Pos  token.Pos
	Node ast.Expr // of Errors, Func and Expr; its positions are offsets in Text, from 1
}

// At returns where in the source file a position of the item's Node is.
func (i Item) At(p token.Pos) token.Pos { return i.Pos + p - 1 }

// value reads a field as a parameter wants it.
func (p *Param) value(f field) (any, *Problem) {
	if f.text == "" {
		return nil, &Problem{Pos: f.pos, Message: p.Name + " has no value", Hint: "write " + syntax[p.Type]}
	}
	if f.text == "next" && p.Type == Func && p.Name == "func" {
		return Item{Text: f.text, Pos: f.pos, Node: ast.NewIdent("next")}, nil
	}
	switch p.Type {
	case Count:
		return p.count(f)
	case PerTime:
		return p.rate(f)
	case Percent:
		return p.percent(f)
	case Duration, Wait:
		return p.duration(f)
	case Name:
		return f.text, p.name(f)
	case Ident:
		if !token.IsIdentifier(f.text) || f.text == "_" {
			return nil, p.problem(f.pos, "%s is not an identifier of Go", f.text)
		}
		return f.text, nil
	case Word:
		if !slices.Contains(p.Words, f.text) {
			hint := nearHint(f.text, p.Words)
			if words := strings.Split(f.text, ","); p.Repeat && len(words) > 1 {
				hint = "write them with spaces between: " + strings.TrimSpace(strings.Join(words, " "))
			}
			return nil, &Problem{Pos: f.pos, Message: fmt.Sprintf("%s: %s is none of %s", p.Name, f.text, strings.Join(p.Words, ", ")), Hint: hint}
		}
		return f.text, nil
	case Names, Patterns:
		return p.list(f)
	case Errors:
		return p.errors(f)
	case Func:
		item, problem := p.expr(f)
		if problem == nil && !isReference(item.Node) {
			problem = p.problem(f.pos, "%s is not the name of a function", f.text)
			problem.Hint = "write " + syntax[Func]
		}
		return item, problem
	default:
		return p.expr(f)
	}
}

func (p *Param) problem(pos token.Pos, format string, args ...any) *Problem {
	return &Problem{Pos: pos, Message: p.Name + ": " + fmt.Sprintf(format, args...)}
}

func (p *Param) zero(pos token.Pos, written string) *Problem {
	problem := p.problem(pos, "%s makes no sense", written)
	switch {
	case p.Required:
		problem.Hint = "write " + syntax[p.Type]
	case p.Default != "":
		problem.Hint = "leave it out for the default, " + p.Default
	default:
		problem.Hint = "leave it out for none"
	}
	return problem
}

func (p *Param) count(f field) (any, *Problem) {
	n, err := strconv.ParseInt(f.text, 10, 0)
	switch {
	case isRange(err):
		return nil, p.problem(f.pos, "%s is too large", f.text)
	case err != nil || f.text[0] == '+':
		problem := p.problem(f.pos, "%s is not a whole number", f.text)
		problem.Hint = "write " + syntax[Count]
		return nil, problem
	case n == 0 && !p.Zero:
		return nil, p.zero(f.pos, f.text)
	}
	return int(n), nil
}

// windows are the units that may stand alone after the slash of a rate.
var windows = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

func (p *Param) rate(f field) (any, *Problem) {
	calls, per, _ := strings.Cut(f.text, "/")
	n, err := strconv.ParseUint(calls, 10, 64)
	switch {
	case isRange(err):
		return nil, p.problem(f.pos, "%s calls are too many", calls)
	case err != nil && strings.HasPrefix(calls, "-"):
		return nil, p.problem(f.pos, "%s is negative", calls)
	case err != nil:
		problem := p.problem(f.pos, "%s is not a limit", f.text)
		problem.Hint = "write " + syntax[PerTime]
		return nil, problem
	case per == "":
		problem := p.problem(f.pos, "%s calls in what time?", calls)
		problem.Hint = "write " + calls + "/1m, or " + calls + "/s, " + calls + "/m, " + calls + "/h"
		return nil, problem
	case n == 0:
		return nil, p.problem(f.pos, "0 lets no call pass; the limit must be at least 1")
	}
	if window, ok := windows[per]; ok {
		return Rate{n, window}, nil
	}
	window, problem := p.duration(field{per, f.pos + token.Pos(len(calls)+1)})
	if problem != nil {
		return nil, problem
	}
	return Rate{n, window.(time.Duration)}, nil
}

func (p *Param) percent(f field) (any, *Problem) {
	number, ok := strings.CutSuffix(f.text, "%")
	share, err := strconv.ParseFloat(number, 64)
	switch {
	case !ok || err != nil || !decimal.MatchString(number):
		problem := p.problem(f.pos, "%s is not a percentage", f.text)
		problem.Hint = "write 50%"
		switch {
		case !decimal.MatchString(number):
		case share > 0 && share <= 1:
			problem.Hint = "write " + strconv.FormatFloat(share*100, 'f', -1, 64) + "%"
		case share > 1 && share <= 100:
			problem.Hint = "write " + number + "%"
		}
		return nil, problem
	case share < 0:
		return nil, p.problem(f.pos, "%s is negative", f.text)
	case share > 100:
		return nil, p.problem(f.pos, "%s is more than 100%%", f.text)
	case share == 0:
		return nil, p.zero(f.pos, f.text)
	}
	// The nearest to what is written: 33.3 divided by 100 is not the nearest to 0.333.
	share, _ = strconv.ParseFloat(number+"e-2", 64)
	return share, nil
}

var (
	decimal       = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)
	unitless      = regexp.MustCompile(`^[+-]?[0-9]+$`)
	days          = regexp.MustCompile(`^([0-9]+)(d|days?|w|weeks?)$`)
	durationShape = regexp.MustCompile(`^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))*$`)
)

func (p *Param) duration(f field) (any, *Problem) {
	if p.Type == Wait && f.text == "forever" {
		return protect.Forever, nil
	}
	d, err := time.ParseDuration(f.text)
	switch {
	case unitless.MatchString(f.text) && strings.Trim(f.text, "+-0") != "":
		problem := p.problem(f.pos, "%s has no unit", f.text)
		problem.Hint = "write " + strings.TrimLeft(f.text, "+-") + "s"
		return nil, problem
	case err != nil && durationShape.MatchString(f.text):
		return nil, p.problem(f.pos, "%s is too long: the longest is %s", f.text, time.Duration(math.MaxInt64))
	case err != nil:
		problem := p.problem(f.pos, "%s is not a duration", f.text)
		problem.Hint = "write " + syntax[p.Type]
		if m := days.FindStringSubmatch(f.text); m != nil {
			if n, err := strconv.Atoi(m[1]); err == nil && n > 0 && n < 10000 {
				hours := 24 * n
				if m[2][0] == 'w' {
					hours *= 7
				}
				problem.Hint = fmt.Sprintf("write %dh", hours)
			}
		}
		return nil, problem
	case d == 0 && !p.Zero:
		return nil, p.zero(f.pos, f.text)
	}
	return d, nil
}

func (p *Param) name(f field) *Problem {
	for i, r := range f.text {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune("\"'`,=()[]{}", r) {
			return p.problem(f.pos+token.Pos(i), "%q cannot be part of a name", r)
		}
	}
	return nil
}

func (p *Param) list(f field) (any, *Problem) {
	var items []Item
	for _, part := range f.list() {
		if part.text == "" {
			return nil, p.problem(part.pos, "nothing stands between the commas")
		}
		if p.Type == Patterns {
			if _, err := path.Match(part.text, ""); err != nil || strings.ContainsAny(part.text, `/\`) {
				return nil, p.problem(part.pos, "%s matches no method", part.text)
			}
		} else if problem := p.name(part); problem != nil {
			return nil, problem
		}
		if slices.ContainsFunc(items, func(i Item) bool { return i.Text == part.text }) {
			return nil, p.problem(part.pos, "%s stands twice", part.text)
		}
		items = append(items, Item{Text: part.text, Pos: part.pos})
	}
	return items, nil
}

func (p *Param) errors(f field) (any, *Problem) {
	var items []Item
	for _, part := range f.list() {
		if part.text == "" {
			return nil, p.problem(part.pos, "nothing stands between the commas")
		}
		item, problem := p.expr(part)
		if problem != nil {
			return nil, problem
		}
		if slices.ContainsFunc(items, func(i Item) bool { return i.Text == item.Text }) {
			return nil, p.problem(part.pos, "%s stands twice", part.text)
		}
		items = append(items, item)
	}
	return items, nil
}

// expr reads an expression: of one line and without a comment, which would tear
// apart the line that it is printed into.
func (p *Param) expr(f field) (Item, *Problem) {
	f = f.trim()
	node, err := parser.ParseExpr(f.text)
	if err != nil {
		return Item{}, p.problem(f.pos, "%s is not an expression of Go", f.text)
	}
	if strings.ContainsAny(f.text, "\r\n") {
		return Item{}, p.problem(f.pos, "an expression stands on one line")
	}
	if at := comment(f.text); at >= 0 {
		return Item{}, p.problem(f.pos+token.Pos(at), "a comment stands in the expression")
	}
	return Item{f.text, f.pos, node}, nil
}

// comment returns where the first comment of an expression begins, -1 without
// one.
func comment(text string) int {
	var s scanner.Scanner
	file := token.NewFileSet().AddFile("", -1, len(text))
	s.Init(file, []byte(text), nil, scanner.ScanComments)
	for {
		switch pos, tok, _ := s.Scan(); tok {
		case token.EOF:
			return -1
		case token.COMMENT:
			return file.Offset(pos)
		}
	}
}

// isReference reports whether an expression is a name, or a qualified one.
func isReference(e ast.Expr) bool {
	if s, ok := e.(*ast.SelectorExpr); ok {
		e = s.X
	}
	id, ok := e.(*ast.Ident)
	return ok && id.Name != "_"
}

func isRange(err error) bool {
	e, ok := err.(*strconv.NumError)
	return ok && e.Err == strconv.ErrRange
}

func nearHint(word string, list []string) string {
	if near, ok := Nearest(word, list); ok {
		return "did you mean " + near + "?"
	}
	return ""
}
