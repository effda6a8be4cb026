UNIT_TESTS += \
    test/wire/test_cookie \
    test/wire/test_forwarded \
    test/wire/test_http_head \
    test/wire/test_json_flat \
    test/wire/test_json_guard \
    test/wire/test_json_alloc \
    test/wire/test_json_span \
    test/wire/test_json_writer \
    test/wire/test_problem \
    test/wire/test_proxy_protocol \
    test/wire/test_sse \
    test/wire/test_sse_parser \
    test/wire/test_ws_deflate \
    test/wire/test_ws_extensions \
    test/wire/test_ws_frame \
    test/wire/test_ws_handshake \
    test/wire/test_ws_parser

FUZZ_TARGETS += \
    test/wire/fuzz_cookie \
    test/wire/fuzz_forwarded \
    test/wire/fuzz_http_head \
    test/wire/fuzz_json_flat \
    test/wire/fuzz_json_span \
    test/wire/fuzz_json_writer \
    test/wire/fuzz_proxy_protocol \
    test/wire/fuzz_round_trip \
    test/wire/fuzz_sse \
    test/wire/fuzz_sse_parser \
    test/wire/fuzz_ws_handshake \
    test/wire/fuzz_ws_parser

test_wire_test_json_alloc_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc
test_wire_test_json_writer_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=realloc
test_wire_test_ws_parser_LDFLAGS = $(AM_LDFLAGS) $(FAIL_ALLOC_FLAGS)
test_wire_test_ws_handshake_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=gnutls_base64_encode2
