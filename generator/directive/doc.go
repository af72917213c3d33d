// Package directive is the language of //protect: comments: one schema, and
// from it the parser, the checks and the help text. It knows comments and
// numbers, not types: whether key=userID names a parameter is decided by its
// caller.
//
// # Grammar
//
//	comment  = "//protect:" name { space argument }
//	argument = value | key "=" value
//
// A directive begins at the slashes, without a space anywhere before its name,
// and takes the rest of its line. Spaces inside parentheses, brackets and
// quotes belong to the value. A value that is one quoted Go string stands for
// what is inside: key="tenant(ctx, 1)" is key=tenant(ctx, 1). Lists are
// separated by commas without spaces.
//
// # What belongs to what
//
// A directive belongs to the interface, or to the method of an interface,
// in whose doc comment it stands. Anywhere else it means nothing, and is
// refused by the generator rather than passed over.
//
// [Parse] reports everything that is wrong with a line at its exact position;
// what a number may be is decided by the policies of package runtime, so that
// a rule holds for comments, files and calls alike.
package directive
