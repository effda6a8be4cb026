libbugle_a_SOURCES += \
    include/server/server.h \
    src/server/history_open.c \
    src/server/history_open.h \
    src/server/key_rollout.c \
    src/server/key_rollout.h \
    src/server/placement.c \
    src/server/placement.h \
    src/server/server.c \
    src/server/server_build.c \
    src/server/server_cluster.c \
    src/server/server_handover.c \
    src/server/server_internal.h \
    src/server/server_reload.c \
    src/server/server_resources.c \
    src/server/server_stop.c \
    src/server/server_tls.c \
    src/server/watchdog.c \
    src/server/watchdog.h
