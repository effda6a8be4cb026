# SPDX-License-Identifier: MIT
"""Coming back: positions, replay, resets and checkpoints (bugle-wire(7))."""

import threading
import time

import pytest

import wire

# A history of at most a hundred events, and rings that hide none of what it forgot.
SHORT = {"history.max_events": "100", "stream.ring_events": "64"}


def push_numbers(gateway, count, first=0, **fields):
    """Publish "first", "first + 1", … in one request and return the ids."""
    numbers = range(first, first + count)
    return gateway.push([{"data": str(i), **fields} for i in numbers])["ids"]


def data_of(events):
    return [event.data for event in events]


def past_of(stream, gateway):
    """What a stream replays: everything before an event that is published now."""
    end = gateway.push({"data": "end"})["id"]
    events = stream.events_until("end")
    assert all(event.id is None or event.id < end for event in events)
    return events


def past_up_to(stream, newest):
    """The ids that a stream replays, where publishing one more event would trim the oldest."""
    seen = [stream.next_event().id]
    while seen[-1] != newest:
        seen.append(stream.next_event().id)
    return seen


def push_too_many(gateway):
    """Publish more than a SHORT history keeps; the ids, once the oldest are forgotten."""
    ids = push_numbers(gateway, 500)
    wire.wait_until(lambda: 1 <= gateway.stat("history_events") <= 100, 5, "the history is trimmed")
    return ids


# the position


@pytest.mark.parametrize("carrier", ["header", "last_event_id", "lastEventId", "lastEventID"])
def test_stream_goes_on_after_the_position_it_is_given(gateway, carrier):
    """EventSource sends the header; polyfills and people with curl use the query."""
    ids = push_numbers(gateway, 5)
    how = {"resume": ids[1]} if carrier == "header" else {carrier: ids[1]}
    stream = gateway.stream(**how)
    events = past_of(stream, gateway)
    assert [(event.id, event.data) for event in events] == [
        (ids[2], "2"), (ids[3], "3"), (ids[4], "4")]
    gateway.push({"data": "live"})
    assert stream.next_event().data == "live"
    assert gateway.stat("resets") == 0


def test_replayed_bytes_are_the_live_bytes(gateway):
    """A proxy in between or a test at the client cannot tell the past from the present."""
    live = gateway.stream("a")
    start = gateway.push({"topic": "a", "data": "start"})["id"]
    gateway.push({"topic": "a", "data": "x\ny", "event": "order", "retry": 5000})
    gateway.push({"topic": "a", "data": {"n": 1.10}})
    events = live.events(3)
    again = gateway.stream("a", resume=start).events(2)
    assert [event.raw for event in again] == [event.raw for event in events[1:]]


def test_position_of_the_newest_event_replays_nothing(gateway):
    """The usual reconnect: nothing was missed."""
    ids = push_numbers(gateway, 5)
    assert past_of(gateway.stream(resume=ids[-1]), gateway) == []
    assert gateway.stat("resets") == 0


def test_latest_position_wins(gateway):
    """A browser that reconnects repeats the old URL with a new header, and other clients add the
    new id to it; believing the old one would replay more and more at each turn."""
    ids = push_numbers(gateway, 5)
    stream = gateway.stream(resume=ids[3], last_event_id=ids[0], since="earliest")
    assert data_of(past_of(stream, gateway)) == ["4"]
    for query in ([("last_event_id", ids[0]), ("lastEventId", ids[3])],
                  [("lastEventId", ids[3]), ("last_event_id", ids[0])],
                  [("lastEventId", ids[0]), ("lastEventId", ids[3]), ("lastEventID", ids[1])]):
        stream = gateway.keep(wire.open_stream(gateway.address, wire.target_of("/events", query)))
        assert data_of(past_of(stream, gateway)) == ["4"], query
    stream = gateway.stream(resume=ids[0], lastEventId=ids[3])
    assert data_of(past_of(stream, gateway)) == ["4"]


def test_position_of_this_epoch_wins(gateway):
    """What another gateway gave, or nobody yet, is no place here, if another id is."""
    ids = push_numbers(gateway, 5)
    epoch, _, position = ids[0].rpartition("-")
    ahead = f"{epoch}-{int(position) + 1000:0{len(position)}d}"
    for other in ("x" * 300, "95qunkg1cgo8-" + "9" * len(position), ahead):
        for how in ({"resume": other, "last_event_id": ids[3]},
                    {"resume": ids[3], "last_event_id": other}):
            assert data_of(past_of(gateway.stream(**how), gateway)) == ["4"], how
    stream = gateway.stream(resume="95qunkg1cgo8-" + position, last_event_id=ahead)
    reset_of(stream.next_event(), "epoch")


def test_position_wins_over_since(gateway):
    """`since` is for who has no position yet."""
    ids = push_numbers(gateway, 5)
    stream = gateway.stream(last_event_id=ids[3], since="earliest")
    assert data_of(past_of(stream, gateway)) == ["4"]


def test_replay_is_filtered_as_live_is(gateway):
    """The position is one for all topics; what is replayed is what was asked for."""
    start = gateway.push({"topic": "a", "data": "start"})["id"]
    for i in range(20):
        gateway.push({"topic": "ab"[i % 2], "data": str(i)})
    stream = gateway.stream("b", resume=start)
    assert data_of(past_of(stream, gateway)) == [str(i) for i in range(1, 20, 2)]


# since


def test_since_words(gateway):
    """A page that opens for the first time wants the past, or does not."""
    ids = push_numbers(gateway, 5)
    everything = [str(i) for i in range(5)]
    expected = {"earliest": everything, "latest": [], "10m": everything, "24h": everything,
                "600": everything, "600000ms": everything, ids[2]: everything[3:],
                str(int(time.time()) - 600): everything, str(int(time.time()) + 3600): []}
    streams = {since: gateway.stream(since=since) for since in expected}
    streams[None] = gateway.stream()
    expected[None] = []
    gateway.push({"data": "end"})
    seen = {since: data_of(stream.events_until("end")) for since, stream in streams.items()}
    assert seen == expected
    assert gateway.stat("resets") == 0


def test_since_a_duration_reaches_back_just_so_far(gateway):
    """The last few seconds mean the last few seconds."""
    gateway.push({"data": "old"})
    published = time.monotonic()
    age = wire.seconds(2) + 1
    wire.wait_until(lambda: time.monotonic() - published > age, age + 1, "the event has aged")
    gateway.push({"data": "young"})
    stream = gateway.stream(since=f"{int(age * 1000) - 500}ms")
    assert data_of(past_of(stream, gateway)) == ["young"]


def test_since_earliest_of_nothing_is_a_stream_like_any(gateway):
    """The first client of the first minute."""
    stream = gateway.stream(since="earliest")
    gateway.push({"data": "x"})
    assert stream.next_event().data == "x"
    assert gateway.stat("resets") == 0


# resets


def reset_of(event, reason):
    """The reset event, its form checked; its data."""
    assert event.name == "reset", event
    assert event.id is not None, event
    data = event.json()
    assert set(data) == {"reason", "oldest", "newest"}, data
    assert data["reason"] == reason, data
    for place in ("oldest", "newest"):
        if data[place] is not None:
            wire.check_id(data[place])
    return data


@pytest.mark.gateway(settings=SHORT)
def test_position_that_was_trimmed_is_expired(gateway):
    """The client was away for longer than the history reaches: it is told that something is
    missing, and gets all that is left."""
    ids = push_too_many(gateway)
    stream = gateway.stream(resume=ids[0])
    event = stream.next_event()
    reset = reset_of(event, "expired")
    assert reset["oldest"] in ids and reset["newest"] == ids[-1]
    kept = ids[ids.index(reset["oldest"]):]
    assert 1 <= len(kept) <= 100
    assert past_up_to(stream, ids[-1]) == kept
    assert gateway.stat("resets") == 1
    # the id of the reset is a good position: whoever comes back with it misses nothing
    assert past_up_to(gateway.stream(resume=event.id), ids[-1]) == kept
    assert gateway.stat("resets") == 1


@pytest.mark.gateway(settings=SHORT)
def test_history_keeps_no_more_than_it_may(gateway):
    """max_events bounds what is kept, and the newest is what is kept."""
    ids = push_too_many(gateway)
    seen = past_up_to(gateway.stream(since="earliest"), ids[-1])
    assert 1 <= len(seen) <= 100
    assert seen == ids[-len(seen):]


@pytest.mark.gateway(settings=SHORT)
def test_position_at_the_edge_of_the_history_is_not_expired(gateway):
    """Whoever has seen everything up to the oldest event misses nothing."""
    ids = push_too_many(gateway)
    kept = past_up_to(gateway.stream(since="earliest"), ids[-1])
    ids += push_numbers(gateway, 1)
    assert past_up_to(gateway.stream(resume=kept[0]), ids[-1]) == [*kept[1:], ids[-1]]
    assert gateway.stat("resets") == 0


MALFORMED = ["x", "0", "-", "earliest", "a-b", "a-1", "-1", "0-0", "1-", "%00", "a b", "../../x",
             "<script>", "%s%s%n", "'; drop", "18446744073709551616", "x" * 128, "-" * 128,
             "0" * 40, "9" * 40]


def test_id_that_does_not_parse_is_unknown(gateway):
    """Old cookies, other servers and attackers send ids too.  They get a reset and then what is
    new, never an error that would stop a browser for good."""
    ids = push_numbers(gateway, 5)
    form = [ids[0] + "0", ids[0] + " x", ids[0].replace("-", ":"), ids[0].replace("-", "--"),
            ids[0].upper() + "X", ids[0].replace("-0", "-+", 1), ids[0].replace("-0", "-x", 1),
            ids[0].partition("-")[0], ids[0].partition("-")[0] + "-"]
    for bad in MALFORMED + form:
        stream = gateway.stream(resume=bad)
        event = stream.next_event()
        assert reset_of(event, "unknown") == {
            "reason": "unknown", "oldest": ids[0], "newest": ids[-1]}, bad
        assert event.id == ids[-1], bad
        stream.close()


def test_unknown_goes_on_from_the_newest(gateway):
    """Nothing of the past is guessed at: after the reset comes what is published from now on."""
    push_numbers(gateway, 5)
    stream = gateway.stream(resume="garbage")
    assert stream.next_event().name == "reset"
    assert past_of(stream, gateway) == []


def test_id_of_the_future_is_unknown(gateway):
    """An id of this epoch that was never given: the client cannot have it from here."""
    newest = push_numbers(gateway, 5)[-1]
    epoch, _, position = newest.rpartition("-")
    for ahead in (1, 1000, 10 ** (len(position) - 1)):
        future = f"{epoch}-{int(position) + ahead:0{len(position)}d}"
        reset_of(gateway.stream(resume=future).next_event(), "unknown")


def test_query_position_is_treated_as_the_header_is(gateway):
    """The same rule wherever the position stands."""
    push_numbers(gateway, 5)
    reset_of(gateway.stream(last_event_id="garbage").next_event(), "unknown")
    reset_of(gateway.stream(lastEventId="garbage").next_event(), "unknown")


def test_reset_of_an_empty_history_names_no_ids(gateway):
    """There is neither an oldest nor a newest event, but there is a place to go on from."""
    stream = gateway.stream(resume="garbage")
    event = stream.next_event()
    reset = reset_of(event, "unknown")
    assert (reset["oldest"], reset["newest"]) == (None, None)
    gateway.push({"data": "x"})
    assert stream.next_event().data == "x"
    again = gateway.stream(resume=event.id)
    assert again.next_event().data == "x"


@pytest.mark.gateway(store="memory:")
def test_id_of_another_life_is_of_another_epoch(gateway):
    """The gateway was restarted and its memory is gone: the client learns that, instead of
    waiting for ids that it believes to be old."""
    ids = push_numbers(gateway, 5)
    stream = gateway.stream()
    stream.close()
    gateway.stop()
    gateway.start()
    fresh = push_numbers(gateway, 3, first=100)
    assert fresh[0].rpartition("-")[0] != ids[0].rpartition("-")[0]
    stream = gateway.stream(resume=ids[-1])
    event = stream.next_event()
    assert reset_of(event, "epoch") == {
        "reason": "epoch", "oldest": fresh[0], "newest": fresh[-1]}
    assert event.id == fresh[-1]
    assert past_of(stream, gateway) == []


def test_two_positions_are_refused(gateway):
    """One of the two was added by somebody in between; neither is to be trusted."""
    ids = push_numbers(gateway, 2)
    for second in (ids[0], ids[1]):
        response = gateway.request_once(
            "GET", "/events", [("Last-Event-ID", ids[0]), ("Last-Event-ID", second)])
        assert response.status == 400, response
    assert gateway.stat("streams_opened") == 0


def test_position_longer_than_any_id_is_unknown(gateway):
    """A 400 would stop a browser for good that has the id of another server."""
    for length in (128, 129, 1000):
        reset_of(gateway.stream(resume="x" * length).next_event(), "unknown")
        reset_of(gateway.stream(last_event_id="x" * length).next_event(), "unknown")


# replay meets live


def test_replay_goes_over_into_live_without_a_gap_or_a_repeat(gateway):
    """Streams open in the midst of a storm of events, at the beginning, at some place, or now.
    From its place on, each sees every event once and in order."""
    total = wire.fewer(6000, 600)
    ids, opened = push_numbers(gateway, 10), []

    def publish():
        with gateway.raw() as connection:
            while len(ids) < total:
                body = b"[" + b",".join(b'{"data":%d}' % (len(ids) + i) for i in range(10)) + b"]"
                connection.send(gateway.request_bytes(
                    "POST", "/api/push", [("Content-Type", "application/json")], body))
                ids.extend(connection.read_response().json()["ids"])

    publisher = threading.Thread(target=publish)
    publisher.start()
    for turn in range(24):
        wire.wait_until(lambda: len(ids) >= total * turn // 24, 60, "publishing goes on")
        known = ids[len(ids) // 2]
        how = [{"since": "earliest"}, {"resume": known}, {"resume": ids[0]}, {}][turn % 4]
        opened.append(gateway.stream(**how))
        opened[-1].after = ["", known, ids[0], None][turn % 4]
    publisher.join()
    last = gateway.push({"data": "last"})["id"]
    wire.pump_until(opened, lambda stream: stream.payload.endswith(f"{last}\n\n".encode()))
    for turn, stream in enumerate(opened):
        seen = [event.id for event in stream.events_until("last")]
        if stream.after is None:
            known = ids[len(ids) - len(seen):]
        else:
            known = [event_id for event_id in ids if event_id > stream.after]
        assert seen == known, turn
    assert gateway.stat("resets") == 0


def test_id_that_was_just_given_is_good_at_once(gateway):
    """A backend publishes and hands the id to a browser, whose stream may be served by another
    worker that has not heard of the event yet.  It must neither reset nor repeat."""
    count = wire.fewer(300, 30)
    ids, streams = [], []
    for i in range(count):
        ids.append(gateway.push({"data": str(i)})["id"])
        streams.append(gateway.stream(resume=ids[-1]))
    last = gateway.push({"data": "last"})["id"]
    for i, stream in enumerate(streams):
        assert [event.id for event in stream.events_until("last")] == ids[i + 1:], i
    assert last > ids[-1]
    assert gateway.stat("resets") == 0


@pytest.mark.gateway(settings={"stream.ring_events": "64"})
def test_replay_reaches_behind_the_ring(gateway):
    """What the workers no longer hold comes from the history, page by page, and then the stream
    is live like any other."""
    ids = push_numbers(gateway, 1000)
    ids += push_numbers(gateway, 1000, first=1000)
    streams = [gateway.stream(since="earliest"), gateway.stream(resume=ids[500])]
    gateway.push({"data": "end"})
    assert [event.id for event in streams[0].events_until("end", 20)] == ids
    assert [event.id for event in streams[1].events_until("end", 20)] == ids[501:]
    gateway.push({"data": "live"})
    assert [stream.next_event().data for stream in streams] == ["live", "live"]
    assert gateway.stat("pages_read") > 0


# events that are not replayed


def test_event_past_its_ttl_is_neither_replayed_nor_missed(gateway):
    """An offer that ended is of no use to who comes back, and its absence is no loss."""
    stream = gateway.stream()
    start = gateway.push({"data": "start"})["id"]
    short = gateway.push({"data": "short", "ttl": 1})["id"]
    gateway.push({"data": "long", "ttl": 3600})
    gateway.push({"data": "kept"})
    assert data_of(stream.events(4)) == ["start", "short", "long", "kept"]
    gone = time.monotonic() + 1.1
    wire.wait_until(lambda: time.monotonic() > gone, 5, "its second is over")
    for position in (start, short):
        assert data_of(past_of(gateway.stream(resume=position), gateway))[:2] == ["long", "kept"]
    assert "short" not in data_of(past_of(gateway.stream(since="earliest"), gateway))
    assert gateway.stat("resets") == 0


def test_event_within_its_ttl_is_replayed(gateway):
    """The other side of the same promise."""
    start = gateway.push({"data": "start"})["id"]
    gateway.push({"data": "x", "ttl": 3600})
    assert data_of(past_of(gateway.stream(resume=start), gateway)) == ["x"]


def test_ephemeral_events_are_not_replayed(gateway):
    """They were for who was there."""
    stream = gateway.stream()
    start = gateway.push({"data": "start"})["id"]
    gateway.push({"data": "typing", "ephemeral": True})
    gateway.push({"data": "text"})
    assert data_of(stream.events(3)) == ["start", "typing", "text"]
    assert data_of(past_of(gateway.stream(resume=start), gateway)) == ["text"]
    assert "typing" not in data_of(past_of(gateway.stream(since="earliest"), gateway))
    assert gateway.stat("resets") == 0


# checkpoints


@pytest.mark.gateway(settings={"stream.ring_events": "64"})
def test_ephemeral_event_during_the_last_of_a_replay_is_live(gateway):
    """A client reads the end of its replay slowly.  It is connected, so an ephemeral event that
    is published meanwhile is for it, whether or not a stored one came in between."""
    large = "x" * 60000
    for _ in range(3):
        gateway.push({"topic": "a", "data": large})
    push_numbers(gateway, 100, topic="fills the ring")
    stream = gateway.stream("a", since="earliest", receive_buffer=16384)
    assert data_of(stream.events(2)) == [large] * 2
    gateway.wait_stat("events_delivered", 3)
    gateway.push({"topic": "a", "data": "now", "ephemeral": True})
    assert data_of(stream.events(2)) == [large, "now"]


@pytest.mark.long
def test_quiet_stream_gets_a_checkpoint_while_others_publish(gateway):
    """A stream whose topic is silent for a day would come back with a position that is long
    gone.  So it is told a newer one now and then, at least every 30 s."""
    first = gateway.push({"topic": "busy", "data": "first"})["id"]
    stream = gateway.stream("quiet")
    done = threading.Event()

    def publish():
        while not done.wait(0.2):
            gateway.push({"topic": "busy", "data": "x"})

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        deadline = time.monotonic() + wire.seconds(33)
        item = stream.next_item(33)
        while isinstance(item, wire.Comment) or item.id <= first:
            assert time.monotonic() < deadline, "no checkpoint came"
            item = stream.next_item(33)
    finally:
        done.set()
        publisher.join()
    assert (item.name, item.data) == ("checkpoint", ""), item
    wire.check_id(item.id)
    assert gateway.stat("checkpoints") >= 1
    again = gateway.stream("quiet", resume=item.id)
    gateway.push({"topic": "quiet", "data": "x"})
    assert again.next_event().data == "x"
    assert stream.next_event().data == "x"
    assert gateway.stat("resets") == 0
