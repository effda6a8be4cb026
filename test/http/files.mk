UNIT_TESTS += \
    test/http/test_request \
    test/http/test_respond \
    test/http/test_response_cache \
    test/http/test_parameters

FUZZ_TARGETS += \
    test/http/fuzz_request

test_http_test_request_SOURCES = test/http/test_request.c $(FIXTURE)
test_http_test_respond_SOURCES = test/http/test_respond.c $(FIXTURE)
