#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A link in between: what comes to a port goes to another address.  Stopped by SIGSTOP it holds
everything back, and killed then it takes that along, which a kernel's own buffers would not.

    rig_proxy.py PORT HOST PORT
"""

import socket
import sys
import threading

BYTES = 65536


def copy(source, sink):
    try:
        while data := source.recv(BYTES):
            sink.sendall(data)
    except OSError:
        pass
    for each in (source, sink):
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(port, target):
    with socket.create_server(("", port)) as listener:
        while True:
            near, _ = listener.accept()
            try:
                far = socket.create_connection(target)
            except OSError:
                near.close()
                continue
            for pair in ((near, far), (far, near)):
                for each in pair:
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=copy, args=pair, daemon=True).start()


if __name__ == "__main__":
    serve(int(sys.argv[1]), (sys.argv[2], int(sys.argv[3])))
