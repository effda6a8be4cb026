libbugle_a_SOURCES += \
    include/loop/context.h \
    include/loop/event_alloc.h \
    include/loop/inbox.h \
    include/loop/worker.h \
    src/loop/event_alloc.c \
    src/loop/inbox.c \
    src/loop/worker.c \
    src/loop/worker_internal.h \
    src/loop/worker_sched.c
