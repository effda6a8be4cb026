/* SPDX-License-Identifier: MIT */
/*
 * Whether the libmicrohttpd that is loaded does what the gateway needs of it.  See mhd_quirks.h.
 *
 * Each try stands one connection over a socket pair and drives its daemon by hand.  All of it
 * happens in a child process: a library that keeps its records elsewhere may crash under it.
 */
#include "config.h"
#include "conn/mhd_quirks.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <limits.h>
#include <malloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_MS 1000
#define RUNS_MAX 12
#define HEAD_BYTES_MAX 40000
#define ANSWER_BYTES 4096
/* What a stream needs for a chunk of 1 KiB (stream_direct.c). */
#define CHUNK_ROOM_BYTES 1032

/* One connection and what the library made of it. */
struct stand {
    struct MHD_Daemon *daemon;
    struct MHD_Connection *connection; /* NULL: none, or it is over */
    int peer;                          /* our end */
    bool starts;                       /* NOTIFY_STARTED has come */
    unsigned begun_n, answered_n;      /* requests */
    const char *method, *version;      /* of the last one */
    char target[64];
    char body[4];                  /* of that response, unless it is a stream */
    struct MHD_Response *response; /* what requests are answered with */
    char *again;                   /* the head of the last one, written again */
    bool is_plain;
    char *room; /* of its chunks, as the reader was given it */
    size_t room_n;
    unsigned reads_n;
    bool room_moves;
    bool has_session; /* with TLS: one whose database pointer is free */
    bool holds;       /* requests are suspended in their handler, and closed in its next call */
    unsigned held_n, let_go_n;
};

/* ---- what the library calls ---- */

static void *probe_on_target(void *cls, const char *target, struct MHD_Connection *connection)
{
    struct stand *stand = cls;

    (void)connection;
    snprintf(stand->target, sizeof(stand->target), "%s", target);
    return NULL;
}

static enum MHD_Result hold_request(struct stand *stand, struct MHD_Connection *connection)
{
    if (stand->held_n > 0) {
        stand->let_go_n++;
        return MHD_NO;
    }
    stand->held_n++;
    MHD_suspend_connection(connection);
    return MHD_YES;
}

static enum MHD_Result probe_on_request(void *cls, struct MHD_Connection *connection,
                                        const char *url, const char *method, const char *version,
                                        const char *upload, size_t *upload_n, void **context)
{
    struct stand *stand = cls;
    size_t again_n;

    (void)upload;
    (void)upload_n;
    if (stand->holds && stand->begun_n > 0)
        return hold_request(stand, connection);
    if (*context == NULL) {
        *context = stand;
        stand->begun_n++;
        stand->method = method;
        stand->version = version;
        free(stand->again);
        stand->again =
            mhd_write_head_again(connection, method, url, version, &stand->is_plain, &again_n);
        return MHD_YES;
    }
    return MHD_queue_response(connection, 200, stand->response);
}

static void probe_on_completed(void *cls, struct MHD_Connection *connection, void **context,
                               enum MHD_RequestTerminationCode code)
{
    struct stand *stand = cls;

    (void)connection;
    (void)context;
    stand->answered_n += code == MHD_REQUEST_TERMINATED_COMPLETED_OK;
}

static void probe_on_connection(void *cls, struct MHD_Connection *connection, void **context,
                                enum MHD_ConnectionNotificationCode code)
{
    struct stand *stand = cls;

    *context = NULL;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        stand->starts = true;
        stand->connection = connection;
        gnutls_session_t session = mhd_session(connection);
        stand->has_session = session != NULL && gnutls_db_get_ptr(session) == NULL;
    } else {
        stand->connection = NULL;
    }
}

/* ---- driving one ---- */

static int open_stand(struct stand *stand, size_t pool_bytes, bool tls)
{
    struct mhd_daemon_conf conf = {.arg = stand,
                                   .request = probe_on_request,
                                   .completed = probe_on_completed,
                                   .connected = probe_on_connection,
                                   .connections_max = 2,
                                   .timeout_s = 10,
                                   .pool_bytes = pool_bytes,
                                   .tls = tls,
                                   .target = probe_on_target};
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fds[2];

    *stand = (struct stand){.peer = -1, .body = "ok"};
    stand->response = MHD_create_response_from_buffer(2, stand->body, MHD_RESPMEM_PERSISTENT);
    stand->daemon = mhd_start(&conf);
    if (stand->daemon == NULL ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        return -ENOMEM;
    stand->peer = fds[1];
    MHD_add_connection(stand->daemon, fds[0], (struct sockaddr *)(void *)&address, sizeof(address));
    return 0;
}

/* A large head is read in pieces, and its socket reports an edge for each. */
static void run_stand(struct stand *stand)
{
    for (int i = 0; i < RUNS_MAX; i++)
        MHD_run(stand->daemon);
}

static void send_text(struct stand *stand, const char *text, size_t n)
{
    if (send(stand->peer, text, n, MSG_NOSIGNAL) != (ssize_t)n)
        _exit(1);
}

/* What has come, as text; NULL when nothing has. */
static const char *read_answer(struct stand *stand, char *answer)
{
    ssize_t n = recv(stand->peer, answer, ANSWER_BYTES - 1, MSG_DONTWAIT);

    if (n <= 0)
        return NULL;
    answer[n] = '\0';
    return answer;
}

static const char *body_of(const char *answer)
{
    const char *end = answer != NULL ? strstr(answer, "\r\n\r\n") : NULL;

    return end != NULL ? end + 4 : "";
}

static void close_stand(struct stand *stand)
{
    if (stand->peer >= 0)
        close(stand->peer);
    if (stand->connection != NULL && mhd_is_suspended(stand->connection))
        mhd_resume(stand->connection);
    if (stand->daemon != NULL)
        MHD_stop_daemon(stand->daemon);
    if (stand->response != NULL)
        MHD_destroy_response(stand->response);
    free(stand->again);
}

/* ---- safety ---- */

static const char head[] = "GET /a HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n";
#define HEAD_N (sizeof(head) - 1)

static const char *try_start(void)
{
    struct stand stand;
    const char *why = NULL;

    if (open_stand(&stand, MHD_POOL_API_BYTES, false) != 0)
        why = "does not start a daemon in epoll mode";
    else if (!stand.starts)
        why = "reports a connection only after it was added, so it may be served without a record";
    close_stand(&stand);
    return why;
}

/* Between two requests: what comes stays in the kernel, and no timeout runs. */
static const char *check_idle(struct stand *stand)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms;
    int unread = 0;

    send_text(stand, head, HEAD_N);
    run_stand(stand);
    if (stand->answered_n != 1 || stand->connection == NULL)
        return "does not keep a connection after an answer";
    mhd_suspend(stand->connection);
    send_text(stand, head, HEAD_N);
    run_stand(stand);
    ioctl(mhd_descriptor(stand->connection), FIONREAD, &unread);
    if (stand->begun_n != 1 || unread != (int)HEAD_N)
        return "reads from a connection that is suspended between two requests";
    if (MHD_get_timeout(stand->daemon, &timeout_ms) == MHD_YES)
        return "has a timeout for a connection that is suspended between two requests";
    mhd_resume(stand->connection);
    run_stand(stand);
    if (stand->answered_n != 2 || stand->connection == NULL)
        return "does not resume a connection that was suspended between two requests";
    return NULL;
}

/* The other socket lives on, and nothing was said on it. */
static const char *check_take_back(struct stand *stand)
{
    char byte;
    int ended[2], taken;

    while (recv(stand->peer, &byte, 1, MSG_DONTWAIT) == 1)
        continue;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ended) != 0)
        return "cannot be tried: no descriptors";
    close(ended[1]);
    mhd_suspend(stand->connection);
    taken = mhd_take_descriptor(stand->connection, ended[0], INT_MAX);
    close(ended[0]);
    if (taken < 0)
        return "cannot be tried: no descriptors";
    mhd_resume(stand->connection);
    run_stand(stand);
    bool is_over = stand->connection == NULL;
    bool is_silent = recv(stand->peer, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
    bool lives = send(taken, "x", 1, MSG_NOSIGNAL) == 1 && recv(stand->peer, &byte, 1, 0) == 1;
    close(taken);
    return is_over && is_silent && lives ? NULL : "does not release a descriptor";
}

static const char *try_idle(void)
{
    struct stand stand;
    const char *why = "does not start a daemon in epoll mode";

    if (open_stand(&stand, MHD_POOL_API_BYTES, false) == 0 && stand.connection != NULL) {
        why = check_idle(&stand);
        if (why == NULL)
            why = check_take_back(&stand);
    }
    close_stand(&stand);
    return why;
}

/* Heads, and what a reader that joins nothing and passes over nothing makes of them.  NULL: it
 * refuses, or what it made of the head does not look plain. */
static const struct {
    const char *sent;
    size_t sent_n;
    const char *again;
} heads[] = {
#define SENT(text) text, sizeof(text) - 1
    {SENT("GET /a HTTP/1.1\r\nHost: a\r\nX: 1\r\nY:2\r\n\r\n"),
     "GET /a HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 2\r\n\r\n"},
    {SENT("GET /a HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t 2\r\n\r\n"),
     "GET /a HTTP/1.1\r\nHost: a\r\nX: \r\nY: 2\r\n\r\n"},
    {SENT("GET /a HTTP/1.1\r\nHost: a\r\nX: 1  \r\nY: 2 \r\n\r\n"),
     "GET /a HTTP/1.1\r\nHost: a\r\nX: 1  \r\nY: 2 \r\n\r\n"},
    {SENT("GET /a HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded: 2\r\n\r\n"), NULL},
    {SENT("GET /a HTTP/1.1\r\n folded: 2\r\nHost: a\r\n\r\n"), NULL},
    {SENT("GET /a HTTP/1.1\r\nHost: a\r\nX: 1\nY: 2\r\n\r\n"), NULL},
    {SENT("GET /a HTTP/1.1\nHost: a\r\nX: 1\r\n\r\n"), NULL},
    {SENT("GET /a HTTP/1.1\r\nHost: a\r\nX: 1\r\n\n"), NULL},
    {SENT("GET /a HTTP/1.1\r\nHost: a\r\nX: 1\0Y: 2\r\n\r\n"), NULL},
    {SENT("GET /a HTTP/1.1\r\nHost: a\r\nX: 1\0\0\r\n\r\n"), NULL},
    {SENT("GET /a HTTP/1.1\r\nHost: a\r\nX\0: 1\r\n\r\n"), NULL},
    {SENT("GET /a HTTP/1.1\r\nHost: a\r\nno colon\r\nX: 1\r\n\r\n"), NULL},
    {SENT("GET  /a HTTP/1.1\r\nHost: a\r\n\r\n"), NULL},
    {SENT("GET /a  HTTP/1.1\r\nHost: a\r\n\r\n"), NULL},
    {SENT("GET /a HTTP/1.1 \r\nHost: a\r\n\r\n"), NULL},
};

static bool sees_head(size_t i)
{
    struct stand stand;
    bool is_right = false;

    if (open_stand(&stand, MHD_POOL_API_BYTES, false) == 0) {
        send_text(&stand, heads[i].sent, heads[i].sent_n);
        run_stand(&stand);
        bool passes = stand.begun_n > 0 && stand.again != NULL && stand.is_plain;

        is_right =
            heads[i].again == NULL ? !passes : passes && strcmp(stand.again, heads[i].again) == 0;
        /* a name or value that is not what was sent is as good: the judge sees it */
        if (passes && heads[i].again == NULL)
            is_right = strlen(stand.again) == heads[i].sent_n &&
                       memcmp(stand.again, heads[i].sent, heads[i].sent_n) == 0;
    }
    close_stand(&stand);
    return is_right;
}

static const char *try_heads(void)
{
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        if (!sees_head(i))
            return i < 3 ? "does not keep heads where they can be read again"
                         : "treats two readings of a head as the same";
    return NULL;
}

/* A head of many short fields, which need most records. */
static size_t write_fields(char *text, size_t needs_max)
{
    size_t n = (size_t)sprintf(text, "GET /a HTTP/1.1\r\nHost: a\r\n");
    size_t records_n = 2;

    while (mhd_head_needs(n + 16, 0, records_n + 1) <= needs_max) {
        n += (size_t)sprintf(text + n, "X-%03zu: 12345\r\n", records_n % 1000);
        records_n++;
    }
    return n + (size_t)sprintf(text + n, "\r\n");
}

static size_t write_field(char *text, const char *name, size_t value_n)
{
    size_t n = (size_t)sprintf(text, "GET /a HTTP/1.1\r\nHost: a\r\n%s: a=", name);

    memset(text + n, 'x', value_n);
    n += value_n;
    return n + (size_t)sprintf(text + n, "\r\n\r\n");
}

static bool answers_head(const char *text, size_t n)
{
    char answer[ANSWER_BYTES];
    struct stand stand;
    bool answers = false;

    if (open_stand(&stand, MHD_POOL_LARGE_BYTES, false) == 0) {
        send_text(&stand, text, n);
        run_stand(&stand);
        answers = stand.begun_n == 1 && strcmp(body_of(read_answer(&stand, answer)), "ok") == 0;
    }
    close_stand(&stand);
    return answers;
}

/* The largest heads that the gate lets pass: of records, of bytes, of cookies. */
static const char *try_room(void)
{
    char *text = malloc(HEAD_BYTES_MAX);
    bool answers = text != NULL && answers_head(text, write_fields(text, MHD_NEEDS_LARGE_BYTES)) &&
                   answers_head(text, write_field(text, "X", MHD_HEAD_BYTES_MAX - 50)) &&
                   answers_head(text, write_field(text, "Cookie", MHD_NEEDS_LARGE_BYTES / 2 - 200));

    free(text);
    return answers ? NULL
                   : "has no room for an answer after the largest head that the gate accepts";
}

static const char *try_session(void)
{
    struct stand stand;
    const char *why = "gives no access to the TLS session when a connection begins";

    if (open_stand(&stand, MHD_POOL_LARGE_BYTES, true) == 0 && stand.has_session)
        why = NULL;
    close_stand(&stand);
    return why;
}

/* ---- speed and memory ---- */

static const char *try_buffer(void)
{
    char answer[ANSWER_BYTES];
    struct stand stand;
    const char *why = "copies the bytes of a response";

    if (open_stand(&stand, MHD_POOL_API_BYTES, false) == 0) {
        send_text(&stand, head, HEAD_N);
        run_stand(&stand);
        bool first = strcmp(body_of(read_answer(&stand, answer)), "ok") == 0;
        memcpy(stand.body, "ko", 2);
        send_text(&stand, head, HEAD_N);
        run_stand(&stand);
        if (first && strcmp(body_of(read_answer(&stand, answer)), "ko") == 0)
            why = NULL;
    }
    close_stand(&stand);
    return why;
}

/* A stream: a chunk, a rest, a chunk that was sent past the library, another, the end. */
static ssize_t read_stream(void *cls, uint64_t at, char *room, size_t room_n)
{
    struct stand *stand = cls;

    (void)at;
    stand->room_moves |= stand->reads_n > 0 && (room != stand->room || room_n != stand->room_n);
    stand->room = room;
    stand->room_n = room_n;
    switch (stand->reads_n++) {
    case 0:
        memcpy(room, "one", 3);
        return 3;
    case 1:
        MHD_suspend_connection(stand->connection);
        return 0;
    case 2:
        memcpy(room, "end", 3);
        return 3;
    default:
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
}

/* The head of the longest that goes into a small pool, or a short one for a large pool. */
static const char *begin_stream(struct stand *stand, size_t pool_bytes)
{
    char *text = malloc(HEAD_BYTES_MAX);
    size_t n;

    if (text == NULL || open_stand(stand, pool_bytes, false) != 0) {
        free(text);
        return "does not start a daemon in epoll mode";
    }
    n = write_fields(text, MHD_NEEDS_SMALL_BYTES);
    MHD_destroy_response(stand->response);
    stand->response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 1, read_stream, stand, NULL);
    send_text(stand, text, n);
    run_stand(stand);
    free(text);
    return stand->reads_n == 2 && stand->connection != NULL ? NULL : "reads streams otherwise";
}

static const char *end_stream(struct stand *stand, const char *why)
{
    char answer[ANSWER_BYTES];

    if (why == NULL) {
        mhd_resume(stand->connection);
        run_stand(stand);
        if (strcmp(body_of(read_answer(stand, answer)),
                   "3\r\none\r\n3\r\nraw\r\n3\r\nend\r\n0\r\n\r\n") != 0)
            why = "sends wrong bytes after data that the gateway wrote to the socket";
        else if (stand->room_moves)
            why = "writes chunks to changing addresses";
    }
    close_stand(stand);
    return why;
}

static const char *answer_by_hand(struct stand *stand)
{
    static const char raw[] = "HTTP/1.1 200 OK\r\n\r\nraw";
    char answer[ANSWER_BYTES];

    stand->holds = true;
    send_text(stand, head, HEAD_N);
    run_stand(stand);
    if (stand->held_n != 1 || stand->let_go_n != 0 || stand->connection == NULL)
        return "does not hold a request that its handler suspends";
    if (send(mhd_descriptor(stand->connection), raw, sizeof(raw) - 1, MSG_NOSIGNAL) < 0)
        return "cannot be sent past";
    mhd_resume(stand->connection);
    run_stand(stand);
    if (stand->let_go_n != 1 || stand->connection != NULL)
        return "does not let go of a request that its handler suspended";
    if (strcmp(body_of(read_answer(stand, answer)), "raw") != 0 ||
        recv(stand->peer, answer, 1, MSG_DONTWAIT) != 0)
        return "sends wrong bytes after an answer that the gateway wrote to the socket";
    return NULL;
}

/* A request without a response. */
static const char *try_answer(void)
{
    struct stand stand;
    const char *why = "does not start a daemon in epoll mode";

    if (open_stand(&stand, MHD_POOL_STREAM_BYTES, false) == 0 && stand.connection != NULL)
        why = answer_by_hand(&stand);
    close_stand(&stand);
    return why;
}

static const char *try_past(void)
{
    static const char raw[] = "3\r\nraw\r\n";
    struct stand stand = {.peer = -1};
    const char *why = begin_stream(&stand, MHD_POOL_STREAM_BYTES);

    if (why == NULL && stand.room_n < CHUNK_ROOM_BYTES)
        why = "leaves less room for chunks";
    if (why == NULL) {
        memset(stand.room, 'r', stand.room_n); /* as the rest of a chunk would stand there */
        if (send(mhd_descriptor(stand.connection), raw, sizeof(raw) - 1, MSG_NOSIGNAL) < 0)
            why = "cannot be sent past";
    }
    why = end_stream(&stand, why);
    return why != NULL ? why : try_answer();
}

/* Whether the pool is where we expect it, and the library does not read it any more. */
static const char *try_pool(void)
{
    static const char raw[] = "3\r\nraw\r\n";
    struct stand stand = {.peer = -1};
    const char *why = begin_stream(&stand, MHD_POOL_LARGE_BYTES);

    if (why == NULL) {
        char *pool = mhd_pool_of(stand.method);
        uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
        uintptr_t from = ((uintptr_t)pool + page - 1) & ~(page - 1);
        uintptr_t to = ((uintptr_t)pool + MHD_POOL_LARGE_BYTES) & ~(page - 1);

        if (malloc_usable_size(pool) < MHD_POOL_LARGE_BYTES || stand.room < pool ||
            stand.room + stand.room_n > pool + MHD_POOL_LARGE_BYTES)
            why = "keeps pools elsewhere";
        else if (to > from && madvise((void *)from, to - from, MADV_DONTNEED) != 0)
            why = "keeps pools where pages cannot be given back";
        else if (send(mhd_descriptor(stand.connection), raw, sizeof(raw) - 1, MSG_NOSIGNAL) < 0)
            why = "cannot be sent past";
    }
    return end_stream(&stand, why);
}

/* ---- all of it ---- */

enum attempt { START, IDLE, HEADS, ROOM, SESSION, NEEDED, PAST = NEEDED, BUFFER, POOL, ATTEMPTS };

/* For the parent: what has failed, or where it is if it dies. */
struct findings {
    enum attempt under_way;
    bool is_done;
    char why[ATTEMPTS][120]; /* "": it is as we need it */
};

static const struct {
    const char *(*try)(void);
    const char *of;      /* what is tried */
    const char *without; /* what is missing if it fails; NULL: the gateway does not start */
} attempts[ATTEMPTS] = {
    [START] = {try_start, "new connections", NULL},
    [IDLE] = {try_idle, "kept connections", NULL},
    [HEADS] = {try_heads, "heads", NULL},
    [ROOM] = {try_room, "large heads", NULL},
    [SESSION] = {try_session, "TLS", NULL},
    [PAST] = {try_past, "chunks", "streams do not send by themselves"},
    [BUFFER] = {try_buffer, "responses", "each answer is built from scratch"},
    [POOL] = {try_pool, "pools", "idle streams with large heads keep their memory"},
};

/* From this attempt on.  The findings are shared with the parent. */
static void make_attempts(struct findings *findings, enum attempt from, bool with_tls)
{
    for (enum attempt attempt = from; attempt < ATTEMPTS; attempt++) {
        findings->under_way = attempt;
        const char *why = attempt != SESSION || with_tls ? attempts[attempt].try() : NULL;
        snprintf(findings->why[attempt], sizeof(findings->why[attempt]), "%s", why ? why : "");
    }
    findings->is_done = true;
}

/* Returns whether it ended by itself. */
static bool await_child(pid_t child)
{
    for (int waited_ms = 0; waited_ms < CHILD_MS; waited_ms++) {
        if (waitpid(child, NULL, WNOHANG) == child)
            return true;
        poll(NULL, 0, 1);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return false;
}

/* What makes the child die has failed; unless it was needed, the rest is tried by another one. */
static void note_death(struct findings *findings, bool ended)
{
    enum attempt attempt = findings->under_way;

    snprintf(findings->why[attempt], sizeof(findings->why[attempt]), "%s when %s are tried",
             ended ? "crashes" : "does not come back", attempts[attempt].of);
    findings->under_way++;
    findings->is_done = attempt < NEEDED || findings->under_way == ATTEMPTS;
}

static int try_all(struct findings *findings, bool with_tls)
{
    while (!findings->is_done) {
        enum attempt from = findings->under_way;
        pid_t child = fork();

        if (child < 0)
            return -errno;
        if (child == 0) {
            make_attempts(findings, from, with_tls);
            _exit(0);
        }
        bool ended = await_child(child);
        if (!findings->is_done)
            note_death(findings, ended);
    }
    return 0;
}

static void tell_without(const struct findings *findings, struct mhd_quirks *ret)
{
    size_t n = 0;

    for (enum attempt attempt = NEEDED; attempt < ATTEMPTS; attempt++)
        if (findings->why[attempt][0] != '\0' && n < sizeof(ret->without))
            n += (size_t)snprintf(ret->without + n, sizeof(ret->without) - n, "%s%s (it %s)",
                                  n > 0 ? "; " : "", attempts[attempt].without,
                                  findings->why[attempt]);
}

static int judge_findings(const struct findings *findings, struct mhd_quirks *ret, char *why,
                          size_t why_n)
{
    for (enum attempt attempt = 0; attempt < NEEDED; attempt++)
        if (findings->why[attempt][0] != '\0') {
            snprintf(why, why_n, "libmicrohttpd %s %s; use a tested version: 0.9.75 or 1.0.1",
                     ret->version, findings->why[attempt]);
            return -ENOTSUP;
        }
    ret->sends_past = findings->why[PAST][0] == '\0';
    ret->reuses_buffers = findings->why[BUFFER][0] == '\0';
    ret->knows_pools = findings->why[POOL][0] == '\0';
    tell_without(findings, ret);
    return 0;
}

int mhd_probe(bool with_tls, struct mhd_quirks *ret, char *why, size_t why_n)
{
    struct findings *findings =
        mmap(NULL, sizeof(*findings), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int result = -ENOMEM;

    *ret = (struct mhd_quirks){.sends_past = false};
    snprintf(ret->version, sizeof(ret->version), "%s", MHD_get_version());
    if (findings != MAP_FAILED) {
        result = try_all(findings, with_tls);
        if (result == 0)
            result = judge_findings(findings, ret, why, why_n);
        munmap(findings, sizeof(*findings));
    }
    if (result != 0 && result != -ENOTSUP)
        snprintf(why, why_n, "libmicrohttpd cannot be tried: %s", strerror(-result));
    return result;
}
