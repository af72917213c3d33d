package generator

import (
	"encoding/json"
	"fmt"
	"go/token"
	"io"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/protectgen/protectgen/generator/directive"
	"github.com/protectgen/protectgen/templates"
)

// Explanation says what protects one method of an annotated interface.
type Explanation struct {
	Package   string         `json:"package"`   // import path
	Interface string         `json:"interface"` // its name
	Method    string         `json:"method"`
	Key       string         `json:"key"` // under which its policy can be configured
	Protected bool           `json:"protected"`
	Why       string         `json:"why,omitempty"` // of an unprotected method
	Layers    []Layer        `json:"layers,omitempty"`
	Without   []string       `json:"without,omitempty"` // layers of the interface that the method cannot carry
	Position  token.Position `json:"-"`                 // of the method, or of the interface that embeds it
}

// same reports whether two explanations say the same, wherever that stands.
func (e Explanation) same(other Explanation) bool {
	if e.Method != other.Method || e.Interface != other.Interface {
		return false // the rest is dear, and compared for each pair of methods of a package
	}
	other.Position = e.Position
	return reflect.DeepEqual(e, other)
}

// Layer is one layer around a method.
type Layer struct {
	Name    string `json:"name"`              // limit, breaker, …
	Setting string `json:"setting,omitempty"` // as the directive has it
	Part    string `json:"part,omitempty"`    // name in the Runtime of the limiter, breaker, bulkhead or pool
	From    string `json:"from"`              // interface or method: where the directive stands
}

// explain tells of a method what its model does.
func (b *builder) explain(m *method, built templates.Method) Explanation {
	e := Explanation{
		Package:   b.declaration.source.types.Path(),
		Interface: b.object.Name(),
		Method:    m.fn.Name(),
		Key:       m.key,
		Protected: built.Protected,
		Without:   m.passed,
		Position:  b.at(m.pos),
	}
	for _, name := range directive.Layers() {
		l := m.layers[name]
		if l == nil {
			continue
		}
		from := "method"
		if l.inherited {
			from = "interface"
		}
		e.Layers = append(e.Layers, Layer{Name: name, Setting: settingsOf(l.Directive), Part: l.part, From: from})
	}
	if !e.Protected {
		switch why := m.cannot(""); {
		case b.pooled() && m.closes():
			e.Why = "closes the pools"
		case why != "":
			e.Why = why
		case m.removed:
			e.Why = "off"
		case len(m.passed) > 0:
			e.Why = m.cannot(m.passed[0])
		default:
			e.Why = "no directive"
		}
	}
	return e
}

// WriteTable writes explanations as a table for people; without any, nothing.
func WriteTable(w io.Writer, list []Explanation) error {
	if len(list) == 0 {
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "METHOD\tPROTECTED BY")
	for _, e := range list {
		fmt.Fprintf(tw, "%s\t%s\n", e.Key, e.summary())
	}
	return tw.Flush()
}

func (e Explanation) summary() string {
	if !e.Protected {
		return "unprotected: " + e.Why
	}
	var parts []string
	for _, l := range e.Layers {
		text := l.Name
		if l.Setting != "" {
			text += " " + l.Setting
		}
		if l.Part != "" && l.Part != e.Key {
			text += " (" + l.Part + ")"
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		parts = append(parts, "what is configured under its key")
	}
	text := strings.Join(parts, ", ")
	if len(e.Without) > 0 {
		text += "; without " + listOf(slices.Clone(e.Without))
	}
	return text
}

// WriteJSON writes explanations as an indented JSON array.
func WriteJSON(w io.Writer, list []Explanation) error {
	if list == nil {
		list = []Explanation{}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(list)
}
