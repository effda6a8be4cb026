# SPDX-License-Identifier: MIT
"""What an event costs in system calls: one send for each stream and batch, and no more; and what
its publisher's request costs."""

import collections
import contextlib
import os
import re
import shutil
import signal
import subprocess

import pytest

import wire

SENDS = "sendto,sendmsg,sendmmsg,write,writev"


@pytest.fixture
def trace(tmp_path):
    """Run a block with the system calls of a process recorded; gives (name, descriptor) pairs."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")

    @contextlib.contextmanager
    def attach(pid, calls, names=SENDS):
        path, seen = tmp_path / "trace", []
        tracer = subprocess.Popen(
            ["strace", "-f", "-e", f"trace={names}", "-o", path, "-p", str(pid)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            threads = len(os.listdir(f"/proc/{pid}/task"))
            while threads:
                line = tracer.stderr.readline()
                if not line:
                    pytest.skip("strace cannot attach here")
                seen.append(line)
                found = re.search(r"attached with (\d+) threads", line)
                threads = 0 if found else threads - line.rstrip().endswith("attached")
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=wire.seconds(10))
        calls += re.findall(r"^\d+ +(\w+)\((\d+), ", path.read_text(), re.MULTILINE)

    return attach


def descriptors_of(gateway, streams):
    """The gateway's descriptors for the connections of these streams."""
    ports = {stream.wire.socket.getsockname()[1] for stream in streams}
    inodes = set()
    with open(f"/proc/{gateway.pid}/net/tcp", encoding="ascii") as table:
        for line in table.readlines()[1:]:
            local, remote, inode = (line.split()[i] for i in (1, 2, 9))
            if int(local.split(":")[1], 16) == gateway.port:
                if int(remote.split(":")[1], 16) in ports:
                    inodes.add(f"socket:[{inode}]")
    folder = f"/proc/{gateway.pid}/fd"
    found = {name for name in os.listdir(folder) if os.readlink(f"{folder}/{name}") in inodes}
    assert len(found) == len(streams)
    return found


@pytest.mark.gateway(settings={"stream.heartbeat": "60s"})
def test_a_batch_is_one_send_for_each_stream(gateway, trace):
    """Twenty events published together to fifty idle streams: fifty sends, not a thousand."""
    streams = gateway.stream_many([{"topic": "a"}] * 50)
    sockets = descriptors_of(gateway, streams)
    calls = []
    with trace(gateway.pid, calls):
        gateway.push([{"topic": "a", "data": "x" * 60 + str(i)} for i in range(20)])
        for stream in streams:
            assert len(stream.events(20)) == 20
    sends = collections.Counter(call for call in calls if call[1] in sockets)
    assert len(sends) == 50, sends
    assert {name for name, _ in sends} <= {"sendto", "sendmsg", "writev"}, sends
    assert sum(sends.values()) <= 55, sends


@pytest.mark.gateway(workers=1, settings={"stream.heartbeat": "60s"})
def test_a_delivery_goes_past_the_library(gateway, trace):
    """Nothing is resumed, so the library is not run and looks at no socket: two hundred streams are
    in seven of its daemons at least, and each run of one would be a call."""
    rounds, calls = 5, []
    streams = gateway.stream_many([{"topic": "a"}] * 200)
    gateway.push({"topic": "a", "data": "first"})
    for stream in streams:
        stream.next_event()
    with trace(gateway.pid, calls, f"{SENDS},epoll_wait,epoll_ctl"):
        for i in range(rounds):
            gateway.push({"topic": "a", "data": str(i)})
            for stream in streams:
                assert stream.next_event().data == str(i)
    names = collections.Counter(name for name, _ in calls)
    assert names["sendto"] >= rounds * 200, names
    assert names["epoll_wait"] + names["epoll_ctl"] <= rounds * 20, names


@pytest.mark.gateway(workers=1)
def test_a_stream_begins_with_one_send(gateway, trace):
    """The head of the answer, its first words and the place, by which clients are let go on."""
    calls = []
    with trace(gateway.pid, calls):
        streams = gateway.stream_many([{"topic": "a"}] * 30)
        sockets = descriptors_of(gateway, streams)
    sends = collections.Counter(call for call in calls if call[1] in sockets)
    assert len(sends) == 30, sends
    assert set(sends.values()) == {1}, sends


CROWD, FEW = 600, 10


def sends_in_between(path, crowd, few):
    """How often the crowd was sent something while an event for few waited whose request had been
    read (in memory it is committed in the same turn), and how often after it had gone out."""
    calls = re.findall(r"^\d+ +\w+\((\w+), (.*)$", path.read_text(), re.MULTILINE)
    own = [i for i, (number, _) in enumerate(calls) if number in few]
    read = [i for i, (_, rest) in enumerate(calls)
            if i < own[0] and rest.startswith('"POST') and "MSG_PEEK" not in rest]
    crowd = [i for i, (number, _) in enumerate(calls) if number in crowd]
    return (sum(read[-1] < i < own[-1] for i in crowd), sum(i > own[-1] for i in crowd))


@pytest.mark.gateway(workers=1, settings={"stream.heartbeat": "60s", "stream.flush_tick": "1ms"})
def test_few_do_not_wait_for_the_broadcast_under_way(gateway, trace, tmp_path):
    """They come after the piece of it that is being sent when their event is committed, not after
    all: counted in sends, since times say little on a busy machine."""
    crowd = gateway.stream_many([{"topic": "crowd"}] * CROWD)
    few = gateway.stream_many([{"topic": "few"}] * FEW)
    sockets = descriptors_of(gateway, crowd), descriptors_of(gateway, few)
    for _ in range(5):
        with trace(gateway.pid, [], f"{SENDS},recvfrom"):
            gateway.push({"topic": "crowd", "data": "x"})
            gateway.push({"topic": "few", "data": "x"})
            for stream in crowd + few:
                stream.next_event()
        between, after = sends_in_between(tmp_path / "trace", *sockets)
        if after > 0:
            break
    assert after > 0, "all of the broadcast went first"
    assert between <= 64, (between, after)


@pytest.mark.gateway(settings={"stream.heartbeat": "60s"})
def test_an_event_costs_nothing_at_streams_that_it_does_not_reach(gateway, trace):
    """One event to one of fifty streams is one send to that one."""
    streams = gateway.stream_many([{"topic": f"t{i}"} for i in range(50)])
    sockets = descriptors_of(gateway, streams)
    calls = []
    with trace(gateway.pid, calls):
        for i in range(5):
            gateway.push({"topic": f"t{i}", "data": "x"})
            assert streams[i].next_event().data == "x"
    sends = [call for call in calls if call[1] in sockets]
    assert len(sends) == 5, sends
    assert len(set(sends)) == 5, sends


def test_a_publish_on_a_kept_connection_reads_and_sends_no_more_than_it_must(gateway, trace):
    """A look at the head, the request, the answer: nothing is tried in vain, and the connection
    enters and leaves no epoll set; no timer is set, and the worker does not read what only woke it.
    Of many at once, since one that is alone costs less."""
    rounds, calls = 10, []
    request = gateway.request_bytes("POST", "/api/push", [("Content-Type", "application/json")],
                                    b'{"topic":"a","data":"x"}')

    def publish(connections):
        for connection in connections:
            connection.send(request)
        for connection in connections:
            assert connection.read_response("POST").status == 201

    with contextlib.ExitStack() as open_ones:
        connections = [open_ones.enter_context(wire.Wire(gateway.address)) for _ in range(20)]
        publish(connections)
        with trace(gateway.pid, calls, "recvfrom,sendmsg,sendto,epoll_ctl,timerfd_settime,read"):
            for _ in range(rounds):
                publish(connections)
    made = collections.Counter(name for name, _ in calls)
    assert made["sendmsg"] + made["sendto"] == rounds * len(connections), made
    assert made["recvfrom"] == 2 * rounds * len(connections), made
    assert made["epoll_ctl"] == 0, made
    assert made["timerfd_settime"] + made["read"] == 0, made


def beats_seen(gateway, streams, count):
    """Wait until each of these streams had so many heartbeats more."""
    wanted = gateway.stat("heartbeats") + count * streams
    wire.wait_until(lambda: gateway.stat("heartbeats") >= wanted, 20, "heartbeats are sent")


@pytest.mark.gateway(workers=1)
def test_a_heartbeat_is_a_send_and_less_than_a_look(gateway, trace):
    """Whether heartbeats are acknowledged is asked for several of them at once."""
    streams = gateway.stream_many([{"topic": "a", "heartbeat": 3}] * 20)
    sockets, calls = descriptors_of(gateway, streams), []
    beats_seen(gateway, len(streams), 1)
    with trace(gateway.pid, calls, f"{SENDS},ioctl,getsockopt,epoll_ctl"):
        beats_seen(gateway, len(streams), 3)
    made = collections.Counter(name for name, number in calls if number in sockets)
    assert made["sendto"] + made["sendmsg"] >= 3 * len(streams), made
    assert made["ioctl"] <= 2 * len(streams), made
    assert made["getsockopt"] + made["epoll_ctl"] == 0, made


@pytest.mark.gateway(workers=1)
def test_an_event_after_a_heartbeat_is_looked_after_at_once(gateway, trace, tmp_path):
    """The look that was put off for the heartbeat is not put off for the event."""
    stream = gateway.stream("a", heartbeat=10)
    (socket,) = descriptors_of(gateway, [stream])
    beats_seen(gateway, 1, 1)
    with trace(gateway.pid, [], "ioctl"):
        gateway.push({"topic": "a", "data": "x"})
        wire.wait_until(lambda: f"ioctl({socket}, " in (tmp_path / "trace").read_text(), 5,
                        "the stream is looked at")
