package generator

import "strings"

// outputName returns the name of the file that goes with a source file:
// weather.go → weather_protect.go. What the go command reads from the end of a
// name stays at its end: client_linux.go → client_protect_linux.go,
// x_linux_test.go → x_protect_linux_test.go.
func outputName(source string) string {
	name := strings.TrimSuffix(source, ".go")
	name, test := strings.CutSuffix(name, "_test")
	parts := strings.Split(name, "_")
	// As in go/build, a first part is never a constraint: linux.go.
	end := len(parts)
	if end > 1 && knownArch[parts[end-1]] {
		end--
		if end > 1 && knownOS[parts[end-1]] {
			end--
		}
	} else if end > 1 && knownOS[parts[end-1]] {
		end--
	}
	out := strings.Join(parts[:end], "_") + "_protect"
	for _, part := range parts[end:] {
		out += "_" + part
	}
	if test {
		out += "_test"
	}
	return out + ".go"
}

// What go/build takes for an operating system or an architecture in a file's
// name: internal/syslist of the Go distribution, which is no API.
var (
	knownOS = set(
		"aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux", "nacl",
		"netbsd", "openbsd", "plan9", "solaris", "wasip1", "windows", "zos",
	)
	knownArch = set(
		"386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "loong64", "mips", "mipsle", "mips64",
		"mips64le", "mips64p32", "mips64p32le", "ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x",
		"sparc", "sparc64", "wasm",
	)
)

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}
