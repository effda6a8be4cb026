/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for whole requests: a gateway runs in this process, and each input is what one
 * connection sends.  Two promises are watched: nothing a peer sends ends the process, and a request
 * that is all there has a whole answer within a bound.
 *
 * Bytes of the input choose; see take().  The first tells the kind of connection, and the variable
 * BUGLE_FUZZ ("plain", "tls" or "kept") replaces that choice.
 *
 *   kind of the connection  inside TLS, two requests, both at once, raw bytes, size of the writes
 *   for each request        method, path, version, Expect, Connection, other headers, framing, size
 *                           of the body, what stands behind it
 *   the rest                the body, or all that is sent
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "conf/conf.h"
#include "server/server.h"

#define BOUND_SECONDS 8
#define TEXT_MAX 8192
#define ANSWER_MAX (256 * 1024)
#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* After each input the fuzzer looks for what nobody points at, while the gateway's threads go on
 * and move pointers. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

/* ---- the gateway ---- */

static char folder[64];
static uint16_t tls_port;
static gnutls_certificate_credentials_t credentials;

__attribute__((noreturn)) static void fail(const char *what)
{
    fprintf(stderr, "fuzz_request: %s\n", what);
    abort();
}

static void in_folder(char path[static 128], const char *name)
{
    snprintf(path, 128, "%s/%s", folder, name);
}

static void remove_folder(void)
{
    static const char *const names[] = {"a.pem", "a.key", "socket"};
    char path[128];

    for (size_t i = 0; i < ROWS(names); i++) {
        in_folder(path, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

static void write_file(const char *name, const gnutls_datum_t *text)
{
    char path[128];

    in_folder(path, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text->data, text->size) != (ssize_t)text->size || close(fd) != 0)
        fail("cannot write a certificate");
}

static void write_certificate(void)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
    gnutls_datum_t text;

    gnutls_x509_privkey_init(&key);
    gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                 GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, 0, &text);
    write_file("a.key", &text);
    gnutls_free(text.data);
    gnutls_x509_crt_init(&crt);
    gnutls_x509_crt_set_version(crt, 3);
    gnutls_x509_crt_set_serial(crt, "1", 1);
    gnutls_x509_crt_set_dn(crt, "CN=localhost", NULL);
    gnutls_x509_crt_set_activation_time(crt, time(NULL) - 60);
    gnutls_x509_crt_set_expiration_time(crt, time(NULL) + 86400);
    gnutls_x509_crt_set_key(crt, key);
    if (gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0) != 0)
        fail("cannot sign");
    gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &text);
    write_file("a.pem", &text);
    gnutls_free(text.data);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
}

static uint16_t free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t at_n = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &at_n) != 0)
        fail("no port");
    close(fd);
    return ntohs(at.sin_port);
}

static void set(struct conf *conf, const char *name, const char *before, const char *after)
{
    struct conf_error error;
    char text[256];

    snprintf(text, sizeof(text), "%s=%s%s", name, before, after);
    if (conf_set(conf, text, &error) != 0)
        fail(error.text);
}

static struct conf *settings(void)
{
    struct conf *conf = conf_new();
    struct conf_error error;
    char port[16], socket[128];

    in_folder(socket, "socket");
    snprintf(port, sizeof(port), "%u", tls_port);
    conf_begin_source(conf);
    set(conf, "server.listen", "unix:", socket);
    set(conf, "tls.listen", "127.0.0.1:", port);
    set(conf, "tls.certificate", folder, "/a.pem");
    set(conf, "tls.key", folder, "/a.key");
    set(conf, "server.workers", "1", "");
    set(conf, "history.store", "memory:", "");
    set(conf, "history.max_events", "1000", "");
    set(conf, "auth.origins", "https://page.example", "");
    set(conf, "limits.body_bytes", "4K", "");
    set(conf, "log.level", "error", "");
    if (conf_check(conf, &error) != 0)
        fail(error.text);
    return conf;
}

static void *serve(void *arg)
{
    static const struct server_source source = {.load = NULL};

    server_run(arg, &source);
    fail("the gateway has ended");
}

static bool try_connect(int fd, const struct sockaddr *at, socklen_t at_n)
{
    for (int i = 0; i < 2000; i++) {
        if (connect(fd, at, at_n) == 0)
            return true;
        usleep(5000);
    }
    return false;
}

static int connect_plain(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(at.sun_path, sizeof(at.sun_path), "%s/socket", folder);
    if (!try_connect(fd, (struct sockaddr *)&at, sizeof(at)))
        fail("cannot connect");
    return fd;
}

/* Closed with a reset, or the kernel would run out of ports. */
static int connect_tls(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(tls_port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger linger = {.l_onoff = 1};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (!try_connect(fd, (struct sockaddr *)&at, sizeof(at)))
        fail("cannot connect");
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    return fd;
}

static void start(void)
{
    pthread_t thread;

    if (folder[0] != '\0')
        return;
    strcpy(folder, "/tmp/bugle-fuzz-XXXXXX");
    if (mkdtemp(folder) == NULL)
        fail("no folder");
    atexit(remove_folder);
    write_certificate();
    gnutls_certificate_allocate_credentials(&credentials);
    tls_port = free_port();
    if (pthread_create(&thread, NULL, serve, settings()) != 0)
        fail("no thread");
    close(connect_plain());
    close(connect_tls());
}

/* ---- what is sent ---- */

struct input {
    const uint8_t *at;
    const uint8_t *end;
};

static unsigned take(struct input *input, unsigned choices)
{
    return input->at < input->end ? *input->at++ % choices : 0;
}

struct text {
    char bytes[TEXT_MAX + 1];
    size_t n;
};

static void add(struct text *text, const void *bytes, size_t n)
{
    if (n > TEXT_MAX - text->n)
        n = TEXT_MAX - text->n;
    memcpy(text->bytes + text->n, bytes, n);
    text->n += n;
    text->bytes[text->n] = '\0';
}

static void add_text(struct text *text, const char *words)
{
    add(text, words, strlen(words));
}

static const char *const methods[] = {"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT"};
static const char *const paths[] = {"/readyz",
                                    "/healthz",
                                    "/events",
                                    "/events?topic=a",
                                    "/api/push?topic=a",
                                    "/api/push",
                                    "/api/history",
                                    "/api/history?topic=a&limit=3",
                                    "/api/stats",
                                    "/api/streams",
                                    "/api/streams?topic=a",
                                    "/api/streams/7",
                                    "/api/evictions",
                                    "/api/backup",
                                    "/api/tickets",
                                    "/",
                                    "/nothing",
                                    "*",
                                    "http://a/readyz"};
static const char *const expects[] = {"",
                                      "",
                                      "Expect: 100-continue\r\n",
                                      "Expect: 100-Continue\r\n",
                                      "Expect: 100-continue \r\n",
                                      "Expect: x\r\n"};
static const char *const connections[] = {"", "", "Connection: keep-alive\r\n",
                                          "Connection: close\r\n", "Connection: close \t\r\n"};
static const char *const others[] = {"",
                                     "",
                                     "Content-Type: application/json\r\n",
                                     "Content-Type: text/plain \r\n",
                                     "Content-Type: application/x-www-form-urlencoded\r\n",
                                     "Origin: https://page.example\r\n",
                                     "Origin: https://page.example \r\n",
                                     "Origin: https://other.example\r\n",
                                     "Authorization: Bearer x \r\n",
                                     "Last-Event-ID: x-1 \r\n",
                                     "Idempotency-Key: k\t\r\n",
                                     "Cookie: a=b \r\n",
                                     "Accept: text/event-stream\r\n",
                                     "Content-Encoding: gzip\r\n",
                                     "X-Forwarded-For: 10.0.0.1 \r\n"};
static const struct {
    const char *bytes;
    size_t n;
} behind[] = {{"", 0},   {"", 0},    {"", 0}, {"z", 1},        {"\r\n", 2},
              {"\r", 1}, {"GET", 3}, {"", 1}, {"0\r\n\r\n", 5}};
static const char bodies[] = "{\"topic\":\"a\",\"data\":\"x\"}";

enum framing {
    NONE,
    ZERO,
    ZEROS,
    RIGHT,
    LESS, /* comes than is announced */
    BEYOND,
    CHUNKED,
    TRAILERS,
    BROKEN,
    UNENDED,
    BOTH,
    BLANK_LENGTH,
    BLANK_CODING,
    FRAMINGS
};

static void add_chunks(struct text *text, struct input *input, const char *body, size_t body_n)
{
    size_t piece_n = 1 + take(input, 64);
    char line[32];

    for (size_t at = 0; at < body_n; at += piece_n) {
        size_t n = body_n - at < piece_n ? body_n - at : piece_n;

        snprintf(line, sizeof(line), "%zx\r\n", n);
        add_text(text, line);
        add(text, body + at, n);
        add_text(text, "\r\n");
    }
}

/* Returns whether it is all there, or wrong in any case. */
static bool add_framed(struct text *text, struct input *input, const char *body, size_t body_n)
{
    enum framing framing = (enum framing)take(input, FRAMINGS);
    static const char *const ends[FRAMINGS] = {
        [CHUNKED] = "0\r\n\r\n", [TRAILERS] = "0;x=y\r\nA: b\r\nC: d \r\n\r\n",
        [BROKEN] = "g\r\nx\r\n", [UNENDED] = "0\r\n",
        [BOTH] = "0\r\n\r\n",    [BLANK_CODING] = "0\r\n\r\n"};
    static const size_t more[FRAMINGS] = {[LESS] = 3, [BEYOND] = 10000000};
    char line[64];

    if (framing == ZERO || framing == ZEROS)
        add_text(text, framing == ZERO ? "Content-Length: 0\r\n" : "Content-Length: 00\r\n");
    snprintf(line, sizeof(line), "Content-Length: %zu%s\r\n", body_n + more[framing],
             framing == BLANK_LENGTH ? " \t" : "");
    if ((framing >= RIGHT && framing <= BEYOND) || framing >= BOTH)
        if (framing != BLANK_CODING)
            add_text(text, line);
    if (ends[framing] != NULL)
        add_text(text, framing == BLANK_CODING ? "Transfer-Encoding: chunked \r\n"
                                               : "Transfer-Encoding: chunked\r\n");
    add_text(text, "\r\n");
    if (ends[framing] != NULL) {
        add_chunks(text, input, body, body_n);
        add_text(text, ends[framing]);
    } else if (framing > ZEROS) {
        add(text, body, body_n);
    }
    return framing != LESS && framing != UNENDED;
}

/* What is known of the answer. */
struct wanted {
    bool is_head;
    bool is_whole; /* it can be answered without more of it */
    bool is_plain; /* nothing stands behind it */
};

static struct wanted add_request(struct text *text, struct input *input)
{
    unsigned method = take(input, ROWS(methods));

    add_text(text, methods[method]);
    add_text(text, " ");
    add_text(text, paths[take(input, ROWS(paths))]);
    add_text(text, take(input, 8) == 7 ? " HTTP/1.0\r\nHost: a\r\n" : " HTTP/1.1\r\nHost: a\r\n");
    add_text(text, expects[take(input, ROWS(expects))]);
    add_text(text, connections[take(input, ROWS(connections))]);
    add_text(text, others[take(input, ROWS(others))]);
    add_text(text, others[take(input, ROWS(others))]);
    unsigned form = take(input, 4);
    size_t left_n = (size_t)(input->end - input->at);
    char body[512];
    size_t body_n = form == 0 ? sizeof(bodies) - 1 : left_n < sizeof(body) ? left_n : sizeof(body);

    memcpy(body, form == 0 ? (const void *)bodies : input->at, body_n);
    bool is_whole = add_framed(text, input, body, form == 1 ? 0 : body_n);
    unsigned tail = take(input, ROWS(behind));
    add(text, behind[tail].bytes, behind[tail].n);
    return (struct wanted){
        .is_head = method == 1, .is_whole = is_whole, .is_plain = behind[tail].n == 0};
}

/* ---- the connection ---- */

struct wire {
    int fd;
    gnutls_session_t session; /* NULL: none */
    bool ended;
    size_t came_n;
    char came[ANSWER_MAX + 1];
};

static void open_session(struct wire *wire)
{
    gnutls_init(&wire->session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL);
    gnutls_set_default_priority(wire->session);
    gnutls_credentials_set(wire->session, GNUTLS_CRD_CERTIFICATE, credentials);
    gnutls_transport_set_int(wire->session, wire->fd);
    int result;
    do
        result = gnutls_handshake(wire->session);
    while (result == GNUTLS_E_INTERRUPTED || (result < 0 && !gnutls_error_is_fatal(result)));
    if (result != 0)
        fail(gnutls_strerror(result));
}

static struct wire *open_wire(bool tls)
{
    struct wire *wire = malloc(sizeof(*wire));
    struct timeval bound = {.tv_sec = BOUND_SECONDS};
    int on = 1;

    if (wire == NULL)
        fail("no memory");
    *wire = (struct wire){.fd = tls ? connect_tls() : connect_plain()};
    setsockopt(wire->fd, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof(bound));
    setsockopt(wire->fd, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof(bound));
    setsockopt(wire->fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof(on));
    if (tls)
        open_session(wire);
    return wire;
}

static void close_wire(struct wire *wire)
{
    close(wire->fd);
    if (wire->session != NULL)
        gnutls_deinit(wire->session);
    free(wire);
}

/* The fuzzer's alarm interrupts calls of a socket that has a time limit. */
static bool write_some(struct wire *wire, const char *bytes, size_t n)
{
    ssize_t sent;

    do
        sent = wire->session != NULL ? gnutls_record_send(wire->session, bytes, n)
                                     : send(wire->fd, bytes, n, MSG_NOSIGNAL);
    while (wire->session != NULL ? sent == GNUTLS_E_INTERRUPTED : sent < 0 && errno == EINTR);
    return sent == (ssize_t)n;
}

/* Whoever has answered may have closed. */
static void write_all(struct wire *wire, const struct text *text, size_t piece_n)
{
    for (size_t at = 0; at < text->n; at += piece_n) {
        size_t n = text->n - at < piece_n ? text->n - at : piece_n;

        if (!write_some(wire, text->bytes + at, n))
            return;
        if (piece_n < text->n)
            usleep(1);
    }
}

/* The first error of a socket whose peer closed with bytes unread may come before the bytes. */
static ssize_t read_some(struct wire *wire, char *to, size_t n)
{
    if (wire->session == NULL) {
        ssize_t got;

        do
            got = recv(wire->fd, to, n, 0);
        while (got < 0 && errno == EINTR);
        return got < 0 && errno == ECONNRESET ? recv(wire->fd, to, n, 0) : got;
    }
    for (;;) {
        ssize_t got = gnutls_record_recv(wire->session, to, n);

        if (got >= 0 || gnutls_error_is_fatal((int)got))
            return got;
        if (got == GNUTLS_E_AGAIN && errno == EAGAIN)
            fail("no answer within the bound");
    }
}

/* Returns whether more came. */
static bool read_more(struct wire *wire)
{
    if (wire->ended || wire->came_n == ANSWER_MAX)
        return false;
    ssize_t n = read_some(wire, wire->came + wire->came_n, ANSWER_MAX - wire->came_n);
    if (n < 0 && wire->session == NULL && (errno == EAGAIN || errno == EWOULDBLOCK))
        fail("no answer within the bound");
    if (n <= 0) {
        wire->ended = true;
        return false;
    }
    wire->came_n += (size_t)n;
    wire->came[wire->came_n] = '\0';
    return true;
}

static void drop(struct wire *wire, size_t n)
{
    wire->came_n -= n;
    memmove(wire->came, wire->came + n, wire->came_n + 1);
}

struct cached_response {
    bool ends; /* the connection, or goes on for ever */
};

/* Returns false when the connection ended without a byte of one. */
static bool read_head(struct wire *wire, char head[static 4096])
{
    const char *end;

    while ((end = strstr(wire->came, "\r\n\r\n")) == NULL)
        if (!read_more(wire)) {
            if (wire->came_n > 0)
                fail("an answer is cut in its head");
            return false;
        }
    size_t head_n = (size_t)(end + 4 - wire->came);
    if (head_n >= 4096 || strncmp(wire->came, "HTTP/1.", 7) != 0)
        fail("no answer of HTTP");
    memcpy(head, wire->came, head_n);
    head[head_n] = '\0';
    drop(wire, head_n);
    return true;
}

static bool read_answer(struct wire *wire, bool is_head, struct cached_response *ret_answer)
{
    char head[4096];

    do
        if (!read_head(wire, head))
            return false;
    while (strncmp(head + 8, " 100 ", 5) == 0);
    const char *length = strcasestr(head, "\r\nContent-Length: ");
    ret_answer->ends = strcasestr(head, "\r\nConnection: close") != NULL || length == NULL;
    if (is_head || length == NULL)
        return true;
    size_t body_n = strtoul(length + 18, NULL, 10);
    while (wire->came_n < body_n)
        if (!read_more(wire))
            fail("an answer is cut in its body");
    drop(wire, body_n);
    return true;
}

/* ---- cases ---- */

/* What comes when nothing more is sent: it must be whole.  `is_head` is of the next answer, and
 * `then` of all that follow. */
static void read_rest(struct wire *wire, bool is_head, bool then)
{
    struct cached_response answer;

    shutdown(wire->fd, SHUT_WR);
    while (read_answer(wire, is_head, &answer) && !answer.ends)
        is_head = then;
}

static void read_to_end(struct wire *wire)
{
    shutdown(wire->fd, SHUT_WR);
    while (read_more(wire) && strstr(wire->came, "text/event-stream") == NULL)
        wire->came_n = wire->came_n > 4096 ? 0 : wire->came_n;
}

/* Returns whether the connection is there for another request. */
static bool ask(struct wire *wire, struct input *input, size_t piece_n, bool *ret_is_plain)
{
    struct text text = {.n = 0};
    struct wanted wanted = add_request(&text, input);
    struct cached_response answer;

    write_all(wire, &text, piece_n);
    *ret_is_plain = wanted.is_plain;
    if (!wanted.is_whole) {
        read_rest(wire, wanted.is_head, false);
        return false;
    }
    if (!read_answer(wire, wanted.is_head, &answer))
        fail("a request was not answered");
    return !answer.ends;
}

/* The second may be answered as the rest of the first, when something stood behind that. */
static void ask_twice(struct wire *wire, struct input *input, size_t piece_n)
{
    bool is_plain;

    if (!ask(wire, input, piece_n, &is_plain))
        return;
    if (is_plain) {
        ask(wire, input, piece_n, &is_plain);
        return;
    }
    struct text text = {.n = 0};
    add_request(&text, input);
    write_all(wire, &text, piece_n);
    read_to_end(wire);
}

/* What the answers belong to is anybody's guess. */
static void send_raw(struct wire *wire, const struct input *input, size_t piece_n)
{
    struct text text = {.n = 0};

    add(&text, input->at, (size_t)(input->end - input->at));
    write_all(wire, &text, piece_n);
    read_to_end(wire);
}

static void ask_at_once(struct wire *wire, struct input *input, size_t piece_n)
{
    struct text text = {.n = 0};
    struct wanted first = add_request(&text, input);
    struct wanted second = add_request(&text, input);

    write_all(wire, &text, piece_n);
    if (first.is_plain && first.is_whole)
        read_rest(wire, first.is_head, second.is_head);
    else
        read_to_end(wire);
}

enum { TLS = 1, TWICE = 2, AT_ONCE = 4, RAW = 8, KINDS = 16 };

static unsigned kind_of(struct input *input)
{
    const char *only = getenv("BUGLE_FUZZ");
    unsigned kind = take(input, KINDS);

    if (only == NULL)
        return kind;
    if (strcmp(only, "tls") == 0)
        return kind | TLS;
    if (strcmp(only, "kept") == 0)
        return (kind & TLS) | TWICE;
    return kind & ~(unsigned)(TLS | TWICE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t pieces[] = {TEXT_MAX, TEXT_MAX, TEXT_MAX, 1, 7, 40, 100, 300};
    struct input input = {data, data + size};
    unsigned kind = kind_of(&input);
    size_t piece_n = pieces[take(&input, ROWS(pieces))];

    start();
    struct wire *wire = open_wire(kind & TLS);
    bool is_plain;

    if (kind & RAW) {
        send_raw(wire, &input, piece_n);
    } else if (kind & AT_ONCE) {
        ask_at_once(wire, &input, piece_n);
    } else if (kind & TWICE) {
        ask_twice(wire, &input, piece_n);
    } else {
        ask(wire, &input, piece_n, &is_plain);
    }
    close_wire(wire);
    return 0;
}
