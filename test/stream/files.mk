UNIT_TESTS += \
    test/stream/test_eviction_log \
    test/stream/test_topic_index \
    test/stream/test_ack_progress \
    test/stream/test_ready_queue \
    test/stream/test_ring
