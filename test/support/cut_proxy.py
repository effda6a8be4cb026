# SPDX-License-Identifier: MIT
"""A wire between a program and a server of one machine that a test can cut and mend."""

import contextlib
import selectors
import socket
import threading


class CutProxy:
    """Passes connections on to a port.  Cut, nothing passes any more and those who connect hear
    nothing, as where packets are dropped; mended, what was under way is gone and new ones pass."""

    def __init__(self, port, target):
        self.port = port
        self.target = target
        self.lock = threading.Lock()
        self.is_cut = False
        self.pairs = []
        self.listener = socket.create_server(("127.0.0.1", port))
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def cut(self):
        with self.lock:
            self.is_cut = True

    def mend(self):
        with self.lock:
            self.is_cut = False
            self._drop(self.pairs)
            self.pairs = []

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        self.mend()

    @staticmethod
    def _drop(pairs):
        for each in [each for pair in pairs for each in pair]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                self._connect(self.listener.accept()[0])

    def _connect(self, client):
        try:
            server = socket.create_connection(("127.0.0.1", self.target))
        except OSError:  # there is no server just now
            client.close()
            return
        with self.lock:
            self.pairs.append((client, server))
        threading.Thread(target=self._pass, args=(client, server), daemon=True).start()

    def _pass(self, client, server):
        with client, server, selectors.DefaultSelector() as selector, \
                contextlib.suppress(OSError):
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    data = key.fileobj.recv(65536)
                    if not data:
                        return
                    with self.lock:
                        is_cut = self.is_cut
                    if not is_cut:
                        key.data.sendall(data)
