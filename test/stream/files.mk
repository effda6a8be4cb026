UNIT_TESTS += \
    test/stream/test_evictions \
    test/stream/test_match \
    test/stream/test_progress \
    test/stream/test_ready_queue \
    test/stream/test_ring
