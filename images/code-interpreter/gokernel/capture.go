package main

import (
	"bytes"
	"os"
	"sync/atomic"
	"unicode/utf8"
)

// capture turns what is written to a file (os.Stdout of the cells, and that of the programs they start) into stream
// messages of the running cell.
type capture struct {
	name    string
	file    *os.File // the writing end
	reader  *os.File
	wire    *wire
	parent  atomic.Pointer[message]
	marker  []byte // written to the same file, it tells that everything before it has been read
	reached chan struct{}
}

func newCapture(w *wire, name string) (*capture, error) {
	reader, writer, err := os.Pipe()
	c := &capture{name: name, file: writer, reader: reader, wire: w,
		marker: []byte("\x00" + newID() + "\x00"), reached: make(chan struct{}, 1)}
	if err == nil {
		go c.run()
	}
	return c, err
}

// flush returns when everything that was written before has been published.
func (c *capture) flush() {
	if _, err := c.file.Write(c.marker); err == nil {
		<-c.reached
	}
}

func (c *capture) run() {
	buffer := make([]byte, 64<<10)
	var pending []byte
	for {
		n, err := c.reader.Read(buffer)
		if err != nil {
			return // the cell closed os.Stdout: nothing comes any more
		}
		pending = append(pending, buffer[:n]...)
		if at := bytes.Index(pending, c.marker); at >= 0 {
			c.publish(pending[:at])
			pending = pending[at+len(c.marker):]
			c.reached <- struct{}{}
		}
		whole := len(pending) - unfinished(pending, c.marker)
		c.publish(pending[:whole])
		pending = append([]byte(nil), pending[whole:]...)
	}
}

// unfinished is the length of the end that may still become the marker or a character.
func unfinished(text, marker []byte) int {
	for n := min(len(marker)-1, len(text)); n > 0; n-- {
		if bytes.HasPrefix(marker, text[len(text)-n:]) {
			return n
		}
	}
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if last := text[len(text)-n:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				return n
			}
			break
		}
	}
	return 0
}

func (c *capture) publish(text []byte) {
	if len(text) > 0 {
		c.wire.publish(c.parent.Load(), "stream", fields{"name": c.name, "text": string(bytes.ToValidUTF8(text, []byte("\uFFFD")))})
	}
}
