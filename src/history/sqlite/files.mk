libbugle_a_SOURCES += \
    include/history/sqlite/history_sqlite.h \
    src/history/sqlite/history_row.c \
    src/history/sqlite/history_row.h \
    src/history/sqlite/history_sqlite.c \
    src/history/sqlite/history_sqlite_backup.c \
    src/history/sqlite/history_sqlite_epoch.c \
    src/history/sqlite/history_sqlite_internal.h \
    src/history/sqlite/history_sqlite_keys.c \
    src/history/sqlite/history_sqlite_log.c \
    src/history/sqlite/history_sqlite_open.c \
    src/history/sqlite/history_sqlite_read.c \
    src/history/sqlite/history_sqlite_readers.c \
    src/history/sqlite/history_sqlite_room.c \
    src/history/sqlite/history_sqlite_trim.c \
    src/history/sqlite/history_sqlite_watch.c \
    src/history/sqlite/history_vfs.c \
    src/history/sqlite/history_vfs.h
