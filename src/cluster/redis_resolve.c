/* SPDX-License-Identifier: MIT */
/* The addresses of a host's name.  See redis_resolve.h. */
#include "config.h"
#include "cluster/redis_resolve.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/thread.h"

/* Between the thread and the loop; the last of them frees it. */
struct question {
    atomic_uint refs;
    int bell_fd;
    struct redis_place place;
    struct addrinfo *addresses;
    int error; /* EAI_... */
};

struct redis_resolve {
    struct question *question;
    struct event *bell;
    redis_resolve_done *done;
    void *arg;
};

static void question_unref(struct question *question)
{
    if (atomic_fetch_sub(&question->refs, 1) != 1)
        return;
    if (question->addresses != NULL)
        freeaddrinfo(question->addresses);
    if (question->bell_fd >= 0)
        close(question->bell_fd);
    free(question);
}

static void question_ask(struct question *question, int flags)
{
    struct addrinfo wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    char port[8];
    uint64_t one = 1;

    snprintf(port, sizeof(port), "%u", question->place.port);
    question->error = getaddrinfo(question->place.host, port, &wanted, &question->addresses);
    if (question->error == EAI_NONAME && (flags & AI_NUMERICHOST) != 0)
        return;
    /* a counter of 1 always has room */
    if (write(question->bell_fd, &one, sizeof(one)) < 0)
        question->error = EAI_SYSTEM;
}

static void *question_thread(void *arg)
{
    struct question *question = arg;

    thread_begin("bugle-dns", THREAD_LATER);
    question_ask(question, 0);
    question_unref(question);
    return NULL;
}

/* An address needs no thread.  Signals are for the main thread. */
static int question_begin(struct question *question)
{
    pthread_t thread;
    sigset_t all, before;

    question_ask(question, AI_NUMERICHOST);
    if (question->error != EAI_NONAME)
        return 0;
    atomic_fetch_add(&question->refs, 1);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, NULL, question_thread, question);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        pthread_detach(thread);
    else
        question_unref(question);
    return -error;
}

static void resolve_answered(evutil_socket_t fd, short what, void *arg)
{
    struct redis_resolve *resolve = arg;
    uint64_t rung;

    (void)what;
    if (read(fd, &rung, sizeof(rung)) < 0)
        return;
    struct addrinfo *addresses = resolve->question->addresses;
    const char *why = addresses == NULL ? gai_strerror(resolve->question->error) : NULL;
    resolve->question->addresses = NULL;
    event_del(resolve->bell);
    resolve->done(resolve->arg, addresses, why);
}

static struct question *question_new(const struct redis_place *place)
{
    struct question *question = calloc(1, sizeof(*question));

    if (question == NULL)
        return NULL;
    question->refs = 1;
    question->place = *place;
    question->bell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (question->bell_fd >= 0)
        return question;
    question_unref(question);
    return NULL;
}

struct redis_resolve *redis_resolve_new(struct event_base *base, const struct redis_place *place,
                                        redis_resolve_done *done, void *arg)
{
    struct redis_resolve *resolve = calloc(1, sizeof(*resolve));

    if (resolve == NULL)
        return NULL;
    resolve->done = done;
    resolve->arg = arg;
    resolve->question = question_new(place);
    if (resolve->question != NULL)
        resolve->bell =
            event_new(base, resolve->question->bell_fd, EV_READ, resolve_answered, resolve);
    if (resolve->bell != NULL && event_add(resolve->bell, NULL) == 0 &&
        question_begin(resolve->question) == 0)
        return resolve;
    redis_resolve_free(resolve);
    return NULL;
}

bool redis_resolve_is_of(const struct redis_resolve *resolve, const struct redis_place *place)
{
    return redis_place_equal(&resolve->question->place, place);
}

void redis_resolve_free(struct redis_resolve *resolve)
{
    if (resolve == NULL)
        return;
    if (resolve->bell != NULL)
        event_free(resolve->bell);
    if (resolve->question != NULL)
        question_unref(resolve->question);
    free(resolve);
}
