libbugle_a_SOURCES += \
    include/history/history.h \
    include/history/history_memory.h \
    include/history/key_table.h \
    include/history/pager.h \
    src/history/history.c \
    src/history/history_memory.c \
    src/history/key_table.c \
    src/history/pager.c
