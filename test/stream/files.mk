UNIT_TESTS += \
    test/stream/test_eviction_log \
    test/stream/test_topic_index \
    test/stream/test_ack_progress \
    test/stream/test_await_walk \
    test/stream/test_heartbeat \
    test/stream/test_peer_watch \
    test/stream/test_ready_queue \
    test/stream/test_replay_pages \
    test/stream/test_ring \
    test/stream/test_stall_timer \
    test/stream/test_stream \
    test/stream/test_stream_await \
    test/stream/test_stream_cut \
    test/stream/test_stream_direct \
    test/stream/test_stream_end \
    test/stream/test_stream_expiry \
    test/stream/test_stream_fill \
    test/stream/test_stream_filter \
    test/stream/test_stream_sse \
    test/stream/test_stream_ws \
    test/stream/test_stream_peer \
    test/stream/test_streams

FAKE_HOST = test/stream/fake_host.c test/stream/fake_host.h
test_stream_test_heartbeat_SOURCES = test/stream/test_heartbeat.c $(FAKE_HOST)
test_stream_test_replay_pages_SOURCES = test/stream/test_replay_pages.c $(FAKE_HOST)
test_stream_test_stream_SOURCES = test/stream/test_stream.c $(FAKE_HOST)
test_stream_test_stream_await_SOURCES = test/stream/test_stream_await.c $(FAKE_HOST)
SHARED_BY_TEST = -Wl,--wrap=hub_shares -Wl,--wrap=hub_share_get_facts \
    -Wl,--wrap=hub_share_ask_soon
test_stream_test_stream_await_LDFLAGS = $(AM_LDFLAGS) $(SHARED_BY_TEST)
test_stream_test_await_walk_SOURCES = test/stream/test_await_walk.c $(FAKE_HOST)
test_stream_test_await_walk_LDFLAGS = $(AM_LDFLAGS) $(SHARED_BY_TEST)
test_stream_test_stream_cut_SOURCES = test/stream/test_stream_cut.c $(FAKE_HOST)
test_stream_test_stream_direct_SOURCES = test/stream/test_stream_direct.c $(FAKE_HOST)
test_stream_test_stream_expiry_SOURCES = test/stream/test_stream_expiry.c $(FAKE_HOST)
test_stream_test_stream_fill_SOURCES = test/stream/test_stream_fill.c $(FAKE_HOST)
test_stream_test_stream_filter_SOURCES = test/stream/test_stream_filter.c $(FAKE_HOST)
test_stream_test_stream_filter_LDFLAGS = $(AM_LDFLAGS) $(FAIL_ALLOC_FLAGS)
test_stream_test_stream_sse_SOURCES = test/stream/test_stream_sse.c $(FAKE_HOST)
test_stream_test_stream_peer_SOURCES = test/stream/test_stream_peer.c $(FAKE_HOST)
test_stream_test_stream_ws_SOURCES = test/stream/test_stream_ws.c $(FAKE_HOST)
test_stream_test_streams_SOURCES = test/stream/test_streams.c $(FAKE_HOST)
