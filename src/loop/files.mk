libbugle_a_SOURCES += \
    include/loop/inbox.h \
    include/loop/event_alloc.h \
    include/loop/worker.h \
    src/loop/inbox.c \
    src/loop/event_alloc.c \
    src/loop/worker.c
