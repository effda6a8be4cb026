UNIT_TESTS += \
    test/conf/test_conf \
    test/conf/test_conf_secret \
    test/conf/test_conf_value

FUZZ_TARGETS += \
    test/conf/fuzz_conf
