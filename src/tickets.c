/* SPDX-License-Identifier: MIT */
/* What became of tickets.  See tickets.h. */
#include "config.h"
#include "tickets.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "log.h"
#include "state_file.h"
#include "store.h"

/* Without memory an entry is not added, and nothing else changes. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define FIGHT_MS 60000

struct entry {
    unsigned char id[TICKET_ID_BYTES];
    int64_t until_ms;
    uint64_t stream_id; /* 0: none is live */
    uint64_t from;      /* where its first stream began */
    uint64_t told;      /* the last position sent on its last stream */
    int64_t fight_ms;   /* since when live streams are counted that were taken over */
    unsigned fights_n;
    UT_hash_handle hh;
    TAILQ_ENTRY(entry) by_use;
};

TAILQ_HEAD(entries, entry);

struct tickets {
    pthread_mutex_t lock;
    unsigned char key[TICKET_KEY_BYTES];
    int64_t born_ms; /* what was made before may have been used without a trace here */
    struct entry *table;
    struct entries used; /* the one that was used longest ago comes first */
};

struct tickets *tickets_new(const unsigned char *key, int64_t now_ms)
{
    struct tickets *tickets = calloc(1, sizeof(*tickets));

    if (tickets == NULL)
        return NULL;
    pthread_mutex_init(&tickets->lock, NULL);
    memcpy(tickets->key, key, TICKET_KEY_BYTES);
    tickets->born_ms = now_ms;
    TAILQ_INIT(&tickets->used);
    return tickets;
}

static void drop(struct tickets *tickets, struct entry *entry)
{
    HASH_DEL(tickets->table, entry);
    TAILQ_REMOVE(&tickets->used, entry, by_use);
    free(entry);
}

void tickets_free(struct tickets *tickets)
{
    if (tickets == NULL)
        return;
    while (!TAILQ_EMPTY(&tickets->used))
        drop(tickets, TAILQ_FIRST(&tickets->used));
    pthread_mutex_destroy(&tickets->lock);
    explicit_bzero(tickets->key, TICKET_KEY_BYTES);
    free(tickets);
}

const unsigned char *tickets_key(const struct tickets *tickets)
{
    return tickets->key;
}

/* ---- entries; with the lock ---- */

static struct entry *find(const struct tickets *tickets, const unsigned char *id)
{
    struct entry *entry;

    HASH_FIND(hh, tickets->table, id, TICKET_ID_BYTES, entry);
    return entry;
}

/* What is over needs no entry: its ticket says so itself. */
static void drop_old(struct tickets *tickets, int64_t now_ms)
{
    struct entry *entry;

    while ((entry = TAILQ_FIRST(&tickets->used)) != NULL && entry->until_ms <= now_ms &&
           entry->stream_id == 0)
        drop(tickets, entry);
}

static struct entry *add(struct tickets *tickets, const struct ticket *ticket,
                         const struct tickets_use *use)
{
    drop_old(tickets, use->now_ms);
    struct entry *entry =
        HASH_COUNT(tickets->table) < use->tickets_max ? calloc(1, sizeof(*entry)) : NULL;

    if (entry == NULL)
        return NULL;
    memcpy(entry->id, ticket->id, TICKET_ID_BYTES);
    HASH_ADD(hh, tickets->table, id, TICKET_ID_BYTES, entry);
    if (entry->hh.tbl == NULL) {
        free(entry);
        return NULL;
    }
    entry->until_ms = ticket->until_ms;
    entry->from = UINT64_MAX; /* not known before its stream has begun */
    TAILQ_INSERT_TAIL(&tickets->used, entry, by_use);
    return entry;
}

static enum tickets_verdict enter_new(struct tickets *tickets, const struct ticket *ticket,
                                      const struct tickets_use *use)
{
    bool in_time = use->now_ms < ticket->first_until_ms;
    bool outlived = ticket->made_ms < tickets->born_ms && use->has_id &&
                    use->position >= ticket->position && use->position <= use->committed;

    if (!in_time && !outlived)
        return TICKETS_LATE;
    return add(tickets, ticket, use) != NULL ? TICKETS_GOOD : TICKETS_FULL;
}

/* Whether it has not been taken over too often. */
static bool may_take_over(struct entry *entry, int64_t now_ms)
{
    if (now_ms - entry->fight_ms >= FIGHT_MS) {
        entry->fight_ms = now_ms;
        entry->fights_n = 0;
    }
    return ++entry->fights_n <= TICKETS_FIGHTS_MAX;
}

static enum tickets_verdict enter_again(struct tickets *tickets, struct entry *entry,
                                        const struct tickets_use *use, uint64_t *ret_older)
{
    uint64_t upto = entry->stream_id != 0 ? use->committed : entry->told;

    if (entry->fights_n > TICKETS_FIGHTS_MAX)
        return TICKETS_REVOKED;
    if (!use->has_id || use->position < entry->from || use->position > upto)
        return TICKETS_USED;
    *ret_older = entry->stream_id;
    if (entry->stream_id != 0 && !may_take_over(entry, use->now_ms))
        return TICKETS_REVOKED;
    TAILQ_REMOVE(&tickets->used, entry, by_use);
    TAILQ_INSERT_TAIL(&tickets->used, entry, by_use);
    return TICKETS_GOOD;
}

/* ---- from outside ---- */

enum tickets_verdict tickets_enter(struct tickets *tickets, const struct ticket *ticket,
                                   const struct tickets_use *use, uint64_t *ret_older)
{
    enum tickets_verdict verdict = TICKETS_LATE;

    *ret_older = 0;
    pthread_mutex_lock(&tickets->lock);
    struct entry *entry = find(tickets, ticket->id);
    if (use->now_ms < ticket->until_ms)
        verdict = entry != NULL ? enter_again(tickets, entry, use, ret_older)
                                : enter_new(tickets, ticket, use);
    pthread_mutex_unlock(&tickets->lock);
    return verdict;
}

void tickets_opened(struct tickets *tickets, const unsigned char *id, uint64_t stream_id,
                    uint64_t position)
{
    pthread_mutex_lock(&tickets->lock);
    struct entry *entry = find(tickets, id);
    if (entry != NULL) {
        entry->stream_id = stream_id;
        if (position < entry->from)
            entry->from = position;
        if (position > entry->told)
            entry->told = position;
    }
    pthread_mutex_unlock(&tickets->lock);
}

/* The stream that took over may be there already. */
void tickets_closed(struct tickets *tickets, const unsigned char *id, uint64_t stream_id,
                    uint64_t position)
{
    pthread_mutex_lock(&tickets->lock);
    struct entry *entry = find(tickets, id);
    if (entry != NULL && position > entry->told)
        entry->told = position;
    if (entry != NULL && entry->stream_id == stream_id)
        entry->stream_id = 0;
    pthread_mutex_unlock(&tickets->lock);
}

size_t tickets_count(struct tickets *tickets)
{
    pthread_mutex_lock(&tickets->lock);
    size_t n = HASH_COUNT(tickets->table);
    pthread_mutex_unlock(&tickets->lock);
    return n;
}

/* ---- the key ---- */

static int draw(unsigned char *to)
{
    return gnutls_rnd(GNUTLS_RND_KEY, to, TICKET_KEY_BYTES) >= 0 ? 0 : -EIO;
}

/* Zeros are what a file system may leave of a file after a power cut, and nobody draws them. */
static bool is_key(const unsigned char *key)
{
    static const unsigned char zeros[TICKET_KEY_BYTES];

    return memcmp(key, zeros, TICKET_KEY_BYTES) != 0;
}

static int read_key(const char *path, unsigned char *to)
{
    int result = state_file_read(path, to, TICKET_KEY_BYTES);

    return result == 0 && !is_key(to) ? -EBADMSG : result;
}

/* Another process may have made it meanwhile. */
static int make_key(const char *path, unsigned char *to)
{
    int result = draw(to);

    if (result == 0)
        result = state_file_make(path, to, TICKET_KEY_BYTES);
    return result == -EEXIST ? read_key(path, to) : result;
}

/* Tickets live for hours at most, and whoever has one can get another: no reason not to start. */
static int replace_key(const char *path, unsigned char *to)
{
    int result = state_file_set_aside(path);

    if (result != 0)
        return result;
    log_warning("%s holds no key of tickets (%d bytes): it is %s.bad now, there is a new key, and "
                "tickets given out before are good for nothing",
                path, TICKET_KEY_BYTES, path);
    return make_key(path, to);
}

static int find_key(const char *path, unsigned char *to)
{
    int result = read_key(path, to);

    if (result == -ENOENT)
        return make_key(path, to);
    return result == -EBADMSG ? replace_key(path, to) : result;
}

int tickets_read_key(const char *store, unsigned char to[TICKET_KEY_BYTES],
                     struct conf_error *ret_error)
{
    char *path = store_path(store), *key_path = NULL;
    int result;

    if (path == NULL)
        return draw(to);
    if (asprintf(&key_path, "%s.tickets", path) < 0) {
        key_path = NULL;
        result = conf_refuse(ret_error, -ENOMEM, "out of memory");
    } else {
        result = find_key(key_path, to);
        if (result != 0)
            conf_refuse(
                ret_error, result,
                "the key of tickets in %s cannot be read or made: %s: give the gateway's "
                "user the right to, or remove the file, which ends tickets given out before",
                key_path, strerror(-result));
    }
    free(path);
    free(key_path);
    return result;
}
