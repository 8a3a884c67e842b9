package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
)

// piece is one declaration or statement of a cell: the interpreter refuses both kinds together, and takes some rows of
// statements for something else.
type piece struct {
	source     string // tells its own line, so that errors name the right one; the file is the interpreter's name for it
	imports    []*ast.ImportSpec
	expression string // the text, when it is nothing but an expression
}

// split cuts a cell at the semicolons, written or implied, that lie outside all brackets. Those in the header of a
// statement with a block do not count: it ends with a brace.
func split(code string) ([]piece, error) {
	var pieces []piece
	set := token.NewFileSet()
	file := set.AddFile("", set.Base(), len(code))
	var errors scanner.ErrorList
	var lexer scanner.Scanner
	lexer.Init(file, []byte(code), errors.Add, 0)
	depth, begin, end := 0, -1, 0
	header, last := false, token.SEMICOLON
	for {
		position, kind, literal := lexer.Scan()
		at := file.Offset(position)
		if kind == token.EOF || (kind == token.SEMICOLON && depth == 0 && (!header || last == token.RBRACE)) {
			if begin >= 0 {
				pieces = append(pieces, newPiece(code[begin:end], file.Line(file.Pos(begin))))
			}
			begin, header, last = -1, false, kind
			if kind == token.EOF {
				return pieces, errors.Err()
			}
			continue
		}
		switch kind {
		case token.LPAREN, token.LBRACK, token.LBRACE:
			depth++
		case token.RPAREN, token.RBRACK, token.RBRACE:
			depth--
		}
		if begin < 0 {
			begin = at
		}
		if last == token.SEMICOLON || last == token.COLON { // at the beginning, or behind a label
			header = header || kind == token.FOR || kind == token.IF || kind == token.SWITCH
		}
		last = kind
		end = at + len(kind.String()) // comments behind it are left out
		if literal != "" {
			end = at + len(literal)
		}
	}
}

func newPiece(text string, line int) piece {
	next := piece{source: fmt.Sprintf("\n//line _.go:%d:1\n%s\n", line, text)}
	if file, err := parser.ParseFile(token.NewFileSet(), "", "package main;"+text, parser.ImportsOnly); err == nil {
		next.imports = file.Imports
	}
	if _, err := parser.ParseExpr(text); err == nil {
		next.expression = text
	}
	return next
}

// isComplete: an open bracket or string asks for more.
func isComplete(request *message) fields {
	_, err := split(request.content.Code)
	depth := 0
	for _, c := range request.content.Code {
		switch c {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		}
	}
	switch {
	case depth > 0:
		return fields{"status": "incomplete", "indent": "\t"}
	case err != nil || depth < 0:
		return fields{"status": "invalid"}
	}
	return fields{"status": "complete"}
}
