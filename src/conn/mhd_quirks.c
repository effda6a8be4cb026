/* SPDX-License-Identifier: MIT */
/* The inside of libmicrohttpd.  See mhd_quirks.h. */
#include "config.h"
#include "conn/mhd_quirks.h"

#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What the header has for an option and a flag of later versions than the oldest supported one. */
#define DISCIPLINE_OPTION 38
#define DISCIPLINE_SINCE 0x00097701
#define DISCIPLINE_STRICT 1
#define ONE_THREAD_FLAG (1U << 19)
#define ONE_THREAD_SINCE 0x00097707
/* Blanks behind a value are no part of it, and NUL in a head is refused. */
#define TRIMS_SINCE 0x01000000
/* A record for a header, query field or cookie: 56 bytes in 0.9.75, 64 in 1.0.1. */
#define RECORD_BYTES 64
#define SMALLEST_PAGE_BYTES 4096

unsigned mhd_version(void)
{
    unsigned major = 0, minor = 0, patch = 0, change = 0;

    /* "1.0.1", and "0.9.77.7" between releases */
    if (sscanf(MHD_get_version(), "%2u.%2u.%2u.%2u", &major, &minor, &patch, &change) < 3)
        return 0;
    unsigned digits[] = {major, minor, patch, change};
    unsigned version = 0;

    for (size_t i = 0; i < sizeof(digits) / sizeof(digits[0]); i++)
        version = version << 8 | (digits[i] / 10 << 4 | digits[i] % 10);
    return version;
}

/* ---- daemons ---- */

/* The library asks for a certificate to begin with.  Sessions are given theirs when they begin. */
static int no_certificate(gnutls_session_t session, const gnutls_datum_t *authorities,
                          int authorities_n, const gnutls_pk_algorithm_t *algorithms,
                          int algorithms_n, gnutls_pcert_st **ret_certificates,
                          unsigned *ret_certificates_n, gnutls_privkey_t *ret_key)
{
    (void)session;
    (void)authorities;
    (void)authorities_n;
    (void)algorithms;
    (void)algorithms_n;
    (void)ret_certificates;
    (void)ret_certificates_n;
    (void)ret_key;
    return -1;
}

/* With TURBO the library would not tell a TLS peer that the session ends. */
static unsigned flags_of(const struct mhd_daemon_conf *conf)
{
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET;

    if (mhd_version() >= ONE_THREAD_SINCE)
        flags |= ONE_THREAD_FLAG;
    return flags | (conf->tls ? MHD_USE_TLS : MHD_USE_TURBO);
}

/* Options that not all versions know, and those of TLS. */
static void fill_more(struct MHD_OptionItem *items, const struct mhd_daemon_conf *conf)
{
    size_t n = 0;

    if (mhd_version() >= DISCIPLINE_SINCE)
        items[n++] =
            (struct MHD_OptionItem){(enum MHD_OPTION)DISCIPLINE_OPTION, DISCIPLINE_STRICT, NULL};
    if (conf->tls) {
        items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_CERT_CALLBACK, 0,
                                             (void *)(uintptr_t)no_certificate};
        items[n++] =
            (struct MHD_OptionItem){MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)conf->target, conf->arg};
    }
    items[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
}

struct MHD_Daemon *mhd_start(const struct mhd_daemon_conf *conf)
{
    struct MHD_OptionItem more[4];

    fill_more(more, conf);
    return MHD_start_daemon(flags_of(conf), 0, NULL, NULL, conf->request, conf->arg,  /**/
                            MHD_OPTION_CONNECTION_LIMIT, conf->connections_max,       /**/
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, conf->pool_bytes,     /**/
                            MHD_OPTION_CONNECTION_TIMEOUT, conf->timeout_s,           /**/
                            MHD_OPTION_NOTIFY_COMPLETED, conf->completed, conf->arg,  /**/
                            MHD_OPTION_NOTIFY_CONNECTION, conf->connected, conf->arg, /**/
                            MHD_OPTION_ARRAY, more, MHD_OPTION_END);
}

/* ---- connections ---- */

void mhd_suspend(struct MHD_Connection *connection)
{
    MHD_suspend_connection(connection);
}

void mhd_resume(struct MHD_Connection *connection)
{
    MHD_resume_connection(connection);
}

bool mhd_is_suspended(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_SUSPENDED)
               ->suspended != MHD_NO;
}

int mhd_descriptor(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

int mhd_take_descriptor(struct MHD_Connection *connection, int ended_fd, int end)
{
    int fd = mhd_descriptor(connection);
    int taken = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (taken >= end || (taken >= 0 && dup3(ended_fd, fd, O_CLOEXEC) < 0)) {
        close(taken);
        taken = -1;
    }
    if (taken < 0)
        shutdown(fd, SHUT_RDWR);
    return taken;
}

struct gnutls_session_int *mhd_session(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);

    return info != NULL ? info->tls_session : NULL;
}

/* ---- heads ---- */

size_t mhd_head_needs(size_t head_bytes, size_t cookie_bytes, size_t records_n)
{
    return head_bytes + cookie_bytes + records_n * RECORD_BYTES;
}

struct again {
    FILE *to;
    const char *end; /* of the line before, where the library has it */
    bool is_plain;   /* nothing but line ends is between the parts so far */
    bool trims;      /* the library cuts blanks off behind values */
};

/* The library reads in one buffer.  Between two lines it leaves as many bytes as the line end has.
 * From 1.0 on it refuses NUL that was sent, so one there is its own, for the first of the blanks
 * that it cut off: they are put back.  Returns whether nothing else was there. */
static bool end_line(struct again *again, const char *to)
{
    const char *at = again->end;

    if ((uintptr_t)to < (uintptr_t)at + 2)
        return false;
    for (; again->trims && to - at > 2 && (*at == '\0' || *at == ' ' || *at == '\t'); at++)
        fputc(' ', again->to);
    fputs("\r\n", again->to);
    return to == at + 2;
}

static bool are_blanks(const char *from, const char *to)
{
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    return from == to;
}

/* A line that is folded is joined to the name of the one before, and both are moved. */
static enum MHD_Result write_field(void *cls, enum MHD_ValueKind kind, const char *name,
                                   size_t name_n, const char *value, size_t value_n)
{
    struct again *again = cls;

    (void)kind;
    if (value == NULL || !end_line(again, name) || (uintptr_t)value <= (uintptr_t)name + name_n ||
        !are_blanks(name + name_n + 1, value)) {
        again->is_plain = false;
        return MHD_NO;
    }
    fwrite(name, 1, name_n, again->to);
    fputs(": ", again->to);
    fwrite(value, 1, value_n, again->to);
    again->end = value + value_n;
    return MHD_YES;
}

/* Method, target and version stand side by side, and the head ends with an empty line. */
static bool end_head(struct MHD_Connection *connection, struct again *again, const char *method,
                     const char *target, const char *version)
{
    size_t head_n =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)->header_size;
    bool is_whole = again->is_plain && end_line(again, method + head_n - 2);

    fputs("\r\n", again->to);
    return is_whole && method + strlen(method) + 1 + strlen(target) + 1 == version;
}

char *mhd_write_head_again(struct MHD_Connection *connection, const char *method,
                           const char *target, const char *version, bool *ret_is_plain,
                           size_t *ret_n)
{
    char *text = NULL;
    struct again again = {.to = open_memstream(&text, ret_n),
                          .end = version + strlen(version),
                          .is_plain = true,
                          .trims = mhd_version() >= TRIMS_SINCE};

    *ret_is_plain = false;
    if (again.to == NULL)
        return NULL;
    fprintf(again.to, "%s %s %s", method, target, version);
    MHD_get_connection_values_n(connection, MHD_HEADER_KIND, write_field, &again);
    *ret_is_plain = end_head(connection, &again, method, target, version);
    if (fclose(again.to) == 0)
        return text;
    free(text);
    return NULL;
}

/* ---- pools ---- */

char *mhd_pool_of(const char *method)
{
    return (char *)((uintptr_t)method & ~(uintptr_t)(alignof(max_align_t) - 1));
}

/* What stands before a pool is malloc()'s, or of the sanitizer that takes its place; but before the
 * first page of a mapping may be nothing. */
__attribute__((no_sanitize("address"))) bool mhd_pool_begins_with(const char *method)
{
    return method == mhd_pool_of(method) && (uintptr_t)method % SMALLEST_PAGE_BYTES != 0 &&
           method[-1] != '\n';
}
