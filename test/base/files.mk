UNIT_TESTS += \
    test/base/test_address \
    test/base/test_base64url \
    test/base/test_clock \
    test/base/test_thread_pool \
    test/base/test_due_heap \
    test/base/test_edit_distance \
    test/base/test_file_read \
    test/base/test_hash \
    test/base/test_jitter \
    test/base/test_log \
    test/base/test_log_writer \
    test/base/test_machine \
    test/base/test_memory_budget \
    test/base/test_peer \
    test/base/test_min_rate \
    test/base/test_state_dir \
    test/base/test_state_file \
    test/base/test_stats \
    test/base/test_token_bucket \
    test/base/test_utf8
