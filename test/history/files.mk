UNIT_TESTS += \
    test/history/test_history \
    test/history/test_history_contract \
    test/history/test_history_memory \
    test/history/test_idempotency_table \
    test/history/test_lineage \
    test/history/test_page_reader
