UNIT_TESTS += \
    test/history/sqlite/test_history_backup \
    test/history/sqlite/test_history_keys \
    test/history/sqlite/test_history_power \
    test/history/sqlite/test_sqlite_row \
    test/history/sqlite/test_sqlite_store \
    test/history/sqlite/test_sqlite_format \
    test/history/sqlite/test_sqlite_log \
    test/history/sqlite/test_sqlite_readers \
    test/history/sqlite/test_sqlite_reserve \
    test/history/sqlite/test_sqlite_watch
