/* SPDX-License-Identifier: MIT */
/*
 * POST /api/backup: a copy of the store as the answer.  The request is suspended while the hub
 * makes the copy, and gives it up when its client leaves.  One copy exists at a time, over all
 * workers, until it has been sent.
 */
#include "config.h"
#include "api/route.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "history/history.h"
#include "http/respond.h"
#include "http/service.h"
#include "wire/sse.h"

#define RETRY_AFTER_S 10

/* From the handler to the end of the answer. */
struct work {
    struct hub_backup backup;
    struct inbox_note note; /* that it has been answered */
    struct request *request;
    struct event *watch; /* of the client, while the copy is made */
    bool is_sent;        /* or is on its way: no stop waits for the request */
};

static void backup_free_watch(struct work *work)
{
    if (work->watch != NULL)
        event_free(work->watch);
    work->watch = NULL;
}

static void backup_free(void *arg)
{
    struct work *work = arg;
    struct service *service = work->request->service;

    backup_free_watch(work);
    if (work->is_sent)
        service->unawaited_n--;
    if (work->backup.copy.fd >= 0)
        history_backup_close(work->backup.copy.fd);
    service->shared->has_backup = false;
    free(work);
}

/* ---- answers ---- */

static int backup_respond_stopping(struct request *request)
{
    return respond_unavailable(request, RETRY_AFTER_S, "stopping",
                               "The gateway is stopping; no copy was made.");
}

static int backup_respond_failure(struct request *request, int error)
{
    if (error != -ENOTSUP)
        stats_add(request->service->context->stats, STATS_BACKUPS_FAILED, 1);
    switch (error) {
    case -ECANCELED:
        return MHD_NO; /* the client has left */
    case -ESHUTDOWN:
        return backup_respond_stopping(request);
    case -ENOTSUP:
        return respond_error(request, 409, "nothing_on_disk",
                             "The store is in memory: there is no file to copy.");
    case -ENOSPC:
        return respond_error(request, 507, "no_room_for_copy",
                             "The disk of the store has no room for a copy beside it.");
    default:
        return respond_error(request, 500, "backup_failed",
                             "The store could not be copied; the log says why.");
    }
}

static int backup_respond_copy(struct request *request, struct work *work)
{
    const struct history_backup *copy = &work->backup.copy;
    const struct history *history = hub_history(request->service->shared->hub);
    char id[SSE_ID_BYTES], disposition[64 + SSE_ID_BYTES];
    int fd = fcntl(copy->fd, F_DUPFD_CLOEXEC, 0); /* the library closes what it is given */
    struct MHD_Response *response = fd >= 0 ? MHD_create_response_from_fd64(copy->bytes, fd) : NULL;

    if (response == NULL) {
        if (fd >= 0)
            close(fd);
        return respond_error(request, 503, "out_of_memory",
                             "The gateway is out of memory or descriptors.");
    }
    work->is_sent = true;
    request->service->unawaited_n++;
    sse_put_id(id, history_epoch(history), copy->newest);
    snprintf(disposition, sizeof(disposition), "attachment; filename=\"bugle-%.*s.db\"",
             SSE_ID_BYTES, id);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/vnd.sqlite3");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_DISPOSITION, disposition);
    stats_add(request->service->context->stats, STATS_BACKUPS_MADE, 1);
    return respond_with(request, MHD_HTTP_OK, response);
}

static int backup_respond_made(struct request *request)
{
    struct work *work = request->work;

    if (work->backup.result != 0)
        return backup_respond_failure(request, work->backup.result);
    return backup_respond_copy(request, work);
}

/* ---- to the hub and back ---- */

static void backup_answered(void *arg)
{
    struct work *work = arg;

    backup_free_watch(work);
    request_wake(work->request);
}

/* The hub's thread. */
static void backup_on_answer(struct hub_backup *backup)
{
    struct work *work = (struct work *)((char *)backup - offsetof(struct work, backup));

    worker_post_note(work->request->service->worker, &work->note, backup_answered, work);
}

/* A client that shut down its sending half counts as gone: it looks like one that left, and a copy
 * that nobody reads is expensive. */
static void backup_on_peer(evutil_socket_t fd, short what, void *arg)
{
    struct work *work = arg;
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    if ((what & EV_CLOSED) != 0 || n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        work->backup.abandoned = true;
}

/* Edge-triggered for reading and closing, as streams watch theirs. */
static bool backup_watch_peer(struct work *work)
{
    struct request *request = work->request;

    work->watch = event_new(request->service->context->base, request_fd(request),
                            EV_READ | EV_CLOSED | EV_ET | EV_PERSIST, backup_on_peer, work);
    return work->watch != NULL && event_add(work->watch, NULL) == 0;
}

/* The work owns `has_backup`, and frees it.  NULL when out of memory. */
static struct work *backup_new(struct request *request)
{
    struct work *work = calloc(1, sizeof(*work));

    if (work == NULL)
        return NULL;
    work->request = request;
    work->backup.answer = backup_on_answer;
    work->backup.copy.fd = -1;
    request->work = work;
    request->free_work = backup_free;
    return work;
}

int backup_post_handle(struct request *request)
{
    struct service_shared *shared = request->service->shared;

    if (shared->draining)
        return backup_respond_stopping(request);
    if (memory_budget_level(request->service->context->memory) >= MEMORY_BUDGET_NEAR) {
        stats_add(request->service->context->stats, STATS_ANSWERS_REFUSED_MEMORY, 1);
        return respond_memory_short(request);
    }
    if (atomic_exchange(&shared->has_backup, true))
        return respond_unavailable(
            request, RETRY_AFTER_S, "backup_running",
            "Another copy of the store is being made or sent; there is one at a time.");
    struct work *work = backup_new(request);
    if (work == NULL)
        shared->has_backup = false;
    if (work == NULL || !backup_watch_peer(work))
        return respond_out_of_memory(request);
    int result = hub_request_backup(shared->hub, &work->backup);
    if (result != 0)
        return backup_respond_failure(request, result);
    return request_suspend(request, backup_respond_made);
}
