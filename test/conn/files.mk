UNIT_TESTS += \
    test/conn/test_systemd \
    test/conn/test_client_quota \
    test/conn/test_cell \
    test/conn/test_fd_budget \
    test/conn/test_gate \
    test/conn/test_gate_tls \
    test/conn/test_inherited_sockets \
    test/conn/test_lingering_close \
    test/conn/test_keyed_count \
    test/conn/test_tls_credentials
