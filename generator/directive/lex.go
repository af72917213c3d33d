package directive

import (
	"go/token"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// field is one argument of a directive: a run of text without a space outside
// quotes, parentheses, brackets and braces.
type field struct {
	text string
	pos  token.Pos
}

// Invariants of fields: joined by the spaces between them, the fields are the
// input; no field is empty; a field that stands at pos is the input's text
// there. An input whose quotes or brackets do not match gives the fields
// before the fault, and the fault.
func fields(pos token.Pos, s string) ([]field, *Problem) {
	var out []field
	start := -1 // of the field being read
	var open []int
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case unicode.IsSpace(r) && len(open) == 0:
			if start >= 0 {
				out = append(out, field{s[start:i], pos + token.Pos(start)})
				start = -1
			}
			i += size
			continue
		case start < 0:
			start = i
		}
		switch r {
		case '"', '`', '\'':
			quoted, err := strconv.QuotedPrefix(s[i:])
			if err != nil {
				return out, &Problem{Pos: pos + token.Pos(i), Message: "this quote has no end, or what it quotes is not written as in Go"}
			}
			size = len(quoted)
		case '(', '[', '{':
			open = append(open, i)
		case ')', ']', '}':
			if len(open) == 0 || closer[s[open[len(open)-1]]] != byte(r) {
				return out, &Problem{Pos: pos + token.Pos(i), Message: "nothing is open that this " + string(r) + " would close"}
			}
			open = open[:len(open)-1]
		}
		i += size
	}
	if len(open) > 0 {
		i := open[len(open)-1]
		return out, &Problem{Pos: pos + token.Pos(i), Message: "this " + s[i:i+1] + " is never closed"}
	}
	if start >= 0 {
		out = append(out, field{s[start:], pos + token.Pos(start)})
	}
	return out, nil
}

var closer = map[byte]byte{'(': ')', '[': ']', '{': '}'}

// split cuts a field at the = of key=value. A field that is an expression
// (a==b) or begins with anything but a word has no key.
func (f field) split() (key string, value field, ok bool) {
	i := strings.IndexFunc(f.text, func(r rune) bool { return !isWord(r) && r != '-' })
	if i <= 0 || f.text[i] != '=' || strings.HasPrefix(f.text[i:], "==") {
		return "", f, false
	}
	return f.text[:i], field{f.text[i+1:], f.pos + token.Pos(i+1)}, true
}

// unquote returns what is inside a field that is one quoted string, and any
// other field as it is.
func (f field) unquote() field {
	if f.text == "" || f.text[0] != '"' && f.text[0] != '`' {
		return f
	}
	if inside, err := strconv.Unquote(f.text); err == nil {
		return field{inside, f.pos + 1}
	}
	return f
}

// trim returns a field without the spaces around it, which it can have in
// quotes.
func (f field) trim() field {
	text := strings.TrimLeftFunc(f.text, unicode.IsSpace)
	return field{strings.TrimRightFunc(text, unicode.IsSpace), f.pos + token.Pos(len(f.text)-len(text))}
}

// list cuts a field at its commas outside quotes and brackets. Spaces around
// them belong to no part.
func (f field) list() []field {
	var out []field
	start, depth := 0, 0
	part := func(end int) field { return field{f.text[start:end], f.pos + token.Pos(start)}.trim() }
	for i := 0; i < len(f.text); {
		size := 1
		switch f.text[i] {
		case '"', '`', '\'':
			if quoted, err := strconv.QuotedPrefix(f.text[i:]); err == nil {
				size = len(quoted)
			}
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		case ',':
			if depth == 0 {
				out = append(out, part(i))
				start = i + 1
			}
		}
		i += size
	}
	return append(out, part(len(f.text)))
}

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }
