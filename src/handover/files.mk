libbugle_a_SOURCES += \
    include/handover/handover.h \
    include/handover/relay.h \
    include/handover/takeover.h \
    src/handover/handover.c \
    src/handover/link.c \
    src/handover/link.h \
    src/handover/pack.c \
    src/handover/pack.h \
    src/handover/relay.c \
    src/handover/takeover.c
