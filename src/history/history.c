/* SPDX-License-Identifier: MIT */
/* What all stores share.  See history.h. */
#include "config.h"
#include "history/history.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

int history_append(struct history *history, struct message *const *events, size_t events_n,
                   int64_t now_ms)
{
    return history->ops->append(history, events, events_n, now_ms);
}

int history_apply(struct history *history, struct message *const *events, size_t events_n)
{
    struct history_bounds bounds;

    if (history->ops->apply == NULL)
        return -ENOTSUP;
    history_bounds(history, &bounds);
    for (size_t i = 0; i < events_n; i++)
        if (events[i]->kind != MESSAGE_STORED || events[i]->position != bounds.newest + 1 + i)
            return -EINVAL;
    return history->ops->apply(history, events, events_n);
}

int history_truncate(struct history *history, uint64_t after, struct lineage *lineage)
{
    if (history->ops->truncate != NULL)
        return history->ops->truncate(history, after, lineage);
    free(lineage);
    return -ENOTSUP;
}

/* ---- who it is ---- */

const struct lineage *history_lineage(const struct history *history)
{
    return atomic_load_explicit(&history->lineage, memory_order_acquire);
}

const char *history_epoch(const struct history *history)
{
    return history_lineage(history)->epoch;
}

/* Terms begin rarely, and a reader may look at the former lineage for as long as it likes: so that
 * stays, 5 KiB at most. */
void history_set_lineage(struct history *history, struct lineage *lineage)
{
    lineage->former = history->lineage;
    atomic_store_explicit(&history->lineage, lineage, memory_order_release);
}

void history_free_lineage(struct history *history)
{
    struct lineage *lineage = history->lineage;

    while (lineage != NULL) {
        struct lineage *former = lineage->former;

        free(lineage);
        lineage = former;
    }
}

/* ---- reading and keeping ---- */

int history_find_key(struct history *history, const struct message *message, int64_t now_ms,
                     uint64_t *ret_position)
{
    return history->ops->find_key(history, message, now_ms, ret_position);
}

bool history_claim(struct history *history, size_t events_n)
{
    return history->ops->claim != NULL && history->ops->claim(history, events_n);
}

void history_unclaim(struct history *history)
{
    history->ops->unclaim(history);
}

void history_set_reserve(struct history *history, uint64_t bytes)
{
    history->disk_reserve = bytes;
}

int history_read(struct history *history, const struct history_query *query,
                 struct history_page **ret_page)
{
    return history->ops->read(history, query, ret_page);
}

struct history_page *history_page_new(uint64_t after, size_t events_max)
{
    struct history_page *page = malloc(sizeof(*page) + events_max * sizeof(struct message *));

    if (page != NULL)
        *page = (struct history_page){.upto = after};
    return page;
}

void history_page_free(struct history_page *page)
{
    if (page == NULL)
        return;
    for (size_t i = 0; i < page->events_n; i++)
        message_unref(page->events[i]);
    free(page);
}

void history_settle(struct history *history)
{
    if (history->ops->settle != NULL)
        history->ops->settle(history);
}

void history_adopt(struct history *history)
{
    if (history->ops->adopt != NULL)
        history->ops->adopt(history);
}

bool history_trim(struct history *history, int64_t now_ms)
{
    return history->ops->trim(history, now_ms);
}

void history_watch(struct history *history)
{
    if (history->ops->watch != NULL)
        history->ops->watch(history);
}

enum history_trouble history_trouble(const struct history *history)
{
    return history->trouble;
}

void history_bounds(struct history *history, struct history_bounds *ret_bounds)
{
    history->ops->bounds(history, ret_bounds);
}

uint64_t history_find_time(struct history *history, int64_t since_ms)
{
    return history->ops->find_time(history, since_ms);
}

int history_search(struct history *history, struct history_search *search)
{
    return history->ops->search(history, search);
}

void history_usage(struct history *history, struct history_usage *ret_usage)
{
    history->ops->usage(history, ret_usage);
}

int history_backup_begin(struct history *history)
{
    return history->ops->backup_begin != NULL ? history->ops->backup_begin(history) : -ENOTSUP;
}

int history_backup_step(struct history *history, struct history_backup *ret_backup)
{
    return history->ops->backup_step(history, ret_backup);
}

void history_backup_end(struct history *history)
{
    if (history->ops->backup_end != NULL)
        history->ops->backup_end(history);
}

int history_release(struct history *history)
{
    return history->ops->release != NULL ? history->ops->release(history) : -ENOTSUP;
}

int history_reclaim(struct history *history)
{
    return history->ops->reclaim(history);
}

void history_follow(struct history *history, uint64_t newest)
{
    if (history->ops->follow != NULL)
        history->ops->follow(history, newest);
}

/* Made empty first, so that another holder of the file closes it without a wait. */
static void *free_file(void *arg)
{
    int fd = (int)(intptr_t)arg;

    while (ftruncate(fd, 0) != 0 && errno == EINTR)
        ;
    close(fd);
    return NULL;
}

void history_backup_close(int fd)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, free_file, (void *)(intptr_t)fd) == 0)
        pthread_detach(thread);
    else
        free_file((void *)(intptr_t)fd);
}

const char *history_durability_word(enum history_durability durability)
{
    static const char *const texts[] = {
        [HISTORY_MEMORY] = "memory",
        [HISTORY_DISK] = "disk",
        [HISTORY_REPLICATED] = "replicated",
    };

    return texts[durability];
}

const char *history_durability_text(const struct history *history)
{
    return history_durability_word(history->durability);
}

void history_free(struct history *history)
{
    if (history != NULL)
        history->ops->free(history);
}

int history_draw_epoch(char *to)
{
    static const char alphabet[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    unsigned char random[SSE_EPOCH_BYTES];
    size_t got = 0;

    while (got < sizeof(random)) {
        ssize_t n = getrandom(random + got, sizeof(random) - got, 0);

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            got += (size_t)n;
    }
    for (size_t i = 0; i < SSE_EPOCH_BYTES; i++)
        to[i] = alphabet[random[i] % (sizeof(alphabet) - 1)];
    to[SSE_EPOCH_BYTES] = '\0';
    return 0;
}
