package templates

import (
	"go/token"
	"testing"

	"pgregory.net/rapid"
)

// TestNamesAreHandedOutOnce compares scopes with a plain set of names.
func TestNamesAreHandedOutOnce(t *testing.T) {
	name := rapid.SampledFrom([]string{"a", "a2", "a3", "b", "b2", "p", "type", "func", "_", "a22"})
	rapid.Check(t, func(t *rapid.T) {
		outer := newScope(nil)
		scopes := []*scope{outer, outer.child(), outer.child()}
		taken := make([]map[string]bool, len(scopes))
		for i := range taken {
			taken[i] = map[string]bool{}
		}
		visible := func(i int, name string) bool { return taken[i][name] || taken[0][name] }
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			i := rapid.IntRange(0, len(scopes)-1).Draw(t, "scope")
			if rapid.Bool().Draw(t, "reserve") {
				n := name.Draw(t, "name")
				scopes[i].reserve(n)
				taken[i][n] = true
				continue
			}
			wanted := rapid.SliceOfN(name, 1, 3).Draw(t, "wanted")
			got := scopes[i].allocate(wanted...)
			switch {
			case visible(i, got):
				t.Fatalf("%s is taken already", got)
			case !token.IsIdentifier(got) || got == "_":
				t.Fatalf("%s is no name for a variable", got)
			}
			for _, w := range wanted {
				if w == got {
					break
				}
				if token.IsIdentifier(w) && w != "_" && !visible(i, w) {
					t.Fatalf("%s instead of %s, which is free", got, w)
				}
			}
			taken[i][got] = true
		}
	})
}

func TestUnexportedNames(t *testing.T) {
	for name, want := range map[string]string{
		"Forecast": "forecast",
		"URLFor":   "urlFor",
		"ID":       "id",
		"HTTP2Get": "http2Get",
		"A":        "a",
		"AB":       "ab",
		"forecast": "forecast",
		"Ändern":   "ändern",
		"世界":       "世界",
	} {
		if got := unexported(name); got != want {
			t.Errorf("unexported(%s) = %s, want %s", name, got, want)
		}
	}
}

func TestExportedNames(t *testing.T) {
	for words, want := range map[string]string{
		"replicas":     "Replicas",
		"read-replica": "ReadReplica",
		"eu/primary.2": "EuPrimary2",
		"2nd":          "X2nd",
		"世界":           "X世界",
		"--":           "X",
	} {
		if got := exported(words); got != want || !token.IsExported(got) || !token.IsIdentifier(got) {
			t.Errorf("exported(%s) = %s, want %s", words, got, want)
		}
	}
}

func TestArticlesFollowTheSpokenWord(t *testing.T) {
	for noun, want := range map[string]string{
		"Weather":     "a Weather",
		"Alert":       "an Alert",
		"alert":       "an alert",
		"UserStore":   "a UserStore",
		"Unit":        "a Unit",
		"Utility":     "a Utility",
		"Upstream":    "an Upstream",
		"Unmarshaler": "an Unmarshaler",
		"Unimportant": "an Unimportant",
		"HTTPClient":  "an HTTPClient",
		"URLFetcher":  "a URLFetcher",
		"SQL":         "an SQL",
		"S3Store":     "an S3Store",
		"K8sClient":   "a K8sClient",
		"A":           "an A",
		"W":           "a W",
		"世界":          "a 世界",
	} {
		if got := article(noun); got != want {
			t.Errorf("article(%s) = %s, want %s", noun, got, want)
		}
	}
}
