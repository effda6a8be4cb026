# SPDX-License-Identifier: MIT
"""Settings from everywhere, and mistakes in them told in one line (bugle.conf(5))."""

import pathlib
import re
import resource
import signal
import socket
import time

import pytest

import conftest
import tokens
import wire

SETTINGS = """
server.listen server.workers server.www stream.heartbeat stream.stall_timeout stream.retry
stream.flush_tick history.store history.max_age history.max_events history.max_bytes
history.disk_reserve limits.event_bytes limits.body_bytes limits.header_bytes limits.header_timeout limits.body_timeout
limits.keepalive_timeout limits.queue_bytes limits.queue_age limits.queue_wait drain.window auth.mode auth.origins
log.level log.format
""".split()

RELOADS = wire.fewer(1050)
GROWTH_BYTES = 4 << 20


def assert_refused(result, *words):
    """The operator's mistake: exit 1 and one line that says what is wrong and where."""
    assert result.returncode == 1, result
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0], f"{word} is not in: {lines[0]}"
    assert result.stdout == "", result.stdout


def assert_misused(result):
    assert result.returncode == 2, result
    assert result.stderr.strip(), "wrong usage was not explained"
    assert result.stdout == "", result.stdout


@pytest.fixture
def serve(bugle):
    """`bugle serve` with settings that are refused, on a port of its own."""
    def run(*args, **options):
        return bugle("serve", "--listen", f"127.0.0.1:{conftest.free_port()}", *args, **options)
    return run


@pytest.fixture
def conf_file(tmp_path):
    def write(text):
        path = tmp_path / "bugle.conf"
        path.write_text(text)
        return path
    return write


def effective(result):
    """What check-config printed, by name."""
    assert result.returncode == 0, result
    pairs = [re.fullmatch(r"([a-z_.]+) *= *(.*)", line) for line in result.stdout.splitlines()]
    return {pair[1]: pair[2] for pair in pairs if pair}


# mistakes


@pytest.mark.parametrize("assignment, words", [
    ("stream.hartbeat=5s", ["stream.hartbeat", "stream.heartbeat"]),
    ("nothing.like.it=5s", ["nothing.like.it"]),
    ("heartbeat=5s", ["heartbeat"]),
    ("stream.heartbeat", ["stream.heartbeat"]),
    ("stream.heartbeat=", ["stream.heartbeat"]),
    ("stream.heartbeat=soon", ["stream.heartbeat", "soon"]),
    ("stream.heartbeat=5 parsecs", ["stream.heartbeat"]),
    ("stream.heartbeat=-5s", ["stream.heartbeat"]),
    ("stream.heartbeat=1s", ["stream.heartbeat", "3s"]),
    ("stream.heartbeat=10m", ["stream.heartbeat", "60s"]),
    ("limits.event_bytes=64X", ["limits.event_bytes"]),
    ("limits.event_bytes=99999999999999999999", ["limits.event_bytes"]),
    ("server.workers=-1", ["server.workers"]),
    ("server.workers=two", ["server.workers"]),
    ("server.listen=8080 please", ["server.listen"]),
    ("auth.mode=yes", ["auth.mode", "none"]),
    ("auth.origins=localhost", ["auth.origins"]),
    ("log.level=loud", ["log.level"]),
    ("history.store=tape:", ["history.store"]),
])
def test_wrong_setting_is_told_in_one_line(serve, assignment, words):
    """The line names the setting, what was given, and what would be right."""
    assert_refused(serve("--set", assignment), *words)


@pytest.mark.parametrize("text, words", [
    ("[stream]\nhartbeat = 5s\n", [":2", "hartbeat", "heartbeat"]),
    ("[stream]\n\n# all is well\nheartbeat = soon\n", [":4", "heartbeat", "soon"]),
    ("[strim]\nheartbeat = 5s\n", ["strim"]),
    ("[stream]\nheartbeat\n", [":2"]),
    ("heartbeat = 5s\n", [":1", "heartbeat"]),
    ("<xml/>\n", [":1"]),
    ("[stream\nheartbeat = 5s\n", [":1"]),
])
def test_wrong_line_of_a_file_is_told_with_its_number(serve, conf_file, text, words):
    """File and line, so that an editor can jump there."""
    path = conf_file(text)
    assert_refused(serve("--config", path), path.name, *words)


def test_file_that_cannot_be_read_is_told(serve, tmp_path):
    """A typing mistake in the path must not mean "no settings"."""
    assert_refused(serve("--config", tmp_path / "missing.conf"), "missing.conf")
    assert_refused(serve("--config", tmp_path), str(tmp_path))


def test_wrong_environment_is_told(serve):
    """A variable is as good as a line in a file, and as strict."""
    assert_refused(serve(env={"BUGLE_STREAM_HEARTBEAT": "soon"}), "BUGLE_STREAM_HEARTBEAT", "soon")
    assert_refused(serve(env={"BUGLE_STREAM_HARTBEAT": "5s"}), "BUGLE_STREAM_HARTBEAT")


@pytest.mark.parametrize("args", [
    [], ["frobnicate"], ["--frobnicate"], ["serve", "--frobnicate"], ["serve", "--set"],
    ["serve", "--listen"], ["serve", "stray"], ["check-config", "--frobnicate"],
])
def test_wrong_usage_is_a_status_of_its_own(bugle, args):
    """A script can tell a mistyped command from a wrong setting."""
    assert_misused(bugle(*args))


def test_port_in_use_is_told_in_one_line(bugle):
    """The second gateway on the same port says which port."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        result = bugle("serve", "--listen", f"127.0.0.1:{port}", "--www", conftest.SOURCE / "www")
        assert_refused(result, str(port))


@pytest.mark.parametrize("address", ["0.0.0.0", "[::]", "192.0.2.1"])
def test_open_listener_without_authentication_refuses_to_start(bugle, address):
    """Nobody opens a gateway to the world by accident; the line says what to do."""
    result = bugle("serve", "--listen", f"{address}:{conftest.free_port()}")
    assert_refused(result, address, "auth.mode")


def test_one_open_listener_among_others_is_enough(serve):
    """A loopback listener does not make the other one safe."""
    assert_refused(serve("--listen", f"0.0.0.0:{conftest.free_port()}"), "0.0.0.0", "auth.mode")


def test_open_listener_starts_when_its_operator_wrote_it_out(gateway_factory):
    """`auth.mode=none` in so many words is a decision."""
    gateway = gateway_factory(settings={"auth.mode": "none"},
                              listen=[f"0.0.0.0:{conftest.free_port('0.0.0.0')}"])
    assert gateway.request("GET", "/healthz").status == 200


# where settings come from


def test_later_sources_win(bugle, conf_file):
    """Default, file, environment, command line: each overrules the ones before it, setting by
    setting."""
    path = conf_file("[stream]\nheartbeat = 20s\nretry = 7s\n[log]\nlevel = error\n")
    env = {"BUGLE_STREAM_RETRY": "8s", "BUGLE_LOG_LEVEL": "warning"}
    plain = effective(bugle("check-config"))
    assert (plain["stream.heartbeat"], plain["stream.retry"]) == ("15s", "3s")
    chosen = effective(bugle("check-config", "--config", path, "--set", "log.level=debug", env=env))
    names = ("stream.heartbeat", "stream.retry", "log.level")
    assert tuple(chosen[name] for name in names) == ("20s", "8s", "debug")
    unchanged = set(plain) - set(names)
    assert {name: chosen[name] for name in unchanged} == {name: plain[name] for name in unchanged}


def test_file_can_be_named_in_the_environment(bugle, conf_file):
    """A container passes a path in BUGLE_CONFIG; the option on the command line wins."""
    path = conf_file("[stream]\nheartbeat = 20s\n")
    env = {"BUGLE_CONFIG": str(path)}
    assert effective(bugle("check-config", env=env))["stream.heartbeat"] == "20s"
    assert_refused(bugle("check-config", env={"BUGLE_CONFIG": str(path) + ".gone"}), "gone")


def test_lists_grow_within_a_source_and_are_replaced_by_the_next(bugle, conf_file):
    """Twice in one place means both; a later place starts afresh."""
    path = conf_file("[auth]\norigins = https://a.example, https://b.example\n"
                     "origins = https://c.example\n")
    in_file = effective(bugle("check-config", "--config", path))["auth.origins"]
    assert re.split(r", *", in_file) == [f"https://{name}.example" for name in "abc"]
    flags = ["--set", "auth.origins=https://d.example", "--set", "auth.origins=https://e.example"]
    by_flags = effective(bugle("check-config", "--config", path, *flags))["auth.origins"]
    assert re.split(r", *", by_flags) == ["https://d.example", "https://e.example"]


def test_check_config_tells_right_from_wrong(bugle, conf_file):
    """Before a restart an operator tries the new file."""
    good = conf_file("; comment\n[stream]\nheartbeat = 20s ; how long\n\n"
                     "[limits]\nevent_bytes=1M\n")
    settings = effective(bugle("check-config", "--config", good))
    assert set(SETTINGS) <= set(settings), set(SETTINGS) - set(settings)
    assert settings["stream.heartbeat"] == "20s"
    assert settings["limits.event_bytes"] == "1M"
    bad = conf_file("[stream]\nheartbeat = soon\n")
    assert_refused(bugle("check-config", "--config", bad), "heartbeat")
    open_to_all = conf_file("[server]\nlisten = 0.0.0.0:8080\n")
    assert_refused(bugle("check-config", "--config", open_to_all), "auth.mode")


def test_what_check_config_prints_can_be_given_back(bugle, conf_file):
    """The printed settings, as `--set`, are the same settings."""
    printed = effective(bugle("check-config"))
    flags = [part for name, value in printed.items() for part in ("--set", f"{name}={value}")]
    assert effective(bugle("check-config", *flags)) == printed


def test_help_tells_every_setting(bugle):
    """The table is the documentation: each setting with its default and a sentence."""
    result = bugle("serve", "--help-config")
    assert (result.returncode, result.stderr) == (0, ""), result
    for name in SETTINGS:
        assert re.search(rf"^{re.escape(name)}\b", result.stdout, re.MULTILINE), name
    assert "15s" in result.stdout and "64K" in result.stdout


@pytest.mark.parametrize("args", [["--help"], ["serve", "--help"], ["check-config", "--help"],
                                  ["--version"]])
def test_help_is_no_mistake(bugle, args):
    """What was asked for goes to standard output."""
    result = bugle(*args)
    assert (result.returncode, result.stderr) == (0, ""), result
    assert "bugle" in result.stdout.lower()


# settings at work


def test_settings_of_the_environment_are_at_work(gateway_factory):
    """Not only printed: an event larger than the variable allows is refused."""
    gateway = gateway_factory(env={"BUGLE_LIMITS_EVENT_BYTES": "2K"})
    gateway.push({"data": "x" * 1000})
    gateway.post({"data": "x" * 3000}).problem(413, 422)


def test_settings_of_a_file_are_at_work(gateway_factory, conf_file):
    """The same from a file."""
    path = conf_file("[limits]\nevent_bytes = 2K\n")
    gateway = gateway_factory(args=["--config", str(path)])
    gateway.push({"data": "x" * 1000})
    gateway.post({"data": "x" * 3000}).problem(413, 422)


def test_several_listeners_are_one_gateway(gateway_factory, tmp_path):
    """IPv6, a second port and a unix socket beside the first: an event published at one reaches
    the streams of all."""
    ports = [conftest.free_port(), conftest.free_port("::1")]
    path = str(tmp_path / "bugle.sock")
    gateway = gateway_factory(listen=[f"127.0.0.1:{ports[0]}", f"[::1]:{ports[1]}", f"unix:{path}"])
    places = [gateway.address, ("127.0.0.1", ports[0]), ("::1", ports[1]), path]
    streams = [gateway.keep(wire.open_stream(place, "/events?topic=a")) for place in places]
    for place in places:
        with wire.Wire(place) as connection:
            connection.send(wire.request_bytes(
                "POST", "/api/push?topic=a", [("Content-Type", "text/plain")], b"x"))
            assert connection.read_response().status == 201
    ids = [[event.id for event in stream.events(len(places))] for stream in streams]
    assert all(seen == ids[0] for seen in ids)


def test_unix_socket_can_be_used_again_after_a_crash(gateway_factory, tmp_path):
    """What a killed process left behind must not need an operator."""
    path = str(tmp_path / "bugle.sock")
    gateway = gateway_factory(listen=[f"unix:{path}"])
    gateway.kill()
    gateway.start()
    with wire.Wire(path) as connection:
        connection.send(wire.request_bytes("GET", "/healthz"))
        assert connection.read_response().status == 200


def test_reload_with_wrong_settings_keeps_the_old_ones(gateway_factory, conf_file):
    """SIGHUP with a mistake in the file: it is told in the log, and nothing else happens."""
    path = conf_file("[log]\nlevel = info\n")
    gateway = gateway_factory(args=["--config", str(path)])
    stream = gateway.stream("a")
    conf_file("[log]\nlevel = loud\n")
    gateway.signal(signal.SIGHUP)
    wire.wait_until(lambda: "loud" in gateway.log(), 5, "the mistake is told in the log")
    gateway.push({"topic": "a", "data": "x"})
    assert stream.next_event().data == "x"
    conf_file("[log]\nlevel = warning\n")
    gateway.signal(signal.SIGHUP)
    gateway.push({"topic": "a", "data": "y"})
    assert stream.next_event().data == "y"


def resident_bytes(gateway):
    pages = int(pathlib.Path(f"/proc/{gateway.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_settings_may_be_reloaded_any_number_of_times(gateway_factory, conf_file):
    """Each reload frees what it replaces, however many streams began under other settings."""
    patterns = "".join(f"anonymous = {'x' * 200}/{number}\n" for number in range(60))
    texts = [f"[auth]\nmode = token\njwt_key = HS256:{tokens.SECRET}\nanonymous = a/**, {extra}\n"
             + patterns for extra in ("b", "c")]
    gateway = gateway_factory(args=["--config", str(conf_file(texts[0]))], workers=2)
    streams, sizes = [gateway.stream("a/**")], []
    with open(gateway.log_path, "rb") as log:
        for number in range(1, RELOADS + 1):
            conf_file(texts[number % 2])
            gateway.signal(signal.SIGHUP)
            until = time.monotonic() + wire.seconds(10)
            while b"settings reloaded" not in (said := log.read()):
                assert b"refused" not in said and time.monotonic() < until, said
                time.sleep(0.0005)
            if number % (RELOADS // 4) == 0:
                streams.append(gateway.stream("a/**"))
                gateway.push({"topic": "a/b", "data": "x"}, headers=tokens.bearer(tokens.ADMIN))
                sizes.append(resident_bytes(gateway))
    for number, stream in enumerate(streams[:-1]):
        stream.events(4 - max(number - 1, 0))
    assert wire.SLOW > 1 or sizes[-1] - sizes[0] < GROWTH_BYTES, sizes
