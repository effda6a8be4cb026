# SPDX-License-Identifier: MIT
"""The proxies that stand in front of gateways, as small as they can be configured.

Each refuses what asks for the topic `hidden`, with a 403 of its own, and keeps its connections to
the gateway for more requests.  So a request for that topic which reaches the gateway has come past
the proxy inside another one.
"""

import contextlib
import os
import shutil
import socket
import subprocess

import conftest
import wire

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 1000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream gateway {{ server 127.0.0.1:{gateway}; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            if ($arg_topic = hidden) {{ return 403; }}
            proxy_pass http://gateway;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host localhost;
            proxy_request_buffering off;
        }}
        location = /ws {{
            if ($arg_topic = hidden) {{ return 403; }}
            proxy_pass http://gateway;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_set_header Host localhost;
        }}
    }}
}}
"""

HAPROXY = """
global
    maxconn 1000
defaults
    mode http
    timeout connect 5s
    timeout client 10s
    timeout server 10s
    timeout tunnel 60s
frontend front
    bind 127.0.0.1:{port}
    http-request deny deny_status 403 if {{ url_param(topic) hidden }}
    default_backend gateway
backend gateway
    http-reuse always
    server gateway 127.0.0.1:{gateway}
"""

CADDY = """
{{
    admin off
    auto_https off
}}
:{port} {{
    bind 127.0.0.1
    @hidden query topic=hidden
    respond @hidden 403
    reverse_proxy 127.0.0.1:{gateway}
}}
"""

FRONTS = {
    "nginx": (NGINX, ["/usr/sbin/nginx", "-e", "{folder}/nginx.log", "-p", "{folder}", "-c",
                      "{conf}"]),
    "haproxy": (HAPROXY, ["/usr/sbin/haproxy", "-db", "-q", "-f", "{conf}"]),
    "caddy": (CADDY, ["caddy", "run", "--adapter", "caddyfile", "--config", "{conf}"]),
}


def is_listening(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def front(name, gateway_port, folder):
    """Run one of them in front of a gateway; the port it listens on."""
    form, words = FRONTS[name]
    port = conftest.free_port()
    conf = folder / f"{name}.conf"
    conf.write_text(form.format(folder=folder, port=port, gateway=gateway_port))
    command = [word.format(folder=folder, conf=conf) for word in words]
    assert shutil.which(command[0]), f"{name} is not installed; ./bootstrap check does that"
    env = dict(os.environ, HOME=str(folder), XDG_DATA_HOME=str(folder), XDG_CONFIG_HOME=str(folder))
    log = folder / f"{name}.out"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, cwd=folder, stdin=subprocess.DEVNULL,
                                   stdout=out, stderr=out)
    try:
        wire.wait_until(lambda: process.poll() is not None or is_listening(port), 20,
                        f"{name} listens")
        assert process.poll() is None, f"{name} left:\n{log.read_text(errors='replace')}"
        yield port
    finally:
        process.kill()
        process.wait()
