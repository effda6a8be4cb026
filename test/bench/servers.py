# SPDX-License-Identifier: MIT
"""The servers that are measured: how each is made, started, spoken to and ended."""

import contextlib
import os
import pathlib
import random
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
START_SECONDS = 20
STOP_SECONDS = 20
NCHAN_MODULE = "/usr/lib/nginx/modules/ngx_nchan_module.so"

# Heartbeats, history and the largest head as the gateway has them by default; no access log,
# connections that are kept as long as their clients want, and bodies in memory instead of a file,
# so that nginx is not measured doing something else.
NGINX_CONF = """\
load_module {module};
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile {descriptors};
pid {work}/nginx.pid;
error_log {work}/nginx.log error;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    large_client_header_buffers 4 16k;
    client_body_buffer_size 128k;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    nchan_shared_memory_size 1G;
    {more}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /pub {{
            nchan_publisher;
            nchan_channel_id $arg_topic;
            nchan_message_buffer_length 10000;
            nchan_message_timeout 1h;
        }}
        location = /ws {{
            nchan_pubsub websocket;
            nchan_channel_id $arg_topic;
            nchan_subscriber_first_message newest;
            nchan_message_buffer_length 10000;
            nchan_message_timeout 1h;
            nchan_websocket_ping_interval 15;
        }}
        location = /sub {{
            nchan_subscriber eventsource;
            nchan_channel_id $arg_topic;
            nchan_subscriber_first_message newest;
            nchan_eventsource_ping_interval 15;
            nchan_eventsource_ping_comment "";
        }}
    }}
}}
"""


class Failed(Exception):
    """A server that does not start, or a tool that is not there."""


def free_port():
    """One that nobody listens on, below those of outgoing connections."""
    while True:
        port = random.randint(10000, 30000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def children(pid):
    """The processes whose parent it is; the name in a stat line may hold anything but `)`."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


class Server:
    """One server, from start() to stop().  `name` is its column in the tables."""

    stream_path = "/events?topic={topic}"
    publish_path = "/api/push"
    socket_path = "/ws?topic={topic}"
    texts_path = "/ws?topic={topic}&publish={topic}"  # that takes texts and gives them back
    bench_args = ()  # what the load tool needs to publish to it by POST

    def __init__(self, name, tools, cpus):
        self.name = name
        self.tools = tools
        self.cpus = cpus
        self.port = self.process = self.log = None

    def prepare(self):
        """Build it, if it has to be built."""

    def command(self):
        raise NotImplementedError

    def start(self):
        self.port = free_port()
        self.log = open(self.tools.work / f"{self.name}.log", "wb")
        command = ["taskset", "-c", self.cpus, *map(str, self.command())]
        self.process = subprocess.Popen(command, cwd=self.tools.work, stdout=self.log,
                                        stderr=self.log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            time.sleep(0.02)
        self.stop()
        raise Failed(f"{self.name} does not start: {shlex.join(command)}\n{self.said()}")

    def said(self):
        return (self.tools.work / f"{self.name}.log").read_text(errors="replace")[-2000:]

    def stop(self):
        if self.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(STOP_SECONDS)
        self.process.kill()
        self.process.wait()
        self.process = None
        self.log.close()

    def pids(self):
        return [self.process.pid, *children(self.process.pid)]

    def streams_url(self):
        return f"http://127.0.0.1:{self.port}"

    def addressed(self, options, extra=""):
        """The options of `bugle bench` that name it, beside `options`, which say over what;
        `extra` ends the name of each topic."""
        url = f"http://127.0.0.1:{self.port}"
        streams = self.streams_url() + (
            self.socket_path if "--ws" in options else self.stream_path)
        publish = {"raw": self.texts_path, "v1": "/ws?topic=bench-none"}
        for way, path in publish.items():
            if way in options:
                return ["--stream-url", streams, "--publish-url", url + path]
        named = ["--stream-url", streams, "--publish-url", url + self.publish_path,
                 *self.bench_args]
        return [option.replace("{topic}", "{topic}" + extra) for option in named]

    def version(self):
        return ""


class Bugle(Server):
    """The gateway.  The store is made afresh at every start."""

    bench_args = ("--publish-body", '{"topic":"{topic}","data":"{data}"}')

    def __init__(self, name, tools, cpus, store="memory", workers=1, heartbeat=None, tls=False):
        super().__init__(name, tools, cpus)
        self.store = store
        self.disk = tools and tools.work  # where a store on disk is
        self.keeps = None  # at most so many events
        self.workers = workers
        self.tls_port = free_port() if tls else None
        if heartbeat is not None:
            self.stream_path += f"&heartbeat={heartbeat}"
            self.socket_path += f"&heartbeat={heartbeat}"

    def prepare(self):
        """A certificate for whoever wants one."""
        if self.tls_port:
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                            "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem", "-out",
                            "cert.pem", "-subj", "/CN=localhost"],
                           cwd=self.tools.work, check=True, stderr=subprocess.DEVNULL)

    def streams_url(self):
        if self.tls_port:
            return f"https://127.0.0.1:{self.tls_port}"
        return super().streams_url()

    def listens_inside_tls(self):
        settings = {"listen": f"127.0.0.1:{self.tls_port}", "certificate": "cert.pem",
                    "key": "key.pem"} if self.tls_port else {}
        return [word for name, value in settings.items()
                for word in ("--set", f"tls.{name}={value}")]

    def keeps_few(self):
        return ("--set", f"history.max_events={self.keeps}") if self.keeps else ()

    def command(self):
        store = "memory:"
        if self.store == "sqlite":
            folder = self.disk / "store"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            store = f"sqlite:{folder}/history.db"
        return [self.tools.bugle, "serve", "--listen", f"127.0.0.1:{self.port}", "--workers",
                self.workers, "--store", store, "--set", "limits.message_rate=0",
                *self.listens_inside_tls(), *self.keeps_few(), *self.tools.bugle_args]

    def version(self):
        result = subprocess.run([self.tools.bugle, "--version"], capture_output=True, text=True,
                                check=True)
        return result.stdout.splitlines()[0]


class Nchan(Server):
    """nginx with nchan as Debian has it: one worker, its history in shared memory."""

    stream_path = "/sub?topic={topic}"
    publish_path = "/pub?topic={topic}"
    texts_path = Server.socket_path
    bench_args = ("--publish-body", "{data}", "--publish-type", "text/plain")

    def more_settings(self):
        """Of nchan, for all its locations."""
        return ""

    def command(self):
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        conf = self.tools.work / "nginx.conf"
        conf.write_text(NGINX_CONF.format(
            module=NCHAN_MODULE, user="user root;" if os.geteuid() == 0 else "",
            descriptors=descriptors, connections=descriptors - 100, work=self.tools.work,
            port=self.port, more=self.more_settings()))
        return ["/usr/sbin/nginx", "-e", self.tools.work / "nginx.log", "-p", self.tools.work,
                "-c", conf]

    def start(self):
        """The master listens before it has its worker."""
        super().start()
        end = time.monotonic() + START_SECONDS
        while len(self.pids()) < 2:
            if time.monotonic() > end:
                self.stop()
                raise Failed(f"nginx has no worker\n{self.said()}")
            time.sleep(0.02)

    def version(self):
        packages = ["nginx", "libnginx-mod-nchan"]
        result = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *packages],
                                capture_output=True, text=True, check=False)
        return ", ".join(result.stdout.split("\n")[:-1])


class Go(Server):
    """A channel and a goroutine a client: test/bench/gohub."""

    bench_args = Bugle.bench_args

    def prepare(self):
        go = shutil.which("go")
        if go is None:
            raise Failed("there is no go")
        environment = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode",
                       "GOCACHE": str(self.tools.work / "go")}
        sources = sorted((HERE / "gohub").glob("*.go"))
        subprocess.run([go, "build", "-o", self.tools.work / "gohub", *sources],
                       env=environment, cwd=self.tools.work, check=True)

    def command(self):
        return [self.tools.work / "gohub", "-listen", f"127.0.0.1:{self.port}"]

    def version(self):
        result = subprocess.run(["go", "version"], capture_output=True, text=True, check=True)
        return result.stdout.strip()


class Floor(Server):
    """One bare send() a delivery: floor.c."""

    bench_args = Bugle.bench_args

    def prepare(self):
        compiler = shlex.split(os.environ.get("CC", "cc"))
        subprocess.run([*compiler, "-std=gnu11", "-O2", "-o", self.tools.work / "floor",
                        HERE / "floor.c"], check=True)

    def command(self):
        return [self.tools.work / "floor", "--port", self.port]


class Tools:
    """What all servers are made with."""

    def __init__(self, bugle, bugle_args, work):
        self.bugle = pathlib.Path(bugle).resolve()
        self.bugle_args = bugle_args
        self.work = pathlib.Path(work)


def make_servers(tools, server_cpu, load_cpu):
    """All that can be measured, by name.  `both` are for two workers, which share a core with the
    load on a machine that has only two.  `all` and `half`, `events` and `sockets` are compared in
    turns, and have no heartbeats before 48 s: one would fall into the turn of one of them."""
    both = f"{server_cpu},{load_cpu}"
    return {server.name: server for server in (
        Bugle("bugle", tools, server_cpu),
        Bugle("sqlite", tools, server_cpu, store="sqlite"),
        Bugle("one-worker", tools, both),
        Bugle("two-workers", tools, both, workers=2),
        Bugle("all", tools, server_cpu, heartbeat=60),
        Bugle("half", tools, server_cpu, heartbeat=60),
        Bugle("events", tools, server_cpu, heartbeat=60),
        Bugle("sockets", tools, server_cpu, heartbeat=60),
        Bugle("tls", tools, server_cpu, tls=True),
        Nchan("nchan", tools, server_cpu),
        Go("go", tools, server_cpu),
        Floor("floor", tools, server_cpu))}
