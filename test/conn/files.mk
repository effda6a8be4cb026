UNIT_TESTS += \
    test/conn/test_activation \
    test/conn/test_admission \
    test/conn/test_cell \
    test/conn/test_descriptors \
    test/conn/test_gate \
    test/conn/test_gate_tls \
    test/conn/test_inherited \
    test/conn/test_linger \
    test/conn/test_tally \
    test/conn/test_tls
