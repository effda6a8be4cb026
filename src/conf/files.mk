libbugle_a_SOURCES += \
    include/conf/conf.h \
    src/conf/conf.c \
    src/conf/conf_check.c \
    src/conf/conf_internal.h \
    src/conf/conf_load.c \
    src/conf/conf_secret.c \
    src/conf/conf_table.c \
    src/conf/conf_value.c \
    src/conf/conf_value.h
