libbugle_a_SOURCES += \
    include/http/client_address.h \
    include/http/parameters.h \
    include/http/request.h \
    include/http/request_body.h \
    include/http/request_deadline.h \
    include/http/respond.h \
    include/http/service.h \
    include/http/tls_head_check.h \
    src/http/client_address.c \
    src/http/parameters.c \
    src/http/request.c \
    src/http/request_body.c \
    src/http/request_deadline.c \
    src/http/respond.c \
    src/http/response_cache.c \
    src/http/response_cache.h \
    src/http/tls_head_check.c
