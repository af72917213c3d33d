package policyfile

import "strings"

// hint helps somebody who wrote a word that is none of those there are: with
// the one that was probably meant, or else with all of them.
func hint(word string, words []string) string {
	// As many letters may differ as leave it the same word for a reader.
	best, most := "", len(word)/3+1
	for _, w := range words {
		if d := edits(strings.ToLower(word), w); d <= most && d < len(w) {
			best, most = w, d-1
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	return "there are " + strings.Join(words, ", ")
}

// edits counts the letters to insert, remove, replace or swap with the next
// one to make b of a.
func edits(a, b string) int {
	// rows[i][j] is the answer for a[:i] and b[:j].
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := range len(a) {
		for j := range len(b) {
			replaced := rows[i][j]
			if a[i] != b[j] {
				replaced++
			}
			least := min(replaced, rows[i][j+1]+1, rows[i+1][j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				least = min(least, rows[i-1][j-1]+1)
			}
			rows[i+1][j+1] = least
		}
	}
	return rows[len(a)][len(b)]
}
