libbugle_a_SOURCES += \
    include/loop/inbox.h \
    include/loop/loop_memory.h \
    include/loop/worker.h \
    src/loop/inbox.c \
    src/loop/loop_memory.c \
    src/loop/worker.c
