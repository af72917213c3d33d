package policyfile_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/protectgen/protectgen/runtime/policyfile"
)

func TestTheFileInTheDocsIsRead(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("there is no file in the docs")
	}
	policies, err := policyfile.Parse("operations.md", block[1])
	if err != nil || len(policies) != 2 {
		t.Errorf("%d policies, %v", len(policies), err)
	}
}
