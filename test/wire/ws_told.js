// SPDX-License-Identifier: MIT
//
// What the receiver of npm's ws reads, in the form of ws_told.c, for ws_differ.py.  The argument is
// the folder node_modules.
'use strict';

const path = require('path');
const lib = path.join(path.resolve(process.argv[2]), 'ws', 'lib');
const Receiver = require(path.join(lib, 'receiver.js'));
const PerMessageDeflate = require(path.join(lib, 'permessage-deflate.js'));
const { kStatusCode } = require(path.join(lib, 'constants.js'));

// Agreed on without context takeover either way, as ours is.
function deflate(limit) {
  const agreed = new PerMessageDeflate({ clientNoContextTakeover: true }, true, limit);
  agreed.accept([{ client_no_context_takeover: [true], server_no_context_takeover: [true] }]);
  return agreed;
}

function tell(deflates, limit, bytes) {
  return new Promise((resolve) => {
    const said = [];
    const extensions = deflates ? { 'permessage-deflate': deflate(limit) } : {};
    const receiver = new Receiver({ isServer: true, maxPayload: limit, extensions });
    let failed = false;
    const fail = (error) => {
      if (!failed) said.push(`failed:${error[kStatusCode]}:${error.code}`);
      failed = true;
    };
    receiver.on('message', (data, isBinary) =>
      said.push((isBinary ? 'binary:' : 'text:') + data.toString('hex')));
    receiver.on('ping', (data) => said.push('ping:' + data.toString('hex')));
    receiver.on('pong', (data) => said.push('pong:' + data.toString('hex')));
    receiver.on('conclude', (code, reason) =>
      said.push(`close:${code}:${reason.toString('hex')}`));
    receiver.on('error', fail);
    receiver.write(bytes, (error) => {
      if (error) fail(error);
      resolve(said.join(' '));
    });
  });
}

async function main() {
  const pieces = [];
  for await (const piece of process.stdin) pieces.push(piece);
  const input = Buffer.concat(pieces);
  const lines = [];
  for (let at = 0; at < input.length;) {
    const n = input.readUInt32BE(at + 5);
    const bytes = Buffer.from(input.subarray(at + 9, at + 9 + n));
    lines.push(await tell((input[at] & 1) !== 0, input.readUInt32BE(at + 1), bytes));
    at += 9 + n;
  }
  process.stdout.write(lines.join('\n') + '\n');
}

main();
