libbugle_a_SOURCES += \
    include/http/client_address.h \
    include/http/parameters.h \
    include/http/request.h \
    include/http/respond.h \
    include/http/service.h \
    src/http/client_address.c \
    src/http/parameters.c \
    src/http/request.c \
    src/http/respond.c \
    src/http/response_cache.c \
    src/http/response_cache.h \
    src/http/tls_head_check.c
