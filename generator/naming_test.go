package generator

import (
	"go/build"
	"path/filepath"
	"testing"
)

func TestOutputsAreNamedAfterTheirSources(t *testing.T) {
	for source, want := range map[string]string{
		"weather.go":               "weather_protect.go",
		"client_linux.go":          "client_protect_linux.go",
		"client_linux_amd64.go":    "client_protect_linux_amd64.go",
		"client_amd64.go":          "client_protect_amd64.go",
		"x_test.go":                "x_protect_test.go",
		"x_linux_test.go":          "x_protect_linux_test.go",
		"x_linux_arm64_test.go":    "x_protect_linux_arm64_test.go",
		"linux.go":                 "linux_protect.go",
		"linux_amd64.go":           "linux_protect_amd64.go",
		"linux_test.go":            "linux_protect_test.go",
		"my_client.go":             "my_client_protect.go",
		"client_unix.go":           "client_unix_protect.go",
		"amd64_linux.go":           "amd64_protect_linux.go",
		"client_amd64_linux.go":    "client_amd64_protect_linux.go",
		"weather_protect.go":       "weather_protect_protect.go",
		"weather_protect_linux.go": "weather_protect_protect_linux.go",
	} {
		if got := outputName(source); got != want {
			t.Errorf("outputName(%s) = %s, want %s", source, got, want)
		}
	}
}

func TestOutputsAreBuiltWhereTheirSourcesAre(t *testing.T) {
	dir := t.TempDir()
	for _, source := range []string{"a.go", "a_linux.go", "a_windows.go", "a_windows_arm64.go", "a_wasm.go", "linux.go", "a_linux_test.go", "windows_linux.go"} {
		write(t, dir, source, []byte("package p\n"))
		write(t, dir, outputName(source), []byte("package p\n"))
		for _, system := range []struct{ os, arch string }{{"linux", "amd64"}, {"windows", "amd64"}, {"windows", "arm64"}, {"js", "wasm"}} {
			ctx := build.Default
			ctx.GOOS, ctx.GOARCH = system.os, system.arch
			want, err := ctx.MatchFile(dir, source)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ctx.MatchFile(dir, outputName(source))
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("%s on %v: %v, its source: %v", filepath.Base(outputName(source)), system, got, want)
			}
		}
	}
}
