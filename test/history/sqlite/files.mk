UNIT_TESTS += \
    test/history/sqlite/test_history_backup \
    test/history/sqlite/test_history_keys \
    test/history/sqlite/test_history_power \
    test/history/sqlite/test_history_row \
    test/history/sqlite/test_history_sqlite \
    test/history/sqlite/test_history_sqlite_log \
    test/history/sqlite/test_history_sqlite_readers \
    test/history/sqlite/test_history_sqlite_room \
    test/history/sqlite/test_history_sqlite_watch
