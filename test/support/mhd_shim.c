/* SPDX-License-Identifier: MIT */
/*
 * Loaded before libmicrohttpd (LD_PRELOAD): a library that is otherwise in one thing that the
 * gateway leans on.  MHD_SHIM says in which:
 *
 *     late      a connection is known only in the next run after it was added
 *     reads     a suspended connection is read on
 *     heads     what the library made of a head is elsewhere than the head
 *     room      no room for an answer behind a large head
 *     session   the session's database pointer is in use
 *     chunks    chunks are asked for in changing places
 *     speaks    a request that was suspended without a response is answered
 *     copies    the bytes of a response are copied when it is made
 *     pool      pools begin elsewhere
 *     crashes   a resume ends the process
 *     hangs     a resume does not come back
 */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <gnutls/gnutls.h>
#include <malloc.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define POOL_BYTES 32768
#define SHIFT_BYTES 4096
#define LARGE_HEAD_BYTES 4000

static bool is_otherwise_in(const char *what)
{
    const char *named = getenv("MHD_SHIM");

    return named != NULL && strcmp(named, what) == 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* The connection that has been given a response last. */
static struct MHD_Connection *answered;

/* ---- late ---- */

static struct {
    struct MHD_Daemon *daemon;
    MHD_socket fd;
    struct sockaddr_storage address;
    socklen_t address_n;
} late;

enum MHD_Result MHD_add_connection(struct MHD_Daemon *daemon, MHD_socket fd,
                                   const struct sockaddr *address, socklen_t address_n)
{
    answered = NULL;
    if (!is_otherwise_in("late"))
        return REAL(MHD_add_connection)(daemon, fd, address, address_n);
    late.daemon = daemon;
    late.fd = fd;
    memcpy(&late.address, address, address_n);
    late.address_n = address_n;
    return MHD_YES;
}

enum MHD_Result MHD_run(struct MHD_Daemon *daemon)
{
    if (late.daemon == daemon && daemon != NULL) {
        late.daemon = NULL;
        REAL(MHD_add_connection)
        (daemon, late.fd, (struct sockaddr *)(void *)&late.address, late.address_n);
    }
    return REAL(MHD_run)(daemon);
}

/* ---- speaks ---- */

/* While it is tried, which is over a socket pair; publishers wait without a response too. */
static void speak(struct MHD_Connection *connection)
{
    static const char text[] = "HTTP/1.1 500 Internal Server Error\r\n\r\n";
    int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    struct sockaddr_storage address = {0};

    getsockname(fd, (struct sockaddr *)(void *)&address, &(socklen_t){sizeof(address)});
    if (connection != answered && address.ss_family == AF_UNIX)
        send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL);
}

/* ---- reads, crashes, hangs ---- */

void MHD_suspend_connection(struct MHD_Connection *connection)
{
    if (!is_otherwise_in("reads"))
        REAL(MHD_suspend_connection)(connection);
}

void MHD_resume_connection(struct MHD_Connection *connection)
{
    if (is_otherwise_in("crashes"))
        abort();
    while (is_otherwise_in("hangs"))
        pause();
    if (is_otherwise_in("speaks"))
        speak(connection);
    if (!is_otherwise_in("reads"))
        REAL(MHD_resume_connection)(connection);
}

/* ---- heads ---- */

struct copy {
    MHD_KeyValueIteratorN next;
    void *arg;
};

static enum MHD_Result with_copies(void *cls, enum MHD_ValueKind kind, const char *name,
                                   size_t name_n, const char *value, size_t value_n)
{
    struct copy *copy = cls;
    char *other_name = strndup(name, name_n);
    char *other_value = value != NULL ? strndup(value, value_n) : NULL;
    enum MHD_Result result = copy->next(copy->arg, kind, other_name, name_n, other_value, value_n);

    free(other_name);
    free(other_value);
    return result;
}

int MHD_get_connection_values_n(struct MHD_Connection *connection, enum MHD_ValueKind kind,
                                MHD_KeyValueIteratorN next, void *arg)
{
    struct copy copy = {next, arg};

    if (!is_otherwise_in("heads"))
        return REAL(MHD_get_connection_values_n)(connection, kind, next, arg);
    return REAL(MHD_get_connection_values_n)(connection, kind, with_copies, &copy);
}

/* ---- room ---- */

enum MHD_Result MHD_queue_response(struct MHD_Connection *connection, unsigned status,
                                   struct MHD_Response *response)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

    answered = connection;
    if (is_otherwise_in("room") && info->header_size > LARGE_HEAD_BYTES)
        return MHD_NO;
    return REAL(MHD_queue_response)(connection, status, response);
}

/* ---- session ---- */

void *gnutls_db_get_ptr(gnutls_session_t session)
{
    return is_otherwise_in("session") ? session : REAL(gnutls_db_get_ptr)(session);
}

/* ---- chunks ---- */

struct reader {
    MHD_ContentReaderCallback next;
    void *arg;
    bool other;
    char rooms[2][POOL_BYTES];
};

static ssize_t read_elsewhere(void *cls, uint64_t at, char *room, size_t room_n)
{
    struct reader *reader = cls;
    char *other = reader->rooms[reader->other = !reader->other];
    ssize_t n = reader->next(reader->arg, at, other, room_n < POOL_BYTES ? room_n : POOL_BYTES);

    if (n > 0)
        memcpy(room, other, (size_t)n);
    return n;
}

struct MHD_Response *MHD_create_response_from_callback(uint64_t size, size_t block,
                                                       MHD_ContentReaderCallback next, void *arg,
                                                       MHD_ContentReaderFreeCallback free_arg)
{
    struct reader *reader;

    if (!is_otherwise_in("chunks"))
        return REAL(MHD_create_response_from_callback)(size, block, next, arg, free_arg);
    reader = calloc(1, sizeof(*reader)); /* of a test: never freed */
    reader->next = next;
    reader->arg = arg;
    return REAL(MHD_create_response_from_callback)(size, block, read_elsewhere, reader, NULL);
}

/* ---- copies ---- */

struct MHD_Response *MHD_create_response_from_buffer(size_t n, void *bytes,
                                                     enum MHD_ResponseMemoryMode mode)
{
    if (is_otherwise_in("copies"))
        mode = MHD_RESPMEM_MUST_COPY;
    return REAL(MHD_create_response_from_buffer)(n, bytes, mode);
}

/* ---- pool ---- */

extern void *__libc_malloc(size_t bytes);
extern void __libc_free(void *block);

static char *shifted[64];

static bool is_pool(size_t bytes, const void *caller)
{
    static __thread bool asks;
    Dl_info info;

    if (bytes < POOL_BYTES || bytes > POOL_BYTES + 64 || asks || !is_otherwise_in("pool"))
        return false;
    asks = true;
    bool of_library = dladdr(caller, &info) && strstr(info.dli_fname, "libmicrohttpd") != NULL;
    asks = false;
    return of_library;
}

void *malloc(size_t bytes)
{
    if (!is_pool(bytes, __builtin_return_address(0)))
        return __libc_malloc(bytes);
    for (size_t i = 0; i < sizeof(shifted) / sizeof(shifted[0]); i++)
        if (shifted[i] == NULL) {
            shifted[i] = (char *)__libc_malloc(bytes + SHIFT_BYTES) + SHIFT_BYTES;
            memset(shifted[i] - SHIFT_BYTES, 0, SHIFT_BYTES);
            return shifted[i];
        }
    abort();
}

void free(void *block)
{
    for (size_t i = 0; block != NULL && i < sizeof(shifted) / sizeof(shifted[0]); i++)
        if (shifted[i] == block) {
            shifted[i] = NULL;
            block = (char *)block - SHIFT_BYTES;
            break;
        }
    __libc_free(block);
}
