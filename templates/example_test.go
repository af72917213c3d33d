package templates_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"strings"

	"github.com/protectgen/protectgen/templates"
)

// A model names what go/types knows of an interface, and what is to protect
// it.
func ExampleRender() {
	fset := token.NewFileSet()
	source, err := parser.ParseFile(fset, "door.go", `package house; type Door interface { Open(who string) error }`, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	pkg, err := new(types.Config).Check("example.com/house", fset, []*ast.File{source}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	door := pkg.Scope().Lookup("Door").(*types.TypeName)
	open := door.Type().Underlying().(*types.Interface).Method(0)

	out, err := templates.Render(templates.File{
		Package: "house", Path: pkg.Path(), Types: pkg,
		Wrappers: []templates.Wrapper{{
			Interface: door, Name: "ProtectedDoor", Constructor: "NewProtectedDoor",
			Methods: []templates.Method{{
				Func: open, Signature: open.Signature(), Protected: true, Error: 0, Context: -1,
				Key: "house.Door.Open", Summary: "limit 3/1m by who",
				Entity: &templates.Entity{Expr: []templates.Term{{Param: 1}}},
				Policy: []templates.Section{{Field: "Limit", Type: "LimitPolicy", Fields: []templates.Field{{Name: "Tokens", Value: uint64(3)}}}},
			}},
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, method, _ := strings.Cut(string(out), "// Open")
	fmt.Print("// Open", method)
	// Output:
	// // Open implements Door: limit 3/1m by who.
	// func (p *ProtectedDoor) Open(who string) error {
	// 	return p.open.Do(context.Background(), who, func(_ context.Context, next Door) error {
	// 		return next.Open(who)
	// 	})
	// }
}
