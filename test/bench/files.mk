UNIT_TESTS += \
    test/bench/test_bench_http \
    test/bench/test_bench_latency \
    test/bench/test_bench_sequence \
    test/bench/test_bench_sse \
    test/bench/test_bench_template \
    test/bench/test_bench_ws
