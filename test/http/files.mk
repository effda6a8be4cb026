UNIT_TESTS += \
    test/http/test_response_cache \
    test/http/test_parameters

FUZZ_TARGETS += \
    test/http/fuzz_request
