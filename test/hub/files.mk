UNIT_TESTS += \
    test/hub/test_hub \
    test/hub/test_hub_backup \
    test/hub/test_hub_share \
    test/hub/test_hub_share_gather

test_hub_test_hub_share_SOURCES = test/hub/test_hub_share.c $(REAL_REDIS)
