/* SPDX-License-Identifier: MIT */
/*
 * Loaded before all libraries (LD_PRELOAD): one call of a library or of the kernel fails, the Nth
 * from when a test says so, whichever it is.  Each fails as it does without memory or descriptors,
 * and leaves behind what its manual says: MHD_add_connection() closes the descriptor it was given.
 * What cannot fail for such a reason (epoll_ctl() that takes out, F_GETFL) is passed on.
 *
 * The file CALLS_SHIM_FILE is mapped.  It holds two numbers, how many calls are still to go well,
 * counted down to -1 at the one that fails (negative: none fails), and how many there were, and
 * then the name of the one that failed.
 */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

struct orders {
    _Atomic long to_go;
    _Atomic long seen;
    _Atomic char failed[48];
};

static struct orders *orders;

__attribute__((constructor)) static void map_orders(void)
{
    const char *path = getenv("CALLS_SHIM_FILE");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;

    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof(struct orders), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED)
        orders = at;
}

/* Threads come here that know nothing of each other. */
static void tell(const char *name)
{
    for (size_t i = strlen(name); i > 0; i--) /* the first last: then it is there */
        atomic_store(&orders->failed[i], name[i]);
    atomic_store(&orders->failed[0], name[0]);
}

static int fails(const char *name, int error)
{
    if (orders == NULL)
        return 0;
    atomic_fetch_add(&orders->seen, 1);
    if (atomic_load(&orders->to_go) < 0 || atomic_fetch_sub(&orders->to_go, 1) != 0)
        return 0;
    tell(name);
    errno = error;
    return 1;
}

/* type, name, what it returns when it fails, errno, parameters with names, names alone */
#define FAILING(type, name, result, error, parameters, names)                                      \
    type name parameters                                                                           \
    {                                                                                              \
        static type(*next) parameters;                                                             \
                                                                                                   \
        if (next == NULL)                                                                          \
            next = (type(*) parameters)dlsym(RTLD_NEXT, #name);                                    \
        return fails(#name, error) ? (result) : next names;                                        \
    }

struct pollfd;
struct event_base;

/* libmicrohttpd: MHD_NO is 0 */
FAILING(int, MHD_queue_response, 0, ENOMEM, (void *c, unsigned s, void *r), (c, s, r))
FAILING(int, MHD_add_response_header, 0, ENOMEM, (void *r, const char *n, const char *v), (r, n, v))
FAILING(void *, MHD_create_response_from_buffer, NULL, ENOMEM, (size_t n, void *b, int m),
        (n, b, m))
FAILING(void *, MHD_create_response_from_callback, NULL, ENOMEM,
        (uint64_t n, size_t b, void *r, void *a, void *f), (n, b, r, a, f))
FAILING(void *, MHD_create_response_from_fd64, NULL, ENOMEM, (uint64_t n, int fd), (n, fd))

int MHD_add_connection(void *daemon, int fd, const struct sockaddr *address, socklen_t address_n)
{
    static int (*next)(void *, int, const struct sockaddr *, socklen_t);

    if (next == NULL)
        next = (int (*)(void *, int, const struct sockaddr *, socklen_t))dlsym(
            RTLD_NEXT, "MHD_add_connection");
    if (!fails("MHD_add_connection", ENOMEM))
        return next(daemon, fd, address, address_n);
    close(fd);
    return 0;
}

/* libevent */
FAILING(void *, event_new, NULL, ENOMEM, (void *b, int fd, short w, void *c, void *a),
        (b, fd, w, c, a))
FAILING(int, event_add, -1, ENOMEM, (void *e, const void *t), (e, t))

/* GnuTLS: GNUTLS_E_MEMORY_ERROR */
FAILING(int, gnutls_init, -25, ENOMEM, (void **s, unsigned f), (s, f))
FAILING(int, gnutls_credentials_set, -25, ENOMEM, (void *s, int t, void *c), (s, t, c))
FAILING(int, gnutls_priority_set, -25, ENOMEM, (void *s, void *p), (s, p))
FAILING(int, gnutls_handshake, -25, ENOMEM, (void *s), (s))
FAILING(ssize_t, gnutls_record_recv, -25, ENOMEM, (void *s, void *b, size_t n), (s, b, n))
FAILING(ssize_t, gnutls_record_send, -25, ENOMEM, (void *s, const void *b, size_t n), (s, b, n))

/* SQLite: SQLITE_NOMEM */
FAILING(int, sqlite3_prepare_v2, 7, ENOMEM, (void *d, const char *q, int n, void **s, void *t),
        (d, q, n, s, t))
FAILING(int, sqlite3_bind_int64, 7, ENOMEM, (void *s, int i, int64_t v), (s, i, v))
FAILING(int, sqlite3_bind_blob, 7, ENOMEM, (void *s, int i, const void *b, int n, void *f),
        (s, i, b, n, f))

/* the kernel */
FAILING(int, dup, -1, EMFILE, (int fd), (fd))
FAILING(int, accept4, -1, EMFILE, (int fd, struct sockaddr *a, socklen_t *n, int f), (fd, a, n, f))
FAILING(int, getsockopt, -1, ENOBUFS, (int fd, int l, int o, void *v, socklen_t *n),
        (fd, l, o, v, n))
FAILING(int, setsockopt, -1, ENOMEM, (int fd, int l, int o, const void *v, socklen_t n),
        (fd, l, o, v, n))
FAILING(ssize_t, recv, -1, ENOMEM, (int fd, void *b, size_t n, int f), (fd, b, n, f))
FAILING(ssize_t, send, -1, ENOBUFS, (int fd, const void *b, size_t n, int f), (fd, b, n, f))
FAILING(ssize_t, sendmsg, -1, ENOBUFS, (int fd, const struct msghdr *m, int f), (fd, m, f))

int epoll_ctl(int set, int operation, int fd, struct epoll_event *event)
{
    static int (*next)(int, int, int, struct epoll_event *);

    if (next == NULL)
        next = (int (*)(int, int, int, struct epoll_event *))dlsym(RTLD_NEXT, "epoll_ctl");
    if (operation == EPOLL_CTL_ADD && fails("epoll_ctl", ENOSPC))
        return -1;
    return next(set, operation, fd, event);
}
