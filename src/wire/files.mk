libbugle_a_SOURCES += \
    include/wire/cookie.h \
    include/wire/forwarded.h \
    include/wire/http_head.h \
    include/wire/json_alloc.h \
    include/wire/json_flat.h \
    include/wire/json_guard.h \
    include/wire/json_span.h \
    include/wire/problem.h \
    include/wire/proxy_protocol.h \
    include/wire/sse.h \
    include/wire/sse_parser.h \
    src/wire/cookie.c \
    src/wire/forwarded.c \
    src/wire/http_head.c \
    src/wire/json_alloc.c \
    src/wire/json_flat.c \
    src/wire/json_guard.c \
    src/wire/json_span.c \
    src/wire/problem.c \
    src/wire/proxy_protocol.c \
    src/wire/span.h \
    src/wire/sse.c \
    src/wire/sse_parser.c
