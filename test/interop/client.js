// SPDX-License-Identifier: MIT
//
// A WebSocket of one of Node.js's libraries, driven by lines of JSON:
//
//   client.js LIBRARY URL PROTOCOL...
//
//   to it      {"send": TEXT}  {"close": [CODE, REASON]}
//   from it    {"open": {"protocol": ..., "extensions": ...}}  {"message": TEXT}
//              {"close": [CODE, REASON]}
//
// With `reconnecting` it comes back by itself, with the last id of bugle.v1 that it has seen.
'use strict';

const readline = require('node:readline');

const [library, url, ...protocols] = process.argv.slice(2);
let lastId = '';

function say(line) {
  process.stdout.write(JSON.stringify(line) + '\n');
}

function place() {
  return lastId ? url + (url.includes('?') ? '&' : '?') + 'last_event_id=' + lastId : url;
}

function open() {
  if (library === 'ws') {
    const { WebSocket } = require('ws');
    return new WebSocket(url, protocols, { origin: process.env.ORIGIN });
  }
  if (library === 'undici') {
    const { WebSocket } = require('undici');
    return new WebSocket(url, protocols);
  }
  const Reconnecting = require('reconnecting-websocket');
  return new Reconnecting(place, protocols, {
    WebSocket: require('ws').WebSocket, minReconnectionDelay: 50, maxReconnectionDelay: 500,
  });
}

const socket = open();
socket.addEventListener('open', () => say({
  open: { protocol: socket.protocol, extensions: socket.extensions },
}));
socket.addEventListener('message', (event) => {
  if (protocols.length > 0) {
    const message = JSON.parse(event.data);
    if (message.id && message.type !== 'ack') lastId = message.id;
  }
  say({ message: event.data });
});
socket.addEventListener('close', (event) => {
  say({ close: [event.code, event.reason] });
  if (library !== 'reconnecting') process.exit();
});
socket.addEventListener('error', () => {});

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const command = JSON.parse(line);
  if (command.send !== undefined) socket.send(command.send);
  else socket.close(...command.close);
}).on('close', () => process.exit());
