UNIT_TESTS += \
    test/auth/test_api_key \
    test/auth/test_auth \
    test/auth/test_forged \
    test/auth/test_jwt \
    test/auth/test_origin \
    test/auth/test_grants \
    test/auth/test_ticket \
    test/auth/test_ticket_keys \
    test/auth/test_ticket_table \
    test/auth/test_token_cache

FUZZ_TARGETS += \
    test/auth/fuzz_jwt

test_auth_test_ticket_table_SOURCES = test/auth/test_ticket_table.c test/auth/ticket_rules.h
