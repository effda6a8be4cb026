UNIT_TESTS += \
    test/event/test_filter \
    test/event/test_message \
    test/event/test_message_form \
    test/event/test_topic

FUZZ_TARGETS += \
    test/event/fuzz_message_form \
    test/event/fuzz_topic

test_event_test_message_form_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc -Wl,--wrap=realloc
