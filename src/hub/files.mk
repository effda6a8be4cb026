libbugle_a_SOURCES += \
    include/hub/hub.h \
    src/hub/hub.c \
    src/hub/hub_commit.c \
    src/hub/hub_internal.h \
    src/hub/hub_owner.c
