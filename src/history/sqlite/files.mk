libbugle_a_SOURCES += \
    include/history/sqlite/sqlite_store.h \
    src/history/sqlite/sqlite_append.c \
    src/history/sqlite/sqlite_backup.c \
    src/history/sqlite/sqlite_db.c \
    src/history/sqlite/sqlite_epoch.c \
    src/history/sqlite/sqlite_format.c \
    src/history/sqlite/sqlite_internal.h \
    src/history/sqlite/sqlite_keys.c \
    src/history/sqlite/sqlite_log.c \
    src/history/sqlite/sqlite_open.c \
    src/history/sqlite/sqlite_read.c \
    src/history/sqlite/sqlite_readers.c \
    src/history/sqlite/sqlite_reserve.c \
    src/history/sqlite/sqlite_row.c \
    src/history/sqlite/sqlite_row.h \
    src/history/sqlite/sqlite_store.c \
    src/history/sqlite/sqlite_time.c \
    src/history/sqlite/sqlite_trim.c \
    src/history/sqlite/sqlite_truncate.c \
    src/history/sqlite/sqlite_vfs.c \
    src/history/sqlite/sqlite_vfs.h \
    src/history/sqlite/sqlite_watch.c
