package main

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"os"
	"reflect"
	"strings"
	"sync"

	"github.com/traefik/yaegi/interp"
	"github.com/traefik/yaegi/stdlib"
	"github.com/traefik/yaegi/stdlib/syscall"
	"github.com/traefik/yaegi/stdlib/unrestricted"
)

// cells is the interpreter with its variables, and what runs in it just now.
type cells struct {
	wire           *wire
	interpreter    *interp.Interpreter
	stdout, stderr *capture
	count          int
	values         []any // of the last expression, see show
	imported       map[string]bool

	mutex  sync.Mutex
	cancel context.CancelFunc // of the running cell
}

func newCells(w *wire) (*cells, error) {
	c := &cells{wire: w, imported: map[string]bool{}}
	var err error
	if c.stdout, err = newCapture(w, "stdout"); err != nil {
		return nil, err
	}
	if c.stderr, err = newCapture(w, "stderr"); err != nil {
		return nil, err
	}
	// Unrestricted: os.Exit and the environment are the real ones; the sandbox is what confines a cell.
	c.interpreter = interp.New(interp.Options{Stdin: devNull(), Stdout: c.stdout.file, Stderr: c.stderr.file,
		Env: os.Environ(), Args: []string{"cell"}, Unrestricted: true})
	show := func(values ...any) { c.values = values }
	for _, symbols := range []interp.Exports{stdlib.Symbols, syscall.Symbols, unrestricted.Symbols,
		{"gokernel/gokernel": {"Show": reflect.ValueOf(show)}}} {
		if err = c.interpreter.Use(symbols); err != nil {
			return nil, err
		}
	}
	_, err = c.interpreter.Eval(`import "gokernel"`)
	return c, err
}

func devNull() *os.File {
	file, err := os.Open(os.DevNull)
	if err != nil {
		return os.Stdin
	}
	return file
}

func (c *cells) interrupt() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.cancel != nil {
		c.cancel()
	}
}

func (c *cells) execute(request *message) fields {
	if !request.content.Silent {
		c.count++
		c.wire.publish(request, "execute_input", fields{"code": request.content.Code, "execution_count": c.count})
	}
	c.stdout.parent.Store(request)
	c.stderr.parent.Store(request)
	ctx, cancel := context.WithCancel(context.Background())
	c.setCancel(cancel)
	result, err := c.run(ctx, request.content.Code)
	c.setCancel(nil)
	cancel()
	c.stdout.flush()
	c.stderr.flush()
	if err != nil {
		problem := describe(err)
		c.wire.publish(request, "error", problem)
		return fields{"status": "error", "execution_count": c.count, "ename": problem["ename"],
			"evalue": problem["evalue"], "traceback": problem["traceback"]}
	}
	if result != "" && !request.content.Silent {
		c.wire.publish(request, "execute_result", fields{"execution_count": c.count,
			"data": fields{"text/plain": result}, "metadata": fields{}})
	}
	return fields{"status": "ok", "execution_count": c.count, "payload": []any{}, "user_expressions": fields{}}
}

func (c *cells) setCancel(cancel context.CancelFunc) {
	c.mutex.Lock()
	c.cancel = cancel
	c.mutex.Unlock()
}

// run evaluates a cell; the result is the text of its last expression, if that has one value.
func (c *cells) run(ctx context.Context, code string) (string, error) {
	pieces, err := split(code)
	if err != nil {
		return "", err
	}
	for i, next := range pieces {
		switch {
		case len(next.imports) > 0:
			err = c.importAll(ctx, next.imports)
		case i == len(pieces)-1 && next.expression != "":
			return c.show(ctx, next)
		default:
			_, err = c.interpreter.EvalWithContext(ctx, next.source)
		}
		if err != nil {
			return "", err
		}
	}
	return "", nil
}

// importAll skips what is there already: the interpreter takes some imports for new ones in every cell.
func (c *cells) importAll(ctx context.Context, specs []*ast.ImportSpec) error {
	for _, spec := range specs {
		text := spec.Path.Value
		if spec.Name != nil {
			text = spec.Name.Name + " " + text
		}
		if c.imported[text] {
			continue
		}
		if _, err := c.interpreter.EvalWithContext(ctx, "import "+text); err != nil {
			return err
		}
		c.imported[text] = true
	}
	return nil
}

// show evaluates an expression as the argument of a function of ours: only so is it known how many values it has. A call
// without any is no argument, and then a plain statement.
func (c *cells) show(ctx context.Context, last piece) (string, error) {
	c.values = nil
	call := strings.Replace(last.source, last.expression, "gokernel.Show("+last.expression+")", 1)
	if _, err := c.interpreter.Compile(call); err != nil {
		_, err = c.interpreter.EvalWithContext(ctx, last.source)
		return "", err
	}
	if _, err := c.interpreter.EvalWithContext(ctx, call); err != nil {
		return "", err
	}
	if len(c.values) != 1 || c.values[0] == nil {
		return "", nil
	}
	return fmt.Sprintf("%+v", c.values[0]), nil
}

// describe: ename is the kind of the failure, the traceback begins with the message.
func describe(err error) fields {
	name, text := "CompileError", err.Error()
	var panicked interp.Panic
	if errors.Is(err, context.Canceled) {
		name, text = "KeyboardInterrupt", "interrupted"
	} else if errors.As(err, &panicked) {
		name, text = "panic", fmt.Sprint(panicked.Value)
	}
	text = strings.ReplaceAll(text, "_.go:", "cell:")
	return fields{"ename": name, "evalue": text, "traceback": []string{name + ": " + text}}
}
