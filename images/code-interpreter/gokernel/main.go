// gokernel is a Jupyter kernel for Go: cells run in the yaegi interpreter, no toolchain is needed.
//
// Its limits are yaegi's: the standard library only, no min and max built-ins, no range over an integer.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-zeromq/zmq4"
)

type connectionFile struct {
	Transport string `json:"transport"`
	IP        string `json:"ip"`
	Key       string `json:"key"`
	Shell     int    `json:"shell_port"`
	IOPub     int    `json:"iopub_port"`
	Stdin     int    `json:"stdin_port"`
	Control   int    `json:"control_port"`
	Heartbeat int    `json:"hb_port"`
}

func (c *connectionFile) address(port int) string {
	if c.Transport == "ipc" {
		return fmt.Sprintf("ipc://%s-%d", c.IP, port)
	}
	return fmt.Sprintf("%s://%s:%d", c.Transport, c.IP, port)
}

type kernel struct {
	wire           *wire
	cells          *cells
	shell, control zmq4.Socket
}

func main() {
	if len(os.Args) != 2 {
		fail(fmt.Errorf("usage: gokernel CONNECTION_FILE"))
	}
	// An interrupt comes as a message; the signal would end the process and lose all variables.
	signal.Ignore(syscall.SIGINT)
	text, err := os.ReadFile(os.Args[1])
	var file connectionFile
	if err == nil {
		err = json.Unmarshal(text, &file)
	}
	var k *kernel
	if err == nil {
		k, err = start(&file)
	}
	if err != nil {
		fail(err)
	}
	go k.serve(k.control)
	k.serve(k.shell)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "gokernel:", err)
	os.Exit(1)
}

func start(file *connectionFile) (*kernel, error) {
	ctx := context.Background()
	iopub := zmq4.NewPub(ctx)
	k := &kernel{shell: zmq4.NewRouter(ctx), control: zmq4.NewRouter(ctx)}
	heartbeat := zmq4.NewRep(ctx)
	for _, row := range []struct {
		socket zmq4.Socket
		port   int
	}{
		{iopub, file.IOPub}, {k.shell, file.Shell}, {k.control, file.Control},
		{zmq4.NewRouter(ctx), file.Stdin}, {heartbeat, file.Heartbeat},
	} {
		if err := row.socket.Listen(file.address(row.port)); err != nil {
			return nil, err
		}
	}
	k.wire = newWire([]byte(file.Key), iopub)
	go echo(heartbeat)
	var err error
	k.cells, err = newCells(k.wire)
	if err == nil {
		k.wire.publish(nil, "status", fields{"execution_state": "starting"})
	}
	return k, err
}

func echo(heartbeat zmq4.Socket) {
	for {
		if message, err := heartbeat.Recv(); err == nil {
			_ = heartbeat.Send(message) // the next beat tells
		}
	}
}

// serve answers the requests of one channel, one after the other.
func (k *kernel) serve(socket zmq4.Socket) {
	for {
		frames, err := socket.Recv()
		if err != nil {
			continue
		}
		request, err := k.wire.parse(frames.Frames)
		if err != nil {
			continue // not signed with our key, or not a message: nobody to answer to
		}
		k.handle(socket, request)
	}
}

func (k *kernel) handle(socket zmq4.Socket, request *message) {
	k.wire.publish(request, "status", fields{"execution_state": "busy"})
	defer k.wire.publish(request, "status", fields{"execution_state": "idle"})
	kind := request.header.Type
	reply, known := fields{"status": "ok"}, true
	switch kind {
	case "kernel_info_request":
		reply = kernelInfo
	case "execute_request":
		reply = k.cells.execute(request)
	case "is_complete_request":
		reply = isComplete(request)
	case "interrupt_request":
		k.cells.interrupt()
	case "complete_request":
		cursor := request.content.CursorPos
		reply = fields{"status": "ok", "matches": []string{}, "cursor_start": cursor, "cursor_end": cursor, "metadata": fields{}}
	case "inspect_request":
		reply = fields{"status": "ok", "found": false, "data": fields{}, "metadata": fields{}}
	case "history_request":
		reply = fields{"status": "ok", "history": []any{}}
	case "comm_info_request":
		reply = fields{"status": "ok", "comms": fields{}}
	case "shutdown_request":
		reply["restart"] = request.content.Restart
	default:
		known = false
	}
	if known {
		k.wire.reply(socket, request, reply)
	}
	if kind == "shutdown_request" {
		os.Exit(0)
	}
}

var kernelInfo = fields{
	"status":                 "ok",
	"protocol_version":       "5.3",
	"implementation":         "gokernel",
	"implementation_version": "1.0",
	"language_info": fields{
		"name": "go", "version": "1.21", "mimetype": "text/x-go", "file_extension": ".go",
	},
	"banner": "Go (yaegi)",
}
