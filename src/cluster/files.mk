libbugle_a_SOURCES += \
    src/cluster/redis_fault.c \
    src/cluster/redis_fault.h \
    src/cluster/redis_link.c \
    src/cluster/redis_link.h \
    src/cluster/redis_reader.c \
    src/cluster/redis_reader.h \
    src/cluster/redis_resolve.c \
    src/cluster/redis_resolve.h \
    src/cluster/redis_socket.c \
    src/cluster/redis_socket.h \
    src/cluster/redis_url.c \
    src/cluster/redis_url.h
