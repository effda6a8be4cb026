// SPDX-License-Identifier: MIT

// A WebSocket of gorilla; see client.js: gorilla URL PROTOCOL...
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"time"

	"github.com/gorilla/websocket"
)

type line map[string]interface{}

func say(what line) {
	json.NewEncoder(os.Stdout).Encode(what)
}

func obey(socket *websocket.Conn) {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var command struct {
			Send  *string
			Close []interface{}
		}
		if json.Unmarshal(lines.Bytes(), &command) != nil {
			os.Exit(2)
		}
		if command.Send != nil {
			socket.WriteMessage(websocket.TextMessage, []byte(*command.Send))
		} else {
			code, reason := command.Close[0].(float64), command.Close[1].(string)
			socket.WriteControl(websocket.CloseMessage,
				websocket.FormatCloseMessage(int(code), reason), time.Now().Add(time.Second))
		}
	}
	os.Exit(0)
}

func main() {
	dialer := websocket.Dialer{Subprotocols: os.Args[2:], EnableCompression: true}
	socket, answer, err := dialer.Dial(os.Args[1], nil)
	if err != nil {
		if answer != nil {
			say(line{"status": answer.StatusCode})
		}
		os.Exit(1)
	}
	say(line{"open": line{
		"protocol":   socket.Subprotocol(),
		"extensions": answer.Header.Get("Sec-WebSocket-Extensions")}})
	go obey(socket)
	for {
		_, text, err := socket.ReadMessage()
		if closed, ok := err.(*websocket.CloseError); ok {
			say(line{"close": []interface{}{closed.Code, closed.Text}})
			return
		} else if err != nil {
			say(line{"close": []interface{}{1006, err.Error()}})
			return
		}
		say(line{"message": string(text)})
	}
}
