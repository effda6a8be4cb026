/* SPDX-License-Identifier: MIT */
/* A stand-in for libmicrohttpd.  See fake_mhd.h. */
#include "config.h"
#include "fake_mhd_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ROOM_BYTES 1500 /* for a chunk, as in the pool of a small cell */
#define READS_A_RUN 64  /* of an answer that is read and read */

TAILQ_HEAD(connections, MHD_Connection);

struct MHD_Response {
    unsigned refs;
    struct fake_mhd_pairs headers;
    uint64_t size; /* MHD_SIZE_UNKNOWN: read until its end */
    char *bytes;   /* NULL: `read` makes them */
    bool is_own;
    int fd; /* -1: none */
    size_t block_bytes;
    MHD_ContentReaderCallback read;
    MHD_ContentReaderFreeCallback free_read;
    void *read_arg;
};

struct MHD_Daemon {
    MHD_AccessHandlerCallback handler;
    MHD_RequestCompletedCallback completed;
    MHD_NotifyConnectionCallback connected;
    void *handler_arg, *completed_arg, *connected_arg;
    union MHD_DaemonInfo info;
    unsigned connections_n, connections_max;
    int epoll_fd;
    int poke_fd; /* in its set: a test has filled something */
    bool runs;
    struct connections connections;
};

struct fake_mhd_faults fake_mhd_faults;
size_t fake_mhd_responses_made, fake_mhd_responses_alive;

/* Made by tests and not added yet. */
static struct connections announced = TAILQ_HEAD_INITIALIZER(announced);

static bool fails(unsigned *left)
{
    if (*left == 0)
        return false;
    (*left)--;
    return true;
}

/* ---- responses ---- */

static struct MHD_Response *new_response(uint64_t size)
{
    if (fails(&fake_mhd_faults.responses))
        return NULL;
    struct MHD_Response *response = fake_mhd_must(calloc(1, sizeof(*response)));

    response->refs = 1;
    response->size = size;
    response->fd = -1;
    fake_mhd_responses_made++;
    fake_mhd_responses_alive++;
    return response;
}

struct MHD_Response *MHD_create_response_from_buffer(size_t size, void *buffer,
                                                     enum MHD_ResponseMemoryMode mode)
{
    struct MHD_Response *response = new_response(size);

    if (response == NULL)
        return NULL;
    response->bytes = buffer;
    response->is_own = mode != MHD_RESPMEM_PERSISTENT;
    if (mode == MHD_RESPMEM_MUST_COPY) {
        response->bytes = fake_mhd_must(malloc(size + 1));
        memcpy(response->bytes, buffer, size);
    }
    return response;
}

struct MHD_Response *MHD_create_response_from_callback(uint64_t size, size_t block_size,
                                                       MHD_ContentReaderCallback crc, void *crc_cls,
                                                       MHD_ContentReaderFreeCallback crfc)
{
    struct MHD_Response *response = new_response(size);

    if (response == NULL)
        return NULL;
    response->block_bytes = block_size;
    response->read = crc;
    response->read_arg = crc_cls;
    response->free_read = crfc;
    return response;
}

static ssize_t read_file(void *cls, uint64_t offset, char *to, size_t to_n)
{
    const struct MHD_Response *response = cls;

    return pread(response->fd, to, to_n, (off_t)offset);
}

struct MHD_Response *MHD_create_response_from_fd64(uint64_t size, int fd)
{
    struct MHD_Response *response = new_response(size);

    if (response == NULL)
        return NULL;
    response->fd = fd;
    response->block_bytes = ROOM_BYTES;
    response->read = read_file;
    response->read_arg = response;
    return response;
}

void MHD_destroy_response(struct MHD_Response *response)
{
    if (response == NULL)
        return;
    assert(response->refs > 0);
    if (--response->refs > 0)
        return;
    if (response->is_own)
        free(response->bytes);
    if (response->fd >= 0)
        close(response->fd);
    if (response->free_read != NULL)
        response->free_read(response->read_arg);
    fake_mhd_free_pairs(&response->headers);
    free(response);
    fake_mhd_responses_alive--;
}

enum MHD_Result MHD_add_response_header(struct MHD_Response *response, const char *header,
                                        const char *content)
{
    assert(header[0] != '\0' && content[0] != '\0');
    assert(strpbrk(header, "\r\n\t ") == NULL && strpbrk(content, "\r\n") == NULL);
    fake_mhd_add_pair(&response->headers, header, strlen(header), content, strlen(content));
    return MHD_YES;
}

enum MHD_Result MHD_del_response_header(struct MHD_Response *response, const char *header,
                                        const char *content)
{
    struct fake_mhd_pairs *headers = &response->headers;

    for (size_t i = 0; i < headers->n; i++) {
        struct fake_mhd_pair *pair = &headers->list[i];

        if (strcasecmp(pair->name, header) != 0 || strcmp(pair->value, content) != 0)
            continue;
        fake_mhd_free_pair(pair);
        memmove(pair, pair + 1, (headers->n - i - 1) * sizeof(*pair));
        headers->n--;
        return MHD_YES;
    }
    return MHD_NO;
}

int MHD_get_response_headers(struct MHD_Response *response, MHD_KeyValueIterator iterator,
                             void *iterator_cls)
{
    const struct fake_mhd_pairs *headers = &response->headers;

    for (size_t i = 0; i < headers->n; i++)
        if (iterator != NULL && iterator(iterator_cls, MHD_HEADER_KIND, headers->list[i].name,
                                         headers->list[i].value) != MHD_YES)
            break;
    return (int)headers->n;
}

const char *MHD_get_response_header(struct MHD_Response *response, const char *key)
{
    const struct fake_mhd_pair *pair = fake_mhd_find_pair(&response->headers, key, strlen(key));

    return pair != NULL ? pair->value : NULL;
}

enum MHD_Result MHD_queue_response(struct MHD_Connection *connection, unsigned status_code,
                                   struct MHD_Response *response)
{
    assert(connection->daemon != NULL && connection->daemon->runs);
    if (response == NULL || fails(&fake_mhd_faults.queues) || connection->response != NULL ||
        (!connection->is_first_call && connection->state != FAKE_MHD_LAST))
        return MHD_NO;
    response->refs++;
    connection->response = response;
    connection->status = status_code;
    for (size_t i = 0; i < response->headers.n; i++) {
        const struct fake_mhd_pair *pair = &response->headers.list[i];

        fake_mhd_add_pair(&connection->answer_headers, pair->name, pair->name_n, pair->value,
                          pair->value_n);
    }
    return MHD_YES;
}

/* ---- connections ---- */

static void watch(struct MHD_Connection *connection, bool on)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = connection};

    if (epoll_ctl(connection->daemon->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, connection->fd,
                  &event) != 0)
        abort();
}

void MHD_suspend_connection(struct MHD_Connection *connection)
{
    assert(connection->daemon != NULL && !connection->suspended);
    connection->suspended = true;
    watch(connection, false);
}

void MHD_resume_connection(struct MHD_Connection *connection)
{
    assert(connection->daemon != NULL && connection->suspended);
    assert(!connection->daemon->runs);
    connection->suspended = false;
    watch(connection, true);
}

const union MHD_ConnectionInfo *MHD_get_connection_info(struct MHD_Connection *connection,
                                                        enum MHD_ConnectionInfoType info_type, ...)
{
    assert(connection->daemon != NULL);
    switch (info_type) {
    case MHD_CONNECTION_INFO_CONNECTION_FD:
        connection->info.connect_fd = connection->fd;
        break;
    case MHD_CONNECTION_INFO_CLIENT_ADDRESS:
        connection->info.client_addr = (struct sockaddr *)(void *)&connection->address;
        break;
    case MHD_CONNECTION_INFO_SOCKET_CONTEXT:
        connection->info.socket_context = connection->socket_context;
        break;
    case MHD_CONNECTION_INFO_CONNECTION_SUSPENDED:
        connection->info.suspended = connection->suspended ? MHD_YES : MHD_NO;
        break;
    default:
        return NULL;
    }
    return &connection->info;
}

enum MHD_Result MHD_set_connection_option(struct MHD_Connection *connection,
                                          enum MHD_CONNECTION_OPTION option, ...)
{
    va_list args;

    assert(connection->daemon != NULL && option == MHD_CONNECTION_OPTION_TIMEOUT);
    va_start(args, option);
    connection->timeout_s = va_arg(args, unsigned);
    va_end(args);
    return MHD_YES;
}

static void drop_response(struct MHD_Connection *connection)
{
    MHD_destroy_response(connection->response);
    connection->response = NULL;
}

static void tell_completed(struct MHD_Connection *connection, enum MHD_RequestTerminationCode code)
{
    struct MHD_Daemon *daemon = connection->daemon;

    if (connection->is_told)
        daemon->completed(daemon->completed_arg, connection, &connection->context, code);
    connection->context = NULL;
    connection->is_told = false;
    drop_response(connection);
}

/* What the test holds stays for it to look at. */
static void close_connection(struct MHD_Connection *connection,
                             enum MHD_RequestTerminationCode code)
{
    struct MHD_Daemon *daemon = connection->daemon;

    assert(!connection->suspended);
    tell_completed(connection, code);
    daemon->connected(daemon->connected_arg, connection, &connection->socket_context,
                      MHD_CONNECTION_NOTIFY_CLOSED);
    TAILQ_REMOVE(&daemon->connections, connection, link);
    daemon->connections_n--;
    close(connection->fd);
    connection->fd = -1;
    connection->daemon = NULL;
    connection->state = FAKE_MHD_CLOSED;
}

/* ---- a run ---- */

static enum MHD_Result call_handler(struct MHD_Connection *connection, const char *upload,
                                    size_t *upload_n)
{
    struct MHD_Daemon *daemon = connection->daemon;

    connection->calls_n++;
    connection->is_told = true;
    return daemon->handler(daemon->handler_arg, connection, connection->url, connection->method,
                           connection->version, upload, upload_n, &connection->context);
}

static bool may_go_on(const struct MHD_Connection *connection)
{
    return connection->daemon != NULL && !connection->suspended;
}

static void end_with_error(struct MHD_Connection *connection)
{
    connection->is_cut = connection->response != NULL;
    close_connection(connection, MHD_REQUEST_TERMINATED_WITH_ERROR);
}

static void begin_answer(struct MHD_Connection *connection)
{
    const char *own = MHD_get_response_header(connection->response, MHD_HTTP_HEADER_CONNECTION);
    const struct fake_mhd_pair *theirs = fake_mhd_find_pair(&connection->headers, "Connection", 10);

    connection->state = FAKE_MHD_ANSWER;
    connection->ends = connection->ends || strcmp(connection->version, "HTTP/1.1") != 0 ||
                       (own != NULL && strcasecmp(own, "close") == 0) ||
                       (theirs != NULL && strcasecmp(theirs->value, "close") == 0);
}

static void take_head(struct MHD_Connection *connection)
{
    size_t none = 0;

    connection->is_first_call = true;
    enum MHD_Result result = call_handler(connection, NULL, &none);
    connection->is_first_call = false;
    connection->state = connection->has_body ? FAKE_MHD_BODY : FAKE_MHD_LAST;
    if (result != MHD_YES) {
        end_with_error(connection);
    } else if (connection->response != NULL) {
        connection->ends = true;
        begin_answer(connection);
    }
}

static void take_piece(struct MHD_Connection *connection)
{
    size_t left_n = connection->pending_n;

    if (left_n == 0) {
        connection->state = FAKE_MHD_LAST;
        return;
    }
    if (call_handler(connection, connection->pending, &left_n) != MHD_YES) {
        end_with_error(connection);
        return;
    }
    assert(left_n <= connection->pending_n);
    memmove(connection->pending, connection->pending + connection->pending_n - left_n, left_n);
    connection->pending_n = left_n;
}

/* Returns whether there was an answer or an end. */
static bool take_last(struct MHD_Connection *connection)
{
    size_t none = 0;

    if (call_handler(connection, NULL, &none) != MHD_YES)
        end_with_error(connection);
    else if (connection->response != NULL)
        begin_answer(connection);
    return connection->state != FAKE_MHD_LAST;
}

static void keep_body(struct MHD_Connection *connection, const char *bytes, size_t bytes_n)
{
    connection->body = fake_mhd_must(realloc(connection->body, connection->body_n + bytes_n + 1));
    memcpy(connection->body + connection->body_n, bytes, bytes_n);
    connection->body_n += bytes_n;
    connection->body[connection->body_n] = '\0';
}

/* Returns 1 when there is more, 0 when the answer is whole, -1 when it is cut. */
static int read_more(struct MHD_Connection *connection)
{
    const struct MHD_Response *response = connection->response;
    char room[ROOM_BYTES];
    size_t room_n = response->block_bytes < ROOM_BYTES ? response->block_bytes : ROOM_BYTES;

    if (connection->body_n == response->size)
        return 0;
    /* a stream may look at all the room that there is */
    ssize_t n = response->read(response->read_arg, connection->body_n, room,
                               response->size == MHD_SIZE_UNKNOWN ? ROOM_BYTES : room_n);
    if (n == MHD_CONTENT_READER_END_OF_STREAM)
        return 0;
    if (n < 0)
        return -1;
    assert(n <= ROOM_BYTES);
    keep_body(connection, room, (size_t)n);
    return 1;
}

static void end_answer(struct MHD_Connection *connection)
{
    connection->is_complete = true;
    if (connection->ends) {
        close_connection(connection, MHD_REQUEST_TERMINATED_COMPLETED_OK);
        return;
    }
    connection->state = FAKE_MHD_IDLE;
    tell_completed(connection, MHD_REQUEST_TERMINATED_COMPLETED_OK);
}

static void give_answer(struct MHD_Connection *connection)
{
    const struct MHD_Response *response = connection->response;
    int more = strcmp(connection->method, "HEAD") == 0 ? 0 : 1;

    if (more == 1 && response->bytes != NULL) {
        keep_body(connection, response->bytes, response->size);
        more = 0;
    }
    for (int i = 0; more == 1 && i < READS_A_RUN && !connection->suspended; i++)
        more = read_more(connection);
    if (more < 0)
        end_with_error(connection);
    else if (more == 0)
        end_answer(connection);
}

/* Something of its peer's is there: nothing but its end is sent, by a test or by the gateway. */
static bool has_ended(const struct MHD_Connection *connection)
{
    char byte;
    ssize_t n = recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    return n == 0 || (n < 0 && errno != EAGAIN);
}

static bool has_work(const struct MHD_Connection *connection)
{
    if (connection->suspended)
        return false;
    return connection->state == FAKE_MHD_HEAD || connection->state == FAKE_MHD_LAST ||
           (connection->state == FAKE_MHD_ANSWER && !connection->takes_no_answer) ||
           (connection->state == FAKE_MHD_BODY &&
            (connection->pending_n > 0 || connection->is_whole));
}

static void run_connection(struct MHD_Connection *connection)
{
    if (has_ended(connection)) {
        end_with_error(connection);
        return;
    }
    if (connection->state == FAKE_MHD_HEAD)
        take_head(connection);
    while (may_go_on(connection) && connection->state == FAKE_MHD_BODY && has_work(connection))
        take_piece(connection);
    if (may_go_on(connection) && connection->state == FAKE_MHD_LAST && !take_last(connection) &&
        may_go_on(connection))
        take_last(connection);
    if (may_go_on(connection) && connection->state == FAKE_MHD_LAST && connection->fails_in_run)
        end_with_error(connection);
    if (may_go_on(connection) && connection->state == FAKE_MHD_ANSWER &&
        !connection->takes_no_answer)
        give_answer(connection);
}

enum MHD_Result MHD_run(struct MHD_Daemon *daemon)
{
    struct MHD_Connection *connection = TAILQ_FIRST(&daemon->connections);
    eventfd_t pokes;

    assert(!daemon->runs);
    daemon->runs = true;
    eventfd_read(daemon->poke_fd, &pokes);
    while (connection != NULL) {
        struct MHD_Connection *next = TAILQ_NEXT(connection, link);

        if (!connection->suspended)
            run_connection(connection);
        connection = next;
    }
    daemon->runs = false;
    return MHD_YES;
}

enum MHD_Result MHD_get_timeout(struct MHD_Daemon *daemon, MHD_UNSIGNED_LONG_LONG *timeout)
{
    struct MHD_Connection *connection;

    TAILQ_FOREACH (connection, &daemon->connections, link)
        if (has_work(connection)) {
            *timeout = 0;
            return MHD_YES;
        }
    return MHD_NO;
}

/* ---- daemons ---- */

static void read_options(struct MHD_Daemon *daemon, va_list args)
{
    enum MHD_OPTION option;

    while ((option = (enum MHD_OPTION)va_arg(args, int)) != MHD_OPTION_END)
        switch (option) {
        case MHD_OPTION_CONNECTION_LIMIT:
            daemon->connections_max = va_arg(args, unsigned);
            break;
        case MHD_OPTION_CONNECTION_MEMORY_LIMIT:
            (void)va_arg(args, size_t);
            break;
        case MHD_OPTION_CONNECTION_TIMEOUT:
            (void)va_arg(args, unsigned);
            break;
        case MHD_OPTION_NOTIFY_COMPLETED:
            daemon->completed = va_arg(args, MHD_RequestCompletedCallback);
            daemon->completed_arg = va_arg(args, void *);
            break;
        case MHD_OPTION_NOTIFY_CONNECTION:
            daemon->connected = va_arg(args, MHD_NotifyConnectionCallback);
            daemon->connected_arg = va_arg(args, void *);
            break;
        case MHD_OPTION_ARRAY:
            (void)va_arg(args, struct MHD_OptionItem *);
            break;
        default:
            abort();
        }
}

struct MHD_Daemon *MHD_start_daemon(unsigned flags, uint16_t port, MHD_AcceptPolicyCallback apc,
                                    void *apc_cls, MHD_AccessHandlerCallback dh, void *dh_cls, ...)
{
    va_list args;

    (void)port;
    (void)apc;
    (void)apc_cls;
    assert((flags & MHD_USE_TLS) == 0);
    if (fails(&fake_mhd_faults.daemons)) {
        errno = ENOMEM;
        return NULL;
    }
    struct MHD_Daemon *daemon = fake_mhd_must(calloc(1, sizeof(*daemon)));
    daemon->handler = dh;
    daemon->handler_arg = dh_cls;
    struct epoll_event event = {.events = EPOLLIN};
    daemon->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    daemon->poke_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (epoll_ctl(daemon->epoll_fd, EPOLL_CTL_ADD, daemon->poke_fd, &event) != 0)
        abort();
    TAILQ_INIT(&daemon->connections);
    va_start(args, dh_cls);
    read_options(daemon, args);
    va_end(args);
    return daemon;
}

const union MHD_DaemonInfo *MHD_get_daemon_info(struct MHD_Daemon *daemon,
                                                enum MHD_DaemonInfoType info_type, ...)
{
    assert(info_type == MHD_DAEMON_INFO_EPOLL_FD);
    daemon->info.epoll_fd = daemon->epoll_fd;
    return &daemon->info;
}

void MHD_stop_daemon(struct MHD_Daemon *daemon)
{
    struct MHD_Connection *connection;

    while ((connection = TAILQ_FIRST(&daemon->connections)) != NULL)
        close_connection(connection, MHD_REQUEST_TERMINATED_DAEMON_SHUTDOWN);
    close(daemon->epoll_fd);
    close(daemon->poke_fd);
    free(daemon);
}

enum MHD_Result MHD_add_connection(struct MHD_Daemon *daemon, MHD_socket client_socket,
                                   const struct sockaddr *addr, socklen_t addrlen)
{
    struct MHD_Connection *connection;

    TAILQ_FOREACH (connection, &announced, link)
        if (connection->fd == client_socket)
            break;
    assert(connection != NULL && !daemon->runs);
    assert(daemon->connections_n < daemon->connections_max);
    TAILQ_REMOVE(&announced, connection, link);
    if (fails(&fake_mhd_faults.connections)) {
        close(client_socket);
        connection->fd = -1;
        connection->state = FAKE_MHD_CLOSED;
        return MHD_NO;
    }
    TAILQ_INSERT_TAIL(&daemon->connections, connection, link);
    daemon->connections_n++;
    connection->daemon = daemon;
    memcpy(&connection->address, addr, addrlen);
    watch(connection, true);
    daemon->connected(daemon->connected_arg, connection, &connection->socket_context,
                      MHD_CONNECTION_NOTIFY_STARTED);
    return MHD_YES;
}

/* ---- for tests ---- */

struct MHD_Connection *fake_mhd_new(int fd)
{
    struct MHD_Connection *connection = fake_mhd_must(calloc(1, sizeof(*connection)));

    connection->fd = fd;
    TAILQ_INSERT_TAIL(&announced, connection, link);
    return connection;
}

static void forget_request(struct MHD_Connection *connection)
{
    free(connection->head);
    free(connection->url);
    free(connection->pending);
    free(connection->body);
    connection->head = connection->url = connection->pending = connection->body = NULL;
    connection->pending_n = connection->body_n = 0;
    connection->status = connection->calls_n = 0;
    connection->is_whole = connection->is_complete = connection->is_cut = false;
    fake_mhd_free_pairs(&connection->headers);
    fake_mhd_free_pairs(&connection->query);
    fake_mhd_free_pairs(&connection->answer_headers);
}

void fake_mhd_free(struct MHD_Connection *connection)
{
    if (connection == NULL)
        return;
    assert(connection->daemon == NULL);
    if (connection->state != FAKE_MHD_CLOSED)
        TAILQ_REMOVE(&announced, connection, link);
    forget_request(connection);
    free(connection);
}

void fake_mhd_request(struct MHD_Connection *connection, const char *head)
{
    assert(connection->state == FAKE_MHD_IDLE);
    forget_request(connection);
    fake_mhd_read_head(connection, head);
    connection->state = FAKE_MHD_HEAD;
}

static void poke(struct MHD_Connection *connection)
{
    if (connection->daemon != NULL)
        eventfd_write(connection->daemon->poke_fd, 1);
}

void fake_mhd_piece(struct MHD_Connection *connection, const void *bytes, size_t bytes_n)
{
    connection->pending =
        fake_mhd_must(realloc(connection->pending, connection->pending_n + bytes_n + 1));
    memcpy(connection->pending + connection->pending_n, bytes, bytes_n);
    connection->pending_n += bytes_n;
    poke(connection);
}

void fake_mhd_end_body(struct MHD_Connection *connection)
{
    connection->is_whole = true;
    poke(connection);
}

const char *fake_mhd_answer_header(const struct MHD_Connection *connection, const char *name)
{
    const struct fake_mhd_pair *pair =
        fake_mhd_find_pair(&connection->answer_headers, name, strlen(name));

    return pair != NULL ? pair->value : NULL;
}
