/* SPDX-License-Identifier: MIT */
/*
 * Loaded before the C library (LD_PRELOAD): one allocation fails, the Nth from when a test says so.
 *
 * The file MALLOC_SHIM_FILE is mapped and holds two numbers: how many allocations are still to go
 * well, counted down to -1 at the one that fails (negative: none fails), and how many there were
 * since the test set it to 0.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc's own, under names that stay when ours come first. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

struct orders {
    _Atomic long to_go;
    _Atomic long seen;
};

static struct orders *orders;

__attribute__((constructor)) static void map_orders(void)
{
    const char *path = getenv("MALLOC_SHIM_FILE");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;

    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof(struct orders), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED)
        orders = at;
}

static int fails(void)
{
    if (orders == NULL)
        return 0;
    atomic_fetch_add(&orders->seen, 1);
    if (atomic_load(&orders->to_go) < 0 || atomic_fetch_sub(&orders->to_go, 1) != 0)
        return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t bytes)
{
    return fails() ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
    return fails() ? NULL : __libc_calloc(n, bytes);
}

void *realloc(void *old, size_t bytes)
{
    return fails() ? NULL : __libc_realloc(old, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return fails() ? NULL : __libc_memalign(alignment, bytes);
}

int posix_memalign(void **to, size_t alignment, size_t bytes)
{
    void *at = fails() ? NULL : __libc_memalign(alignment, bytes);

    if (at == NULL)
        return ENOMEM;
    *to = at;
    return 0;
}
