package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/go-zeromq/zmq4"
)

type fields map[string]any

type header struct {
	ID       string `json:"msg_id"`
	Session  string `json:"session"`
	Username string `json:"username"`
	Date     string `json:"date"`
	Type     string `json:"msg_type"`
	Version  string `json:"version"`
}

// content holds what requests may say, of all types together.
type content struct {
	Code         string `json:"code"`
	Silent       bool   `json:"silent"`
	StoreHistory *bool  `json:"store_history"`
	StopOnError  *bool  `json:"stop_on_error"`
	CursorPos    int    `json:"cursor_pos"`
	Restart      bool   `json:"restart"`
}

type message struct {
	identities [][]byte
	header     header
	rawHeader  []byte // as it came: it becomes the parent of every answer
	content    content
}

var delimiter = []byte("<IDS|MSG>")

// wire signs, sends and takes apart messages. Any goroutine may publish.
type wire struct {
	key     []byte
	session string
	iopub   zmq4.Socket
	mutex   sync.Mutex
}

func newWire(key []byte, iopub zmq4.Socket) *wire {
	return &wire{key: key, session: newID(), iopub: iopub}
}

func newID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	return hex.EncodeToString(id)
}

func (w *wire) sign(parts [][]byte) []byte {
	if len(w.key) == 0 {
		return nil
	}
	mac := hmac.New(sha256.New, w.key)
	for _, part := range parts {
		mac.Write(part)
	}
	return []byte(hex.EncodeToString(mac.Sum(nil)))
}

func (w *wire) parse(frames [][]byte) (*message, error) {
	at := 0
	for at < len(frames) && !bytes.Equal(frames[at], delimiter) {
		at++
	}
	if len(frames) < at+6 {
		return nil, errors.New("too few frames")
	}
	parts := frames[at+2 : at+6]
	if !hmac.Equal(frames[at+1], w.sign(parts)) {
		return nil, errors.New("wrong signature")
	}
	m := &message{identities: frames[:at], rawHeader: parts[0]}
	if err := json.Unmarshal(parts[0], &m.header); err != nil {
		return nil, err
	}
	return m, json.Unmarshal(parts[3], &m.content)
}

func (w *wire) build(before [][]byte, kind string, parent *message, content fields) zmq4.Msg {
	head, _ := json.Marshal(header{newID(), w.session, "kernel", time.Now().UTC().Format(time.RFC3339Nano), kind, "5.3"})
	body, _ := json.Marshal(content) // both consist of what always can be encoded
	origin := []byte("{}")
	if parent != nil {
		origin = parent.rawHeader
	}
	parts := [][]byte{head, origin, []byte("{}"), body}
	frames := append(append([][]byte{}, before...), delimiter, w.sign(parts))
	return zmq4.NewMsgFrom(append(frames, parts...)...)
}

// reply answers a request on its own channel. A lost connection is the asker's loss.
func (w *wire) reply(socket zmq4.Socket, request *message, content fields) {
	kind := request.header.Type
	kind = kind[:len(kind)-len("request")] + "reply"
	_ = socket.SendMulti(w.build(request.identities, kind, request, content))
}

func (w *wire) publish(parent *message, kind string, content fields) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	_ = w.iopub.SendMulti(w.build([][]byte{[]byte(kind)}, kind, parent, content)) // nobody listens: as intended
}
