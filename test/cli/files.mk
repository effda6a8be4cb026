UNIT_TESTS += \
    test/cli/test_cli_common \
    test/cli/test_cli_input \
    test/cli/test_cli_show
