// SPDX-License-Identifier: MIT

// The hub that a team writes in an afternoon, to be measured beside the gateway: net/http, and a
// goroutine with a buffered channel for each client.  A client whose channel is full misses
// events; nothing is kept, nothing is replayed, nobody is told.  It speaks as much of the
// gateway's wire as `bugle bench` needs:
//
//	GET  /events?topic=T          a stream of events
//	GET  /ws?topic=T&publish=P    the same over a WebSocket, whose texts are published: ws.go
//	POST /api/push                {"topic": T, "data": D}, answered with an id
//
// Nothing but the standard library and gorilla/websocket as Debian has it, so that one `go build`
// without a network makes it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"sync"
	"time"
)

const (
	queued    = 256 // events that a client may be behind
	heartbeat = 15 * time.Second
)

// event has what goes out over either transport, made once.
type event struct {
	frame []byte // Server-Sent Events
	text  []byte // WebSocket
}

type client chan *event

type hub struct {
	mutex  sync.Mutex
	topics map[string]map[client]struct{}
	newest uint64
}

func (h *hub) join(topic string, c client) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.topics[topic] == nil {
		h.topics[topic] = make(map[client]struct{})
	}
	h.topics[topic][c] = struct{}{}
}

func (h *hub) leave(topic string, c client) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	delete(h.topics[topic], c)
	if len(h.topics[topic]) == 0 {
		delete(h.topics, topic)
	}
}

// publish numbers an event and puts it into the channel of each of its clients, if it has room.
func (h *hub) publish(topic, data string) uint64 {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.newest++
	e := &event{[]byte(fmt.Sprintf("data: %s\nid: %d\n\n", data, h.newest)), []byte(data)}
	for c := range h.topics[topic] {
		select {
		case c <- e:
		default:
		}
	}
	return h.newest
}

// write sends a frame and all that is queued behind it, with one flush.
func write(w http.ResponseWriter, flusher http.Flusher, c client, frame []byte) error {
	for {
		if _, err := w.Write(frame); err != nil {
			return err
		}
		select {
		case e := <-c:
			frame = e.frame
		default:
			flusher.Flush()
			return nil
		}
	}
}

func (h *hub) stream(w http.ResponseWriter, r *http.Request) {
	flusher, ok := w.(http.Flusher)
	if !ok {
		http.Error(w, "no streaming", http.StatusInternalServerError)
		return
	}
	c := make(client, queued)
	topic := r.URL.Query().Get("topic")
	h.join(topic, c)
	defer h.leave(topic, c)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	frame := []byte(":\n\n")
	for {
		if write(w, flusher, c, frame) != nil {
			return
		}
		select {
		case e := <-c:
			frame = e.frame
		case <-beat.C:
			frame = []byte(":\n\n")
		case <-r.Context().Done():
			return
		}
	}
}

func (h *hub) push(w http.ResponseWriter, r *http.Request) {
	var body struct{ Topic, Data string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id := h.publish(body.Topic, body.Data)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, "{\"id\":\"%d\"}", id)
}

func main() {
	address := flag.String("listen", "127.0.0.1:8080", "address and port")
	flag.Parse()
	h := &hub{topics: make(map[string]map[client]struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("/events", h.stream)
	mux.HandleFunc("/ws", h.socket)
	mux.HandleFunc("/api/push", h.push)
	log.Fatal(http.ListenAndServe(*address, mux))
}
