package directive

import (
	"fmt"
	"strings"
)

// Help returns the text about a directive, or about all of them for "". It
// returns false when there is no such directive; the text then says so, with
// the nearest one.
func Help(name string) (string, bool) {
	if name == "" {
		return overview(), true
	}
	name = strings.TrimPrefix(strings.TrimPrefix(name, "//"), "protect:")
	spec := Lookup(name)
	if spec == nil {
		return fmt.Sprintf("there is no directive %s: %s\n", name, didYouMean(name, names())), false
	}
	return spec.help(), true
}

func overview() string {
	var b strings.Builder
	b.WriteString("Directives stand in the doc comment of an interface, for all its methods,\nor of one of its methods, for that alone, where they replace the interface's:\n\n")
	width := 0
	for _, s := range specs {
		width = max(width, len(s.Name))
	}
	for _, s := range specs {
		fmt.Fprintf(&b, "  %s%-*s  %s\n", Prefix, width, s.Name, s.Doc)
	}
	b.WriteString("\nprotectgen help DIRECTIVE tells more of each.\n")
	return b.String()
}

func (s *Spec) help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n", s.usage(), wrap(s.Doc, ""))
	if s.More != "" {
		fmt.Fprintf(&b, "%s\n", wrap(s.More, ""))
	}
	fmt.Fprintf(&b, "%s\n", wrap(s.placement(), ""))
	if len(s.Args)+len(s.Keys) > 0 {
		b.WriteString("\n")
	}
	for _, p := range s.Args {
		p.help(&b, s, p.Name)
	}
	for _, p := range s.Keys {
		p.help(&b, s, p.Name+"="+placeholderOf(&p))
	}
	b.WriteString("\nExamples:\n")
	for _, e := range s.Example {
		fmt.Fprintf(&b, "  %s\n", e)
	}
	return b.String()
}

func (p *Param) help(b *strings.Builder, s *Spec, title string) {
	fmt.Fprintf(b, "  %s\n%s\n", title, wrap(p.text(s), "      "))
}

// text says all there is to say about a parameter.
func (p *Param) text(s *Spec) string {
	text := p.Doc
	if p.Type == Word {
		text += ": " + strings.Join(p.Words, ", ")
	} else {
		text += "; " + syntax[p.Type]
	}
	if p.Default != "" {
		text += "; default " + p.Default
	}
	if p.place(s) != s.Place && p.place(s) == OnInterface {
		text += "; on an interface alone"
	}
	return text
}

// usage is one line that shows everything a directive takes.
func (s *Spec) usage() string {
	var b strings.Builder
	b.WriteString(Prefix + s.Name)
	for _, p := range s.Args {
		shown := placeholderOf(&p)
		if p.Type == Word {
			shown = strings.ToUpper(p.Name)
		}
		if p.Repeat {
			shown += " ..."
		}
		if !p.Required {
			shown = "[" + shown + "]"
		}
		b.WriteString(" " + shown)
	}
	for _, p := range s.Keys {
		fmt.Fprintf(&b, " [%s=%s]", p.Name, placeholderOf(&p))
	}
	return b.String()
}

func placeholderOf(p *Param) string {
	if p.Type == Word {
		return strings.Join(p.Words, "|")
	}
	return placeholder[p.Type]
}

func (s *Spec) placement() string {
	switch s.Place {
	case OnInterface:
		return "It stands on an interface."
	case OnMethod:
		return "It stands on a method."
	}
	switch s.Name {
	case "limit", "breaker", "bulkhead":
		return "It stands on an interface, whose methods then share one, or on a method, which then has its own."
	}
	return "It stands on an interface, for all its methods, or on a method, for that alone."
}

// Markdown returns the reference of the whole language.
func Markdown() string {
	var b strings.Builder
	b.WriteString("# Directives\n\n")
	b.WriteString("<!-- Written from the schema in generator/directive by go test ./generator/directive -update. -->\n\n")
	b.WriteString(wrap("A directive stands in the doc comment of an interface, where it holds for every method, or of one of its methods, where it replaces the interface's. It begins at the slashes, without a space before its name, and takes the rest of the line.", "") + "\n\n")
	b.WriteString("```go\n//protect:breaker failures=5 recovery=30s\ntype Weather interface {\n\t//protect:limit 100/1m key=userID\n\tForecast(ctx context.Context, userID, city string) (*Report, error)\n}\n```\n\n")
	b.WriteString(wrap("Values with spaces are written in quotes; spaces inside parentheses need none: key=tenant(ctx, userID). Lists are separated by commas without spaces. A directive on an interface passes over the methods that cannot carry it: those without an error result and, for timeout, those without a context. protectgen explain lists them.", "") + "\n\n")
	b.WriteString("| directive | meaning |\n|---|---|\n")
	for _, s := range specs {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", s.Name, s.Name, cell(s.Doc))
	}
	for _, s := range specs {
		s.markdown(&b)
	}
	return b.String()
}

func (s *Spec) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n", s.Name, wrap(s.Doc, ""))
	if s.More != "" {
		fmt.Fprintf(b, "\n%s\n", wrap(s.More, ""))
	}
	fmt.Fprintf(b, "\n%s\n\n```go\n%s\n```\n", wrap(s.placement(), ""), strings.Join(s.Example, "\n"))
	if len(s.Args)+len(s.Keys) == 0 {
		return
	}
	b.WriteString("\n| | value | default | meaning |\n|---|---|---|---|\n")
	row := func(title string, p *Param) {
		value := placeholderOf(p)
		def := p.Default
		if p.Required {
			def = "required"
		}
		doc := p.Doc
		if p.place(s) != s.Place {
			doc += " (on an interface alone)"
		}
		fmt.Fprintf(b, "| %s | `%s` | %s | %s |\n", title, strings.ReplaceAll(value, "|", `\|`), cell(def), cell(doc))
	}
	for i := range s.Args {
		row(s.Args[i].Name, &s.Args[i])
	}
	for i := range s.Keys {
		row("`"+s.Keys[i].Name+"=`", &s.Keys[i])
	}
}

// cell makes text safe inside a table.
func cell(s string) string { return strings.NewReplacer("|", `\|`, "*", `\*`, "\n", " ").Replace(s) }

// wrap breaks text into lines of at most 78 columns behind an indent.
func wrap(text, indent string) string {
	var b strings.Builder
	width := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case width == 0:
			b.WriteString(indent)
			width = len(indent)
		case width+1+len(word) > 78:
			b.WriteString("\n" + indent)
			width = len(indent)
		default:
			b.WriteString(" ")
			width++
		}
		b.WriteString(word)
		width += len(word)
	}
	return b.String()
}
