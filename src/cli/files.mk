libbugle_a_SOURCES += \
    include/cli/cli_common.h \
    src/cli/cli_backup.c \
    src/cli/cli_common.c \
    src/cli/cli_epoch.c \
    src/cli/cli_http.c \
    src/cli/cli_http.h \
    src/cli/cli_input.c \
    src/cli/cli_input.h \
    src/cli/cli_post.c \
    src/cli/cli_post.h \
    src/cli/cli_publish.c \
    src/cli/cli_show.c \
    src/cli/cli_show.h \
    src/cli/cli_subscribe.c \
    src/cli/cli_token.c \
    src/cli/cli_token.h \
    src/cli/cli_token_make.c \
    src/cli/cli_token_new.c
