libbugle_a_SOURCES += \
    include/hub/hub.h \
    include/hub/hub_share.h \
    src/hub/hub.c \
    src/hub/hub_commit.c \
    src/hub/hub_internal.h \
    src/hub/hub_owner.c \
    src/hub/hub_share.c \
    src/hub/hub_share_follow.c \
    src/hub/hub_share_gather.c \
    src/hub/hub_share_group.c \
    src/hub/hub_share_internal.h \
    src/hub/hub_share_say.c
