package directive

import "testing"

func TestDistanceCountsEdits(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"limit", "limit", 0}, {"limt", "limit", 1},
		{"brekaer", "breaker", 1}, {"kitten", "sitting", 3}, {"äb", "ab", 1},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.b, c.a, got, c.want)
		}
	}
}

func TestNearestLeavesStrangersAlone(t *testing.T) {
	list := []string{"size", "overflow", "wait"}
	if near, ok := Nearest("sizes", list); !ok || near != "size" {
		t.Errorf("nearest to sizes is %q", near)
	}
	if near, ok := Nearest("recovery", list); ok {
		t.Errorf("nearest to recovery is %q", near)
	}
	if near, ok := Nearest("foo", []string{"pool", "off"}); ok {
		t.Errorf("nearest to foo is %q", near)
	}
	if near, ok := Nearest("Size", list); !ok || near != "size" {
		t.Errorf("nearest to Size is %q", near)
	}
}
