UNIT_TESTS += \
    test/history/test_history \
    test/history/test_history_memory \
    test/history/test_key_table \
    test/history/test_pager
