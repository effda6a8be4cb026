UNIT_TESTS += \
    test/server/test_store
