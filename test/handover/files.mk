UNIT_TESTS += \
    test/handover/test_handover_link \
    test/handover/test_pack \
    test/handover/test_relay
