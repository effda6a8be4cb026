# SPDX-License-Identifier: MIT
"""Many streams at once: each gets every event, once, in order and whole."""

import threading

import wire


def publish_on(gateway, bodies, sent):
    """Publish text bodies to topic `all` on a connection of its own; `sent` gets (id, body)."""
    with gateway.raw(timeout=30) as connection:
        for body in bodies:
            connection.send(gateway.request_bytes(
                "POST", "/api/push?topic=all", [("Content-Type", "text/plain")], body))
            response = connection.read_response()
            assert response.status == 201, response
            sent.append((response.json()["id"], body))


def publish_together(gateway, bodies_of_each, meanwhile):
    """Publish from one thread for each list, run `meanwhile`, and return what was sent in the
    order of its ids."""
    sent, failed = [], []

    def run(bodies):
        try:
            publish_on(gateway, bodies, sent)
        except BaseException as error:
            failed.append(error)

    publishers = [threading.Thread(target=run, args=(bodies,)) for bodies in bodies_of_each]
    for publisher in publishers:
        publisher.start()
    meanwhile()
    for publisher in publishers:
        publisher.join()
    assert not failed, failed
    return sorted(sent)


def frames_of(sent):
    """The bytes that every stream must have got, no more and no less."""
    return b"".join(b"data: %s\nid: %s\n\n" % (body, event_id.encode()) for event_id, body in sent)


def has_frames(stream, count):
    """Whether so many events arrived; looks only at what is new since the last call."""
    start = getattr(stream, "counted", stream.begin)
    stream.frames = getattr(stream, "frames", 0) + stream.payload.count(b"\n\n", start)
    # the last byte may be the first half of an end that is still to come
    stream.counted = len(stream.payload) - (stream.payload.endswith(b"\n")
                                            and not stream.payload.endswith(b"\n\n"))
    return stream.frames >= count and stream.frames - stream.checkpoints() >= count


def assert_all_got(streams, sent):
    expected = frames_of(sent)
    for number, stream in enumerate(streams):
        if stream.body != expected:
            got = [(event.id, event.data.encode()) for event in stream.events(len(sent))]
            assert got == sent, f"stream {number} of {len(streams)}"
            assert stream.body == expected, f"stream {number} of {len(streams)}"


def test_every_stream_gets_every_event_once_and_in_order(gateway_factory):
    """Two thousand streams on two workers, four publishers on connections of their own: all
    streams show the same bytes, and they are those of the ids in their order."""
    gateway = gateway_factory(settings={"stream.heartbeat": "60s"})
    streams = gateway.stream_many([{"topic": "all"}] * wire.fewer(2000, 200))
    each = wire.fewer(60, 15)
    bodies = [[b"publisher %d event %d " % (p, i) + b"x" * 60 for i in range(each)]
              for p in range(4)]
    sent = publish_together(gateway, bodies, lambda: wire.pump_until(
        streams, lambda stream: has_frames(stream, 4 * each), 90))
    assert_all_got(streams, sent)
    for own in bodies:
        assert [body for _, body in sent if body in own] == own
    delivered = len(streams) * 4 * each
    wire.wait_until(lambda: gateway.stat("events_delivered") == delivered, 10, "all are counted")
    assert gateway.stat("streams_open") == len(streams)


def test_slow_readers_get_everything(gateway_factory):
    """Twenty readers take a kilobyte at a time through small windows while a mebibyte is
    published.  They lag far behind, and miss nothing."""
    gateway = gateway_factory(settings={"stream.heartbeat": "60s", "stream.ring_events": "64"})
    streams = gateway.stream_many([{"topic": "all"}] * wire.fewer(20, 4), receive_buffer=16384)
    healthy = gateway.stream("all")
    count = wire.fewer(500, 60)
    bodies = [b"%d " % i + b"x" * 2000 for i in range(count)]

    def read_slowly():
        wire.pump_until([healthy], lambda stream: has_frames(stream, count))
        wire.pump_until(streams, lambda stream: has_frames(stream, count), 90, size=1024)

    sent = publish_together(gateway, [bodies], read_slowly)
    assert_all_got([healthy, *streams], sent)
    assert gateway.stat("streams_stalled") == 0


def test_large_and_small_events_interleave_whole(gateway_factory):
    """An event of 60,000 bytes needs many chunks; the small ones before and after it must not
    get in between, at readers of any speed."""
    gateway = gateway_factory(settings={"stream.heartbeat": "60s"})
    streams = gateway.stream_many([{"topic": "all"}] * wire.fewer(40, 8))
    streams += gateway.stream_many([{"topic": "all"}] * 4, receive_buffer=8192)
    each = wire.fewer(12, 4)
    bodies = [
        [b"%d-%d " % (p, i) + b"xyz" * (20000 if i % 2 else 5) for i in range(each)]
        for p in range(3)]
    sent = publish_together(gateway, bodies, lambda: wire.pump_until(
        streams, lambda stream: has_frames(stream, 3 * each), 90))
    assert_all_got(streams, sent)


def test_streams_that_come_and_go_do_not_disturb_the_others(gateway_factory):
    """A shop's visitors: while some stay, others open and close all the time."""
    gateway = gateway_factory(settings={"stream.heartbeat": "60s"})
    streams = gateway.stream_many([{"topic": "all"}] * wire.fewer(50, 10))
    count = wire.fewer(400, 60)
    done = threading.Event()

    def visit():
        turn = 0
        while not done.is_set():
            turn += 1
            visitor = wire.open_stream(gateway.address, "/events?topic=all")
            (visitor.wire.reset if turn % 2 else visitor.close)()

    visitors = [threading.Thread(target=visit) for _ in range(3)]
    for visitor in visitors:
        visitor.start()
    try:
        sent = publish_together(gateway, [[b"%d" % i for i in range(count)]], lambda:
                                wire.pump_until(streams, lambda s: has_frames(s, count), 60))
    finally:
        done.set()
        for visitor in visitors:
            visitor.join()
    assert_all_got(streams, sent)
    gateway.wait_stat("streams_open", len(streams), 10)
