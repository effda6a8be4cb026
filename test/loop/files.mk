UNIT_TESTS += \
    test/loop/test_event_alloc \
    test/loop/test_worker
