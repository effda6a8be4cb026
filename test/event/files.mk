UNIT_TESTS += \
    test/event/test_filter \
    test/event/test_message \
    test/event/test_topic

FUZZ_TARGETS += \
    test/event/fuzz_topic
