UNIT_TESTS += \
    test/api/test_access \
    test/api/test_publish \
    test/api/test_query_params \
    test/api/test_admin_health \
    test/api/test_admin_streams \
    test/api/test_backup_post \
    test/api/test_history_get \
    test/api/test_node_service \
    test/api/test_node_tickets \
    test/api/test_ticket_post \
    test/api/test_routes \
    test/api/test_subscribe \
    test/api/test_ws \
    test/api/test_access_read \
    test/api/test_history_listing \
    test/api/test_static_files \
    test/api/test_publish_body \
    test/api/test_publish_kind \
    test/api/test_publish_plain \
    test/api/test_publish_work \
    test/api/test_ws_message \
    test/api/test_ws_v1

FUZZ_TARGETS += \
    test/api/fuzz_publish_body \
    test/api/fuzz_query_params \
    test/api/fuzz_ws_message

test_api_test_access_SOURCES = test/api/test_access.c $(FIXTURE)
test_api_test_publish_SOURCES = test/api/test_publish.c $(FIXTURE)
test_api_test_query_params_SOURCES = test/api/test_query_params.c $(FIXTURE)
test_api_test_routes_SOURCES = test/api/test_routes.c $(FIXTURE)
test_api_test_subscribe_SOURCES = test/api/test_subscribe.c $(FIXTURE)
test_api_test_ws_SOURCES = test/api/test_ws.c $(FIXTURE_WS)
test_api_test_admin_health_SOURCES = test/api/test_admin_health.c $(FIXTURE)
test_api_test_admin_health_LDFLAGS = $(AM_LDFLAGS) $(SHARED_BY_TEST)
test_api_test_admin_streams_SOURCES = test/api/test_admin_streams.c $(FIXTURE)
test_api_test_backup_post_SOURCES = test/api/test_backup_post.c $(FIXTURE)
test_api_test_history_get_SOURCES = test/api/test_history_get.c $(FIXTURE)
test_api_test_history_get_LDFLAGS = $(AM_LDFLAGS) $(SHARED_BY_TEST)
test_api_test_node_service_SOURCES = test/api/test_node_service.c $(FIXTURE)
test_api_test_node_tickets_SOURCES = test/api/test_node_tickets.c $(FIXTURE_WS)
test_api_test_ticket_post_SOURCES = test/api/test_ticket_post.c $(FIXTURE)
test_api_test_publish_work_SOURCES = test/api/test_publish_work.c $(FIXTURE)
test_api_test_publish_work_LDFLAGS = $(AM_LDFLAGS) $(FAIL_ALLOC_FLAGS)
test_api_test_ws_message_LDFLAGS = $(AM_LDFLAGS) $(FAIL_ALLOC_FLAGS)
test_api_test_ws_v1_SOURCES = test/api/test_ws_v1.c $(FIXTURE)
test_api_test_ws_v1_LDFLAGS = $(AM_LDFLAGS) $(FAIL_ALLOC_FLAGS)
