libbugle_a_SOURCES += \
    include/auth/api_key.h \
    include/auth/auth.h \
    include/auth/identity.h \
    include/auth/jwks.h \
    include/auth/jwt.h \
    include/auth/jwt_keys.h \
    include/auth/origin.h \
    include/auth/ticket.h \
    include/auth/ticket_table.h \
    src/auth/api_key.c \
    src/auth/auth.c \
    src/auth/forged.c \
    src/auth/forged.h \
    src/auth/grants.c \
    src/auth/grants.h \
    src/auth/identity.c \
    src/auth/jwks.c \
    src/auth/jwt.c \
    src/auth/jwt_claims.c \
    src/auth/jwt_claims.h \
    src/auth/jwt_keys.c \
    src/auth/origin.c \
    src/auth/ticket.c \
    src/auth/ticket_table.c \
    src/auth/token_cache.c \
    src/auth/token_cache.h
