libbugle_a_SOURCES += \
    include/http/client.h \
    include/http/parameters.h \
    include/http/request.h \
    include/http/respond.h \
    include/http/service.h \
    src/http/answers.c \
    src/http/answers.h \
    src/http/client.c \
    src/http/parameters.c \
    src/http/request.c \
    src/http/request_head.c \
    src/http/respond.c
