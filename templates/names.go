package templates

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// scope hands out identifiers.
//
// Invariant: a name that it hands out is no keyword, was not taken before and
// is not taken in a scope around it. So whatever a file declares never hides
// something that the file, or an expression a directive brought in, mentions.
type scope struct {
	around *scope
	taken  map[string]bool
}

func newScope(around *scope) *scope {
	return &scope{around: around, taken: map[string]bool{}}
}

func (s *scope) child() *scope { return newScope(s) }

// reserve takes names that others chose.
func (s *scope) reserve(names ...string) {
	for _, name := range names {
		s.taken[name] = true
	}
}

// allocate takes the first of the wanted names that is free, or the last one
// with the lowest number from 2 on that makes it free.
func (s *scope) allocate(wanted ...string) string {
	for _, name := range wanted {
		if s.take(name) {
			return name
		}
	}
	last := wanted[len(wanted)-1]
	for i := 2; ; i++ {
		if name := last + strconv.Itoa(i); s.take(name) {
			return name
		}
	}
}

func (s *scope) take(name string) bool {
	if keywords[name] || s.has(name) {
		return false
	}
	s.taken[name] = true
	return true
}

func (s *scope) has(name string) bool {
	return s != nil && (s.taken[name] || s.around.has(name))
}

// keywords are refused by every scope, so that a method Type can ask for a
// field type. The blank identifier cannot be mentioned, which is as bad.
var keywords = set(
	"_",
	"break", "case", "chan", "const", "continue", "default", "defer", "else", "fallthrough", "for", "func", "go",
	"goto", "if", "import", "interface", "map", "package", "range", "return", "select", "struct", "switch", "type", "var",
)

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, name := range names {
		m[name] = true
	}
	return m
}

// unexported returns name as an unexported identifier, a leading initialism
// in one piece: Forecast → forecast, URLFor → urlFor, ID → id.
func unexported(name string) string {
	runes := []rune(name)
	for i, r := range runes {
		if !unicode.IsUpper(r) {
			break
		}
		if i > 0 && i+1 < len(runes) && unicode.IsLower(runes[i+1]) {
			break
		}
		runes[i] = unicode.ToLower(r)
	}
	return string(runes)
}

// consonantal are the beginnings of words that are written with a vowel and
// spoken with a consonant: a User, a Unit, a Utility, an Unmarshaler.
var consonantal = regexp.MustCompile(`^(us[aeiu]|uni[^mn]|ut[ei]|eu|one|once)`)

// article puts a or an before a noun, as it is spoken: an initialism by its
// first letter, an HTTPClient.
func article(noun string) string {
	runes := []rune(noun)
	an := strings.ContainsRune("aeiou", unicode.ToLower(runes[0])) && !consonantal.MatchString(strings.ToLower(noun))
	if unicode.IsUpper(runes[0]) && (len(runes) == 1 || !unicode.IsLower(runes[1])) {
		an = strings.ContainsRune("AEFHILMNORSX", runes[0])
	}
	if an {
		return "an " + noun
	}
	return "a " + noun
}

// exported returns words, which may be parted by signs that no identifier can
// have, as an exported identifier: read-replica → ReadReplica.
func exported(words string) string {
	var b strings.Builder
	upper := true
	for _, r := range words {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			upper = true
			continue
		case upper && b.Len() == 0 && !unicode.IsUpper(unicode.ToUpper(r)):
			b.WriteByte('X') // a digit, or a letter of a script without case
		case upper:
			r = unicode.ToUpper(r)
		}
		b.WriteRune(r)
		upper = false
	}
	if b.Len() == 0 {
		return "X"
	}
	return b.String()
}
