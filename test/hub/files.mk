UNIT_TESTS += \
    test/hub/test_hub \
    test/hub/test_hub_backup
