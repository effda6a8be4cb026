UNIT_TESTS += \
    test/conn/test_systemd \
    test/conn/test_client_quota \
    test/conn/test_cell \
    test/conn/test_cell_keepalive \
    test/conn/test_fd_budget \
    test/conn/test_gate \
    test/conn/test_gate_evict \
    test/conn/test_gate_plain \
    test/conn/test_gate_proxy \
    test/conn/test_gate_route \
    test/conn/test_gate_tls \
    test/conn/test_inherited_sockets \
    test/conn/test_lingering_close \
    test/conn/test_listener \
    test/conn/test_keyed_count \
    test/conn/test_tls_credentials \
    test/conn/test_ws_conn

# The gate without cells.
GATE_FIXTURE = test/conn/gate_fixture.c test/conn/gate_fixture.h

# Cells without the library.
CELL_FIXTURE = test/conn/cell_fixture.c test/conn/cell_fixture.h $(FAKE_MHD)

test_conn_test_cell_SOURCES = test/conn/test_cell.c $(CELL_FIXTURE)
test_conn_test_cell_keepalive_SOURCES = test/conn/test_cell_keepalive.c $(CELL_FIXTURE)
test_conn_test_ws_conn_SOURCES = test/conn/test_ws_conn.c $(FAKE_HOST)
test_conn_test_gate_SOURCES = test/conn/test_gate.c $(GATE_FIXTURE)
test_conn_test_gate_evict_SOURCES = test/conn/test_gate_evict.c $(GATE_FIXTURE)
test_conn_test_gate_plain_SOURCES = test/conn/test_gate_plain.c $(GATE_FIXTURE)
test_conn_test_gate_proxy_SOURCES = test/conn/test_gate_proxy.c $(GATE_FIXTURE)
test_conn_test_gate_tls_SOURCES = test/conn/test_gate_tls.c $(GATE_FIXTURE)
