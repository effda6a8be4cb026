// SPDX-License-Identifier: MIT

package main

import (
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

// A client is two goroutines, as everybody writes it: one reads, the other one writes and pings.

const (
	pong  = 60 * time.Second // without one for so long a client is gone
	ping  = pong * 9 / 10
	wait  = 10 * time.Second // for the kernel to take a message
	limit = 128 * 1024
)

var upgrader = websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}

func (h *hub) socket(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	c := make(client, queued)
	query := r.URL.Query()
	h.join(query.Get("topic"), c)
	gone := make(chan struct{})
	go sendTo(conn, c, gone)
	h.receiveFrom(conn, query.Get("publish"))
	h.leave(query.Get("topic"), c)
	close(gone)
}

// receiveFrom publishes what comes, until nothing comes any more.
func (h *hub) receiveFrom(conn *websocket.Conn, publish string) {
	conn.SetReadLimit(limit)
	conn.SetReadDeadline(time.Now().Add(pong))
	conn.SetPongHandler(func(string) error {
		return conn.SetReadDeadline(time.Now().Add(pong))
	})
	for {
		kind, text, err := conn.ReadMessage()
		if err != nil {
			return
		}
		if kind == websocket.TextMessage {
			h.publish(publish, string(text))
		}
	}
}

func sendTo(conn *websocket.Conn, c client, gone chan struct{}) {
	defer conn.Close()
	beat := time.NewTicker(ping)
	defer beat.Stop()
	for {
		var err error
		select {
		case e := <-c:
			conn.SetWriteDeadline(time.Now().Add(wait))
			err = conn.WriteMessage(websocket.TextMessage, e.text)
		case <-beat.C:
			conn.SetWriteDeadline(time.Now().Add(wait))
			err = conn.WriteMessage(websocket.PingMessage, nil)
		case <-gone:
			return
		}
		if err != nil {
			return
		}
	}
}
