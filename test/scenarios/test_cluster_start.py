# SPDX-License-Identifier: MIT
"""cluster.log at the start (bugle.conf(5), SEVERAL GATEWAYS): what a gateway does not start with,
each in a line that says what to do; what it only warns of; and that a log which cannot be reached
keeps it from nothing but publishing.  Against a real Redis."""

import contextlib
import re
import signal
import socket
import threading
import time

import pytest

import conftest
import redis_server
import wire
from test_handover import leaves, make, take_over  # noqa: F401
from test_tls import pairs  # noqa: F401

PASSWORD = "sesame-0123456789"
RIGHTS = redis_server.recipe_rights().replace(">CHANGE-THIS", f">{PASSWORD}")
KEY = "00112233445566778899aabbccddeeff" * 2

# Of the recipe, what is not tried at the start: a password is always taken, and the database of the
# URL is asked for only where there is one.
NOT_TRIED = {"+auth", "+select", "+ping"}
# What is tried only with a promise.
PROMISES = {"+wait": {"cluster.promise": "replicated", "cluster.replicas": "1"},
            "+config|get": {"cluster.promise": "disk"}}

pytestmark = pytest.mark.skipif(not redis_server.is_installed(), reason="no redis-server")


@pytest.fixture
def redis(tmp_path_factory):
    """Start servers, with lines for their files: redis("appendonly yes")."""
    with contextlib.ExitStack() as stack:
        def start(*lines):
            folder = tmp_path_factory.mktemp("redis")
            server = redis_server.RedisServer(folder, conftest.free_port(), *lines)
            stack.callback(server.stop)
            return server.start()

        yield start


def options_of(settings):
    return [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture
def refused(bugle):
    """Start a gateway that must not start.  The line that it leaves with."""
    def run(url, *words, **settings):
        settings = {name.replace("__", "."): value for name, value in settings.items()}
        done = bugle("serve", "--listen", f"127.0.0.1:{conftest.free_port()}", "--store", "memory:",
                     *options_of({"cluster.log": url, "cluster.node": "a", **settings}), timeout=20)
        assert done.returncode == 1, done
        assert "Traceback" not in done.stderr and PASSWORD not in done.stderr + done.stdout, done
        line = done.stderr.strip().splitlines()[-1]
        for word in words:
            assert word in line, f"{word} is not in: {line}"
        return line

    return run


def node(gateway_factory, server, name="a", settings=None, **options):
    """A gateway at the log of this server."""
    return gateway_factory(settings={"cluster.log": server.url, "cluster.node": name,
                                     **(settings or {})}, **options)


# settings that do not go together: without any server


@pytest.mark.parametrize("settings, words", [
    ({"cluster.log": "http://h"}, ["cluster.log", "redis://HOST:PORT"]),
    ({"cluster.log": f"http://me:{PASSWORD}@h"}, ["cluster.log", "redis://HOST:PORT"]),
    ({"cluster.log": "redis://"}, ["cluster.log is malformed", "host 1 is missing"]),
    ({"cluster.log": f"redis://:{PASSWORD}@h:port"}, ["cluster.log is malformed", "port"]),
    ({"cluster.log": "redis://h,i"}, ["cluster.log", "redis+sentinel://"]),
    ({"cluster.log": "redis+sentinel://h"}, ["cluster.log", "/NAME"]),
    ({"cluster.log": f"redis://:{PASSWORD}@h", "cluster.password": PASSWORD},
     ["cluster.log", "cluster.password"]),
    ({"cluster.log": "redis://h", "cluster.user": "me"}, ["cluster.password"]),
    ({"cluster.log": "redis://h", "cluster.password": "@/nowhere"},
     ["cluster.password", "/nowhere", "cannot be read"]),
    ({"cluster.log": "rediss://h", "cluster.ca": "/nowhere"}, ["cluster.ca", "/nowhere"]),
    ({"cluster.log": "redis://h", "cluster.ca": "/nowhere"}, ["cluster.ca", "rediss://"]),
    ({"cluster.log": "redis://h", "cluster.node": "my host"}, ["cluster.node", "my host"]),
    ({"cluster.log": "redis://h", "cluster.node": "x" * 65}, ["cluster.node"]),
    ({"cluster.log": "redis://h", "cluster.prefix": "{a}"}, ["cluster.prefix", "{a}"]),
    ({"cluster.log": "redis://h", "cluster.promise": "replicated"},
     ["cluster.replicas is 0", "that may be promoted"]),
    ({"cluster.log": "redis://h", "cluster.replicas": "1"},
     ["cluster.replicas", "cluster.promise"]),
    ({"cluster.log": "redis://h", "cluster.lease": "1s"}, ["cluster.lease", "cluster.timeout"]),
    ({"cluster.log": "redis://h", "auth.mode": "token", "auth.jwt_key": "HS256:" + "x" * 32},
     ["auth.ticket_key", "openssl rand -hex 32"]),
    ({"cluster.log": "redis://h", "auth.ticket_key": "0123456789"},
     ["auth.ticket_key", "32 bytes"]),
])
def test_settings_that_do_not_go_together_are_refused(bugle, settings, words):
    """By `check-config` as by `serve`, in one line, and what is secret is not in it."""
    for command in "serve", "check-config":
        done = bugle(command, "--listen", f"127.0.0.1:{conftest.free_port()}",
                     *options_of(settings))
        assert done.returncode == 1 and done.stdout == "", done
        (line,) = done.stderr.strip().splitlines()
        for word in words:
            assert word in line, f"{word} is not in: {line}"
        assert PASSWORD not in line


def test_secrets_are_not_shown(bugle, gateway_factory, redis, tmp_path):
    """Not by check-config, the manual of settings, the log at its most talkative, or stats."""
    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n")
    keys = tmp_path / "key"
    keys.write_text(KEY + "\n")
    settings = {"cluster.log": "redis://h", "cluster.user": "bugle",
                "cluster.password": f"@{secret}", "cluster.node": "a",
                "auth.ticket_key": f"@{keys},{KEY}"}
    done = bugle("check-config", *options_of(settings))
    assert done.returncode == 0, done
    assert PASSWORD not in done.stdout and KEY not in done.stdout
    assert "cluster.password = (not shown)\n" in done.stdout
    assert "auth.ticket_key = (not shown), (not shown)\n" in done.stdout
    done = bugle("check-config", "--set", f"cluster.log=redis://me:{PASSWORD}@h:1/2")
    assert "cluster.log = redis://me:(not shown)@h:1/2\n" in done.stdout
    done = bugle("check-config", env={"BUGLE_CLUSTER_PASSWORD": PASSWORD})
    assert "cluster.password = (not shown)\n" in done.stdout

    server = redis(f"requirepass {PASSWORD}")
    gateway = gateway_factory(settings={
        "cluster.log": f"redis://:{PASSWORD}@127.0.0.1:{server.port}", "cluster.node": "a",
        "log.level": "debug", "auth.ticket_key": KEY})
    gateway.wait_log("shares the history at redis://:(not shown)@127.0.0.1")
    gateway.push({"data": "x"})
    assert PASSWORD not in gateway.log() and KEY not in gateway.log()
    assert PASSWORD not in str(gateway.stats())


def test_password_that_changes_takes_a_restart(gateway_factory, redis, tmp_path):
    """A reload says so, without the password, and what runs goes on; a file that is gone refuses
    the reload, and nothing else."""
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    server = redis(f"requirepass {PASSWORD}")
    gateway = node(gateway_factory, server, settings={"cluster.password": f"@{secret}"})
    secret.write_text("another-" + PASSWORD)
    gateway.signal(signal.SIGHUP)
    gateway.wait_log("cluster.password changed: it takes effect with a restart")
    gateway.wait_log("settings reloaded")
    secret.unlink()
    gateway.signal(signal.SIGHUP)
    gateway.wait_log(f"reload refused, the old settings stay: cluster.password: {secret}")
    assert gateway.push({"data": "x"})
    assert PASSWORD not in gateway.log()


def test_node_without_a_name_has_that_of_its_host(bugle):
    done = bugle("check-config", "--set", "cluster.log=redis://h")
    name = "".join(c if c.isalnum() and c.isascii() or c in "._-" else "-"
                   for c in socket.gethostname())[:64]
    assert f"cluster.node = {name}\n" in done.stdout, done
    assert "cluster.node = \n" in bugle("check-config").stdout


def test_settings_without_a_log_are_told(gateway_factory):
    """An empty variable of a compose file would leave a gateway alone that is one of several."""
    gateway = gateway_factory(settings={"cluster.node": "a", "cluster.log": ""})
    gateway.wait_log("cluster.node is set, but cluster.log is not")
    assert gateway.push({"data": "x"})


# a server that will not do


def test_wrong_password_is_refused(redis, refused):
    server = redis(f"requirepass {PASSWORD}")
    refused(server.url, "set cluster.password")
    refused(server.url, "set cluster.user and cluster.password", cluster__password="wrong")
    refused(server.url, "set cluster.user and cluster.password", cluster__user="bugle",
            cluster__password=PASSWORD)


@pytest.mark.parametrize("right", [word for word in RIGHTS.split()
                                   if word[0] == "+" and word not in NOT_TRIED])
def test_missing_right_is_refused(redis, refused, right):
    """The recipe of contrib without one of its rights.  The line names it."""
    rights = " ".join(word for word in RIGHTS.split() if word != right)
    server = redis(f"user bugle {rights}", "appendonly yes", "appendfsync always")
    settings = {name.replace(".", "__"): value for name, value in PROMISES.get(right, {}).items()}
    advice = "cluster.assume=disk" if right == "+config|get" else "cluster.user"
    line = refused(server.url, advice, cluster__user="bugle", cluster__password=PASSWORD,
                   **settings)
    assert right[1:].partition("|")[0] in line.lower(), line


@pytest.mark.parametrize("wrong", ["~{bugle}*", "&{bugle}*"])
def test_missing_keys_or_channels_are_refused(redis, refused, wrong):
    rights = RIGHTS.replace(wrong, wrong[0] + "{other}*")
    server = redis(f"user bugle {rights}")
    refused(server.url, "cluster.user", "{bugle}" if wrong[0] == "~" else "cluster.prefix",
            cluster__user="bugle", cluster__password=PASSWORD)


def test_the_recipe_is_enough(redis, gateway_factory):
    """For all that gateways do: the server has refused them nothing."""
    server = redis(f"user bugle {RIGHTS}", "appendonly yes", "appendfsync always")
    settings = {"cluster.user": "bugle", "cluster.password": PASSWORD, "cluster.promise": "disk",
                "cluster.lease": "1s", "cluster.timeout": "500ms"}
    a, b = [node(gateway_factory, server, name, settings=settings) for name in "ab"]
    a.wait_log("as node a, promise disk")
    stream = b.stream("t", user="ada")
    answer = a.push({"topic": "t", "data": "x"}, headers={"Idempotency-Key": "k"})
    assert answer["durability"] == "disk" and stream.next_event().data == "x"
    assert b.push({"topic": "t", "data": "x"}, headers={"Idempotency-Key": "k"})["id"] == answer["id"]
    a.push({"topic": "t", "data": "y", "ephemeral": True})
    assert stream.next_event().data == "y"
    wire.wait_until(lambda: len(a.stats()["cluster"]["nodes"]) == 2, 10, "a knows b")
    assert len(a.request("GET", "/api/streams").json()["streams"]) == 1
    assert a.request("DELETE", "/api/streams?user=ada").status == 200
    wire.wait_until(lambda: b.stat("streams_open") == 0, 5, "the stream has ended")
    for gateway in a, b:
        gateway.stop()
    assert server.ask("ACL", "LOG") == []


def test_all_that_scripts_call_is_in_the_recipe_and_tried_at_the_start():
    """A right that a later script needs is missed at the start, and not in the middle of the night."""
    scripts = {path.name: path.read_text()
               for path in (conftest.SOURCE / "src" / "cluster").glob("*.lua")}
    called = set(re.findall(r"redis\.p?call\('([A-Z]+)'", "".join(scripts.values())))
    assert {"XADD", "TIME"} <= called
    rights = {word[1:].upper() for word in RIGHTS.split() if word[0] == "+"}
    assert called <= rights
    assert called <= set(re.findall(r"\{'([A-Z]+)'", scripts["check.lua"]))


def test_server_that_may_drop_the_log_is_refused(redis, refused):
    server = redis("maxmemory 100mb", "maxmemory-policy allkeys-lru")
    refused(server.url, "maxmemory-policy allkeys-lru", "noeviction")


def test_server_that_may_drop_keys_is_warned_of(redis, gateway_factory):
    """Once, though it is looked at by the start and then by the hub."""
    server = redis("maxmemory 100mb", "maxmemory-policy volatile-lru")
    gateway = node(gateway_factory, server)
    gateway.push({"data": "x"})
    assert gateway.log().count("maxmemory-policy volatile-lru") == 1


def test_promise_that_is_not_kept_is_refused(redis, refused, gateway_factory):
    server = redis()
    refused(server.url, "appendonly yes", cluster__promise="disk")
    server.ask("CONFIG", "SET", "appendonly", "yes")
    refused(server.url, "appendfsync everysec", cluster__promise="disk")
    server.ask("CONFIG", "SET", "appendfsync", "always")
    assert node(gateway_factory, server, settings={"cluster.promise": "disk"}).push({"data": "x"})


def test_promise_that_cannot_be_looked_at_wants_a_word(redis, refused, gateway_factory):
    rights = RIGHTS.replace("+config|get ", "")
    server = redis(f"user bugle {rights}", "appendonly yes", "appendfsync always")
    settings = {"cluster.user": "bugle", "cluster.password": PASSWORD, "cluster.promise": "disk"}
    refused(server.url, "CONFIG GET", "cluster.assume=disk",
            **{name.replace(".", "__"): value for name, value in settings.items()})
    settings["cluster.assume"] = "disk"
    assert node(gateway_factory, server, settings=settings).push({"data": "x"})


def test_missing_replicas_are_warned_of(redis, gateway_factory):
    """They may be on their way."""
    settings = {"cluster.promise": "replicated", "cluster.replicas": "1"}
    gateway = node(gateway_factory, redis(), settings=settings)
    gateway.wait_log("cluster.replicas is 1, but the server of cluster.log has 0")


@pytest.mark.parametrize("key, value, kind", [
    ("log", ("SET", "x"), "stream"), ("meta", ("RPUSH", "x"), "hash"),
    ("terms", ("SET", "x"), "list")])
def test_keys_of_something_else_are_refused(redis, refused, key, value, kind):
    server = redis()
    server.ask(value[0], f"{{bugle}}{key}", *value[1:])
    refused(server.url, f"{{bugle}}{key}", kind, "cluster.prefix")
    assert server.ask("TYPE", f"{{bugle}}{key}") in ("string", "list")


@pytest.mark.parametrize("offset_s, warned", [(60, True), (-60, True), (2, False)])
def test_clocks_that_are_apart_are_warned_of(redis, gateway_factory, tmp_path, offset_s, warned):
    """Times of events are the server's: a ttl would be off by the difference."""
    shim = conftest.build_shim(tmp_path, "clock_shim")
    (tmp_path / "clock").write_text(str(offset_s))
    gateway = node(gateway_factory, redis(), env={
        "LD_PRELOAD": str(shim), "CLOCK_SHIM_FILE": str(tmp_path / "clock")})
    gateway.push({"data": "x"})
    assert ("synchronise them" in gateway.log()) == warned, gateway.log()


class OldServer:
    """Answers as an old Redis does."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "redis://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    @staticmethod
    def serve(connection):
        info = b"# Server\r\nredis_version:6.0.16\r\n"
        with connection, connection.makefile("rb") as commands, contextlib.suppress(OSError):
            while line := commands.readline():
                words = []
                for _ in range(int(line[1:])):
                    words.append(commands.read(int(commands.readline()[1:]) + 2)[:-2].upper())
                if words[0] == b"ROLE":
                    connection.sendall(b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n")
                else:
                    connection.sendall(b"$%d\r\n%s\r\n" % (len(info), info))


def test_old_server_is_refused(refused):
    server = OldServer()
    refused(server.url, "Redis 6.0.16", "6.2 or later")
    server.listener.close()


def test_certificate_counts(redis, refused, gateway_factory, pairs):  # noqa: F811
    first, second = pairs
    port = conftest.free_port()
    server = redis(f"tls-port {port}", f"tls-cert-file {first.certificate}",
                   f"tls-key-file {first.key}", "tls-auth-clients no")
    url = f"rediss://localhost:{port}"
    refused(url, "certificate", "rediss://", cluster__ca=second.certificate)
    gateway = gateway_factory(settings={"cluster.log": url, "cluster.node": "a",
                                        "cluster.ca": first.certificate})
    assert gateway.push({"data": "x"})


# the name


def test_name_that_another_process_has_is_refused(redis, refused, gateway_factory):
    """As long as that process renews it; its orderly stop gives it up."""
    server = redis()
    gateway = node(gateway_factory, server)
    refused(server.url, "another process renews the lease of cluster.node=a",
            "give each gateway a name of its own")
    gateway.stop()
    assert server.ask("EXISTS", "{bugle}n:a") == 0
    gateway.start()
    assert gateway.push({"data": "x"})


def test_name_of_a_process_that_died_is_free(redis, gateway_factory):
    """After a look at whether somebody renews it, long before its lease ends."""
    server = redis()
    gateway = node(gateway_factory, server, settings={"cluster.lease": "20s"})
    gateway.kill()
    assert server.ask("PTTL", "{bugle}n:a") > 1000
    begun = time.monotonic()
    gateway.start()
    assert server.ask("EXISTS", "{bugle}n:a") == 1
    assert time.monotonic() - begun < wire.seconds(15)
    assert gateway.push({"data": "x"})


def test_name_goes_to_who_takes_over(make, redis):  # noqa: F811
    """The old process has it until it gives its store up.  The new one has looked at the server
    before that."""
    server = redis()
    gateway = make(settings={"cluster.log": server.url, "cluster.node": "a"})
    first = gateway.push({"data": "x"})["id"]
    gateway._drop_control()
    old = take_over(gateway)
    leaves(old, gateway)
    wire.wait_until(lambda: gateway.post({"data": "y"}).status == 201, 10, "it publishes")
    stream = gateway.stream(resume=first)
    assert stream.next_event().data == "y"
    assert "another process" not in gateway.log()


def test_takeover_with_a_wrong_password_leaves_the_old_one(make, redis):  # noqa: F811
    """It is found before the store is given up."""
    server = redis(f"requirepass {PASSWORD}")
    gateway = make(settings={"cluster.log": server.url, "cluster.password": PASSWORD,
                             "cluster.node": "a"})
    gateway.push({"data": "x"})
    command, gateway.command = gateway.command, [*gateway.command, "--set",
                                                 "cluster.password=wrong"]
    with pytest.raises(AssertionError):
        take_over(gateway)
    gateway.command = command
    gateway.wait_log("set cluster.user and cluster.password")
    assert gateway.push({"data": "y"})


# a server that cannot be reached


def test_server_that_cannot_be_reached_is_no_reason(gateway_factory, tmp_path_factory):
    """The history is served, publishes are answered 503, and the log says so; then all is well."""
    folder = tmp_path_factory.mktemp("redis")
    server = redis_server.RedisServer(folder, conftest.free_port())
    gateway = gateway_factory(start=False, settings={
        "cluster.log": server.url, "cluster.node": "a", "cluster.timeout": "200ms",
        "limits.queue_age": "100ms"})
    gateway.start(ready=False)
    gateway.wait_log(" is ready: ", 10)
    gateway.wait_log("cluster.log cannot be reached, and is tried again: ")
    gateway.wait_log("connection refused")
    gateway.wait_log("the shared log is not followed")
    stream = gateway.stream()
    assert gateway.post({"data": "x"}).status == 503
    try:
        server.start()
        wire.wait_until(lambda: gateway.post({"data": "y"}).status == 201, 10, "it publishes")
        assert stream.next_event().data == "y"
        gateway.wait_log("following the shared log")
    finally:
        server.stop()


def test_sentinels_that_cannot_be_reached_are_no_reason(gateway_factory):
    """Nor do they keep it waiting for more than cluster.timeout; the log says which, and why."""
    ports = [conftest.free_port(), conftest.free_port()]
    url = "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in ports) + "/bugle"
    gateway = gateway_factory(start=False, settings={
        "cluster.log": url, "cluster.node": "a", "cluster.timeout": "500ms",
        "cluster.lease": "600s"})
    gateway.start(ready=False)
    gateway.wait_log(" is ready: ", 10)
    line = next(line for line in gateway.log().splitlines() if "cannot be reached" in line)
    assert "sentinel 127.0.0.1:" in line and "refused" in line, line
    assert gateway.stream()


# two of them


def test_two_gateways_share_one_history(redis, gateway_factory):
    """What is published at one reaches the streams of the other, and an id of one is one there."""
    server = redis()
    a = node(gateway_factory, server, "a")
    b = node(gateway_factory, server, "b")
    at_b = b.stream("news")
    ids = a.push([{"topic": "news", "data": "one"}, {"topic": "news", "data": "two"}])["ids"]
    came = [at_b.next_event() for _ in range(2)]
    assert [event.data for event in came] == ["one", "two"]
    assert [event.id for event in came] == ids
    third = b.push({"topic": "news", "data": "three"})["id"]
    assert at_b.next_event().id == third
    for gateway in a, b:
        resumed = gateway.stream("news", resume=ids[0])
        assert [resumed.next_event().data for _ in range(2)] == ["two", "three"]
        assert gateway.stat("resets") == 0
