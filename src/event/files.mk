libbugle_a_SOURCES += \
    include/event/filter.h \
    include/event/message.h \
    include/event/message_form.h \
    include/event/topic.h \
    src/event/filter.c \
    src/event/message.c \
    src/event/message_form.c \
    src/event/topic.c
