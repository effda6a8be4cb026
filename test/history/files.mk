UNIT_TESTS += \
    test/history/test_history \
    test/history/test_history_contract \
    test/history/test_history_follow \
    test/history/test_history_memory \
    test/history/test_idempotency_table \
    test/history/test_lineage \
    test/history/test_page_reader

test_history_test_history_contract_SOURCES = test/history/test_history_contract.c test/history/each_store.h
test_history_test_history_follow_SOURCES = test/history/test_history_follow.c test/history/each_store.h
