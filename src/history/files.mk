libbugle_a_SOURCES += \
    include/history/history.h \
    include/history/history_memory.h \
    include/history/idempotency_table.h \
    include/history/lineage.h \
    include/history/page_reader.h \
    include/history/store_path.h \
    src/history/history.c \
    src/history/history_memory.c \
    src/history/idempotency_table.c \
    src/history/lineage.c \
    src/history/page_reader.c \
    src/history/store_path.c
