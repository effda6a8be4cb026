UNIT_TESTS += \
    test/http/test_answers \
    test/http/test_parameters

FUZZ_TARGETS += \
    test/http/fuzz_request
