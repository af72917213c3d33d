package policyfile

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxDepth bounds how deep brackets, or dashes on one line, may be nested. A
// policy needs 4 levels. The parser is recursive, and takes memory with the
// square of the depth: without a bound a few bytes could end the process.
const maxDepth = 16

var byteOrderMark = []byte("\uFEFF")

// document returns the only document of a file, or nil after a report. JSON
// needs nothing of its own: it is YAML.
func (f *file) document(data []byte) ast.Node {
	data = bytes.TrimPrefix(data, byteOrderMark)
	switch {
	case len(data) > maxSize:
		f.report(nil, "the file has more than %d bytes", maxSize)
		return nil
	case !utf8.Valid(data):
		f.report(nil, "the file is not UTF-8 text")
		return nil
	}
	docs, err := caught(func() ([]*ast.DocumentNode, error) { return parseYAML(string(data)) })
	switch syntax, ok := errors.AsType[syntaxError](err); {
	case ok && syntax.GetToken() != nil:
		f.report(syntax.GetToken().Position, "%s", syntax.GetMessage())
		return nil
	case err != nil:
		f.report(nil, "the file cannot be read as YAML: %v", err)
		return nil
	}
	var body ast.Node
	for _, doc := range docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.DirectiveType:
		case body != nil:
			f.report(start(doc.Body), "a second document; a file has one")
			return nil
		default:
			body = doc.Body
		}
	}
	if body == nil {
		f.report(nil, "the file has no policies; write {} if that is meant")
	}
	return body
}

func parseYAML(text string) ([]*ast.DocumentNode, error) {
	tokens := lexer.Tokenize(text)
	if at := tooDeep(tokens); at != nil {
		return nil, &located{at, "nested too deep"}
	}
	parsed, err := parser.Parse(withoutEmpty(tokens), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, err
	}
	return parsed.Docs, nil
}

// withoutEmpty leaves out the documents with nothing in them: at one that another
// follows the parser stops, and says nothing of what comes after.
func withoutEmpty(tokens token.Tokens) token.Tokens {
	var kept token.Tokens
	for _, tk := range tokens {
		if tk.Type == token.CommentType {
			continue
		}
		if last := len(kept) - 1; tk.Type == token.DocumentHeaderType && last >= 0 && kept[last].Type == token.DocumentHeaderType {
			kept[last] = tk
			continue
		}
		kept = append(kept, tk)
	}
	return kept
}

// caught makes a panic of fn an error. Fuzzing finds none in this version of
// the parser, but earlier ones had some, and a file that was saved half-written
// must not end the program.
func caught[T any](fn func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the parser panicked: %v", p)
		}
	}()
	return fn()
}

// tooDeep returns the token at which the nesting exceeds maxDepth, nil when it
// does not. Indentation needs no bound: depth costs a line that long.
func tooDeep(tokens token.Tokens) *token.Token {
	var depth, dashes, line int
	for _, tk := range tokens {
		if tk.Position.Line != line {
			line, dashes = tk.Position.Line, 0
		}
		switch tk.Type {
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth = max(depth-1, 0)
		case token.SequenceEntryType:
			dashes++
		}
		if depth > maxDepth || dashes > maxDepth {
			return tk
		}
	}
	return nil
}

// syntaxError is an error of the parser, or located.
type syntaxError interface {
	error
	GetMessage() string
	GetToken() *token.Token
}

// located is an error of ours, like those of the parser.
type located struct {
	at      *token.Token
	message string
}

func (e *located) Error() string          { return e.message }
func (e *located) GetMessage() string     { return e.message }
func (e *located) GetToken() *token.Token { return e.at }

// entry is a name of a mapping and its value.
type entry struct {
	name  string
	at    *token.Position // of the name
	value ast.Node
}

// entries yields what a mapping holds and reports what is wrong with its
// names. Anything but a mapping is reported, and a nil node is none: what is
// wrong there was reported already.
func (f *file) entries(what string, n ast.Node) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		if n == nil {
			return
		}
		m, ok := n.(*ast.MappingNode)
		if !ok {
			f.report(start(n), "%s must be a mapping, not %s", what, describe(n))
			return
		}
		first := map[string]*token.Position{}
		for _, v := range m.Values {
			at := start(v.Key)
			name, ok := scalarOf(v.Key)
			switch {
			case !ok:
				f.report(at, "%s has %s where a name should be", what, describe(v.Key))
				continue
			case name.hides():
				f.report(at, "%s %s", show(name.text), hidden)
				continue
			case first[name.text] != nil:
				f.report(at, "%s stands twice, first in line %d", show(name.text), first[name.text].Line)
				continue
			}
			first[name.text] = at
			if !yield(entry{name.text, at, v.Value}) {
				return
			}
		}
	}
}

// scalar is a single value as it was written, quotes removed.
type scalar struct {
	text   string
	quoted bool
}

// hides reports whether a name has characters that nobody sees, such as a byte
// order mark or a no-break space. Without quotes they came along by accident.
func (s scalar) hides() bool {
	return !s.quoted && strings.ContainsFunc(s.text, odd)
}

const hidden = "has characters that do not show; put it in quotes if they are meant"

// scalarOf returns the scalar that a node is. Null is none, nor are the blocks
// of text after | and >, nor is a text that goes on in the next line without
// quotes: it lacks a comma, or is a comment of another language.
func scalarOf(n ast.Node) (scalar, bool) {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		tk := n.GetToken()
		s := scalar{tk.Value, tk.Type == token.SingleQuoteType || tk.Type == token.DoubleQuoteType}
		return s, s.quoted || !strings.ContainsAny(strings.TrimSpace(tk.Origin), "\r\n")
	}
	return scalar{}, false
}

// start is where a node begins. The library puts a mapping in block style at
// its first colon.
func start(n ast.Node) *token.Position {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0].Key
	}
	return n.GetToken().Position
}

// describe says what a node is that should be something else.
func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "nothing"
	case *ast.LiteralNode:
		return "a block of text"
	case *ast.AnchorNode:
		return "an anchor"
	case *ast.AliasNode:
		return "an alias"
	case *ast.MergeKeyNode:
		return "a merge key"
	case *ast.TagNode:
		return "a tag"
	}
	s, ok := scalarOf(n)
	switch {
	case ok:
		return show(s.text)
	case s.text != "":
		return "a text over several lines"
	}
	return "something else"
}

// show returns text for a message, on one line and not too long.
func show(text string) string {
	const most = 40
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "..."
	}
	if text == "" || strings.ContainsFunc(text, odd) {
		return fmt.Sprintf("%q", text)
	}
	return text
}

// odd reports whether a character does not show, or not as it is.
func odd(r rune) bool { return !unicode.IsPrint(r) }
