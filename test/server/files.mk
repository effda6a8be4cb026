UNIT_TESTS += \
    test/server/test_history_open
