/* SPDX-License-Identifier: MIT */
/*
 * Loaded before the C library (LD_PRELOAD): pages that the program gives back with madvise() cannot
 * be touched at all.  Writing to one makes it an ordinary page again, as it would be; reading one
 * that nobody has written to since ends the program, and so does having the kernel send it.
 *
 * The file PAGES_SHIM_FILE holds how many pages were given back, as a size_t.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define GIVEN_MAX 8192
#define PAGE_BYTES 4096
#define WRITES 2 /* in the error code of a page fault of x86-64 */

extern void __libc_free(void *block);

struct given {
    uintptr_t from, to; /* both 0: free */
};

static struct given given[GIVEN_MAX];
static _Atomic size_t given_n; /* slots ever used */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic size_t *pages;

static void open_up(uintptr_t from, uintptr_t to)
{
    mprotect((void *)from, to - from, PROT_READ | PROT_WRITE);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    static const char complaint[] = "pages_shim: a page is read that was given back\n";
    uintptr_t at = (uintptr_t)info->si_addr;
    bool writes = ((ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & WRITES;

    for (size_t i = 0; i < given_n; i++) {
        if (at < given[i].from || at >= given[i].to)
            continue;
        if (writes) {
            open_up(at & ~(uintptr_t)(PAGE_BYTES - 1), (at | (PAGE_BYTES - 1)) + 1);
            return;
        }
        (void)!write(STDERR_FILENO, complaint, sizeof(complaint) - 1);
        break;
    }
    signal(number, SIG_DFL);
}

/* Nothing that this function is not for is given back by the program. */
int madvise(void *from, size_t bytes, int advice)
{
    int result = (int)syscall(SYS_madvise, from, bytes, advice);
    size_t i = 0;

    if (advice != MADV_DONTNEED)
        return result;
    pthread_mutex_lock(&lock);
    while (i < given_n && given[i].to != 0 && given[i].from != (uintptr_t)from)
        i++;
    if (i == GIVEN_MAX)
        abort();
    given[i] = (struct given){(uintptr_t)from, (uintptr_t)from + bytes};
    if (i == given_n)
        given_n++;
    mprotect(from, bytes, PROT_NONE);
    *pages += bytes / PAGE_BYTES;
    pthread_mutex_unlock(&lock);
    return result;
}

/* The next who has this memory may have the kernel write to it. */
void free(void *block)
{
    uintptr_t from = (uintptr_t)block, to = from + malloc_usable_size(block);

    if (to - from >= PAGE_BYTES) {
        pthread_mutex_lock(&lock);
        for (size_t i = 0; i < given_n; i++) {
            if (given[i].from < from || given[i].to > to)
                continue;
            open_up(given[i].from, given[i].to);
            given[i] = (struct given){0};
        }
        pthread_mutex_unlock(&lock);
    }
    __libc_free(block);
}

/* The program's threads block all signals, and a blocked fault is not told. */
int pthread_sigmask(int how, const sigset_t *set, sigset_t *before)
{
    sigset_t allowed;

    if (set == NULL)
        return sigprocmask(how, NULL, before) == 0 ? 0 : errno;
    allowed = *set;
    if (how != SIG_UNBLOCK)
        sigdelset(&allowed, SIGSEGV);
    return sigprocmask(how, &allowed, before) == 0 ? 0 : errno;
}

__attribute__((constructor)) static void begin(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    const char *path = getenv("PAGES_SHIM_FILE");
    int fd = path != NULL ? open(path, O_RDWR) : -1;

    pages = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (pages == MAP_FAILED)
        abort();
    sigaction(SIGSEGV, &action, NULL);
}
