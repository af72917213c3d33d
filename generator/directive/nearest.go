package directive

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Nearest returns the word of the list that is most like the one given, or
// none when every one is too different to be what was meant: more than a third
// of its letters, and more than two, would have to change; of up to three
// letters, more than one.
func Nearest(word string, list []string) (string, bool) {
	best, least := "", max(2, len(word)/3)+1
	if utf8.RuneCountInString(word) <= 3 {
		least = 2
	}
	for _, w := range list {
		d := distance(strings.ToLower(word), strings.ToLower(w))
		if d < least && d < max(len(word), len(w)) {
			best, least = w, d
		}
	}
	return best, best != ""
}

// distance is the number of letters to insert, remove, replace or swap with
// their neighbour to make b of a.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	before, last, row := make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := range s {
		row[0] = i + 1
		for j := range t {
			cost := 1
			if s[i] == t[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && s[i] == t[j-1] && s[i-1] == t[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(t)]
}

// didYouMean is a hint with the nearest word, or else with all of them.
func didYouMean(word string, list []string) string {
	if near, ok := Nearest(word, list); ok {
		return "did you mean " + near + "?"
	}
	if len(list) == 0 {
		return ""
	}
	sorted := slices.Sorted(slices.Values(list))
	return "known are " + strings.Join(sorted, ", ")
}
