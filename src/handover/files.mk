libbugle_a_SOURCES += \
    include/handover/handover_new.h \
    include/handover/handover_old.h \
    include/handover/relay_host.h \
    src/handover/handover_link.c \
    src/handover/handover_link.h \
    src/handover/handover_new.c \
    src/handover/handover_old.c \
    src/handover/pack.c \
    src/handover/pack.h \
    src/handover/relay_client.c \
    src/handover/relay_client.h \
    src/handover/relay_host.c
