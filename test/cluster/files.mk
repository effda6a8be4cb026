UNIT_TESTS += \
    test/cluster/test_cluster_check \
    test/cluster/test_cluster_conf \
    test/cluster/test_lineage_walk \
    test/cluster/test_log_entry \
    test/cluster/test_log_follower \
    test/cluster/test_log_follower_orders \
    test/cluster/test_log_group \
    test/cluster/test_log_node \
    test/cluster/test_node_message \
    test/cluster/test_node_talk \
    test/cluster/test_redis_answers \
    test/cluster/test_redis_failover \
    test/cluster/test_redis_fault \
    test/cluster/test_redis_find \
    test/cluster/test_redis_gateway \
    test/cluster/test_redis_link \
    test/cluster/test_redis_log \
    test/cluster/test_redis_orders \
    test/cluster/test_redis_ticket \
    test/cluster/test_redis_tls \
    test/cluster/test_redis_url

FUZZ_TARGETS += \
    test/cluster/fuzz_log_entry \
    test/cluster/fuzz_node_message \
    test/cluster/fuzz_redis_reader

REAL_REDIS = test/cluster/fake_redis.h test/cluster/real_redis.h
test_cluster_test_cluster_check_SOURCES = test/cluster/test_cluster_check.c $(REAL_REDIS)
test_cluster_test_redis_answers_SOURCES = test/cluster/test_redis_answers.c \
    test/cluster/redis_node.h $(REAL_REDIS)
test_cluster_test_redis_failover_SOURCES = test/cluster/test_redis_failover.c \
    test/cluster/redis_node.h $(REAL_REDIS)
test_cluster_test_redis_find_SOURCES = test/cluster/test_redis_find.c $(REAL_REDIS)
test_cluster_test_redis_link_SOURCES = test/cluster/test_redis_link.c $(REAL_REDIS)
test_cluster_test_redis_log_SOURCES = test/cluster/test_redis_log.c test/cluster/redis_node.h \
    $(REAL_REDIS)
test_cluster_test_redis_orders_SOURCES = test/cluster/test_redis_orders.c \
    test/cluster/redis_node.h $(REAL_REDIS)
test_cluster_test_redis_ticket_SOURCES = test/cluster/test_redis_ticket.c \
    test/auth/ticket_rules.h test/cluster/redis_node.h $(REAL_REDIS)
test_cluster_test_redis_tls_SOURCES = test/cluster/test_redis_tls.c $(REAL_REDIS)

test_cluster_test_lineage_walk_SOURCES = test/cluster/test_lineage_walk.c \
    test/cluster/memory_log.c test/cluster/memory_log.h test/cluster/walk_orders.h \
    test/cluster/walk_world.h
test_cluster_test_log_follower_SOURCES = test/cluster/test_log_follower.c \
    test/cluster/made_entry.h test/history/each_store.h
test_cluster_test_log_follower_orders_SOURCES = test/cluster/test_log_follower_orders.c \
    test/cluster/made_entry.h test/history/each_store.h
test_cluster_test_log_node_SOURCES = test/cluster/test_log_node.c \
    test/cluster/memory_log.c test/cluster/memory_log.h
test_cluster_test_redis_gateway_SOURCES = test/cluster/test_redis_gateway.c \
    test/cluster/real_redis.h
