UNIT_TESTS += \
    test/loop/test_loop_memory \
    test/loop/test_worker
