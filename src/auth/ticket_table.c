/* SPDX-License-Identifier: MIT */
/* What became of tickets.  See ticket_table.h. */
#include "config.h"
#include "auth/ticket_table.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/due_heap.h"
#include "base/log.h"
#include "base/state_file.h"

/* Without memory an entry is not added, and nothing else changes. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define FIGHT_MS 60000
#define AT_ONCE_MS 200
#define AGAIN_MS 5000
#define DROPS_AT_ONCE 64
#define WAIT_UNKNOWN_MS 30000 /* nobody knows when a live stream will end */

/* What one user, or one key, has in the table. */
struct share {
    unsigned char mark[IDENTITY_FINGERPRINT_BYTES];
    size_t n;
    struct due_heap idle; /* by when they may be forgotten */
    UT_hash_handle hh;
};

struct entry {
    unsigned char id[TICKET_ID_BYTES];
    int64_t until_ms;
    int64_t needed_until_ms; /* before this its ticket would be new without the entry */
    int64_t first_ms;        /* its first use */
    uint64_t stream_id;      /* 0: none is live */
    uint64_t from;           /* where its first stream began */
    uint64_t told;           /* the last position sent on its last stream */
    int64_t fight_ms;        /* since when live streams are counted that were taken over */
    int64_t fought_ms;       /* the last that was counted */
    unsigned fights_n;
    bool entering;                           /* a use was granted, and is no stream yet */
    struct share *user, *key;                /* nobody is a user too */
    struct due_item in_user, in_key, in_all; /* while it is idle */
    UT_hash_handle hh;
};

struct ticket_table {
    pthread_mutex_t lock;
    unsigned char secret[TICKET_KEY_BYTES];
    int64_t born_ms; /* what was made before may have been used without a trace here */
    struct entry *table;
    struct share *users, *keys;
    struct due_heap idle; /* all, by when they are over */
};

struct ticket_table *ticket_table_new(const unsigned char *key, int64_t now_ms)
{
    struct ticket_table *tickets = calloc(1, sizeof(*tickets));

    if (tickets == NULL)
        return NULL;
    pthread_mutex_init(&tickets->lock, NULL);
    memcpy(tickets->secret, key, TICKET_KEY_BYTES);
    tickets->born_ms = now_ms;
    return tickets;
}

/* ---- shares; with the lock ---- */

/* Count one more of whose mark this is.  NULL when out of memory. */
static struct share *share_enter(struct share **shares, const unsigned char *mark)
{
    struct share *share;

    HASH_FIND(hh, *shares, mark, IDENTITY_FINGERPRINT_BYTES, share);
    if (share == NULL) {
        share = calloc(1, sizeof(*share));
        if (share == NULL)
            return NULL;
        memcpy(share->mark, mark, IDENTITY_FINGERPRINT_BYTES);
        HASH_ADD(hh, *shares, mark, IDENTITY_FINGERPRINT_BYTES, share);
        if (share->hh.tbl == NULL) {
            free(share);
            return NULL;
        }
    }
    share->n++;
    return share;
}

static void share_leave(struct share **shares, struct share *share)
{
    if (share == NULL || --share->n > 0)
        return;
    HASH_DEL(*shares, share);
    due_heap_clear(&share->idle);
    free(share);
}

static struct share *largest_share(struct share *shares)
{
    struct share *largest = shares;

    for (struct share *share = shares; share != NULL; share = share->hh.next)
        if (share->n > largest->n)
            largest = share;
    return largest;
}

/* ---- entries; with the lock ---- */

static struct entry *find(const struct ticket_table *tickets, const unsigned char *id)
{
    struct entry *entry;

    HASH_FIND(hh, tickets->table, id, TICKET_ID_BYTES, entry);
    return entry;
}

static void make_busy(struct ticket_table *tickets, struct entry *entry)
{
    if (entry->in_all.place == 0)
        return;
    due_heap_take(&tickets->idle, &entry->in_all);
    due_heap_take(&entry->key->idle, &entry->in_key);
    due_heap_take(&entry->user->idle, &entry->in_user);
}

/* Its last stream ended.  It may be forgotten once it is no first use any more; which of those goes
 * is the one whose stream ended longest ago. */
static void make_idle(struct ticket_table *tickets, struct entry *entry, int64_t now_ms)
{
    int64_t due_ms = now_ms > entry->needed_until_ms ? now_ms : entry->needed_until_ms;

    make_busy(tickets, entry);
    due_heap_put(&tickets->idle, &entry->in_all, entry->until_ms);
    due_heap_put(&entry->key->idle, &entry->in_key, due_ms);
    due_heap_put(&entry->user->idle, &entry->in_user, due_ms);
}

static void drop(struct ticket_table *tickets, struct entry *entry)
{
    make_busy(tickets, entry);
    HASH_DEL(tickets->table, entry);
    share_leave(&tickets->users, entry->user);
    share_leave(&tickets->keys, entry->key);
    free(entry);
}

void ticket_table_free(struct ticket_table *tickets)
{
    if (tickets == NULL)
        return;
    while (tickets->table != NULL)
        drop(tickets, tickets->table);
    due_heap_clear(&tickets->idle);
    pthread_mutex_destroy(&tickets->lock);
    explicit_bzero(tickets->secret, TICKET_KEY_BYTES);
    free(tickets);
}

const unsigned char *ticket_table_key(const struct ticket_table *tickets)
{
    return tickets->secret;
}

#define ENTRY_OF(item, member)                                                                     \
    ((struct entry *)(void *)((char *)(item)-offsetof(struct entry, member)))

/* What is over needs no entry: its ticket says so itself.  Returns whether there may be more. */
static bool drop_old(struct ticket_table *tickets, int64_t now_ms)
{
    for (int i = 0; i < DROPS_AT_ONCE; i++) {
        struct due_item *first = due_heap_first(&tickets->idle);

        if (first == NULL || first->due_ms > now_ms)
            return false;
        drop(tickets, ENTRY_OF(first, in_all));
    }
    return true;
}

/* Forget an entry of the key, or the user, for another one.  Returns whether there is one that may
 * be forgotten; if not, the answer says in how long. */
static bool forget_one(struct ticket_table *tickets, struct share *share, bool is_user,
                       int64_t now_ms, struct ticket_table_answer *answer)
{
    struct due_item *first = due_heap_first(&share->idle);

    if (first == NULL || first->due_ms > now_ms) {
        answer->wait_ms = first != NULL ? first->due_ms - now_ms : WAIT_UNKNOWN_MS;
        return false;
    }
    drop(tickets, is_user ? ENTRY_OF(first, in_user) : ENTRY_OF(first, in_key));
    answer->forgotten_n++;
    return true;
}

/* Whether a share has room for the one that is counted already.  After a limit was lowered it
 * shrinks by one with each. */
static bool has_room(struct ticket_table *tickets, struct share *share, bool is_user, size_t most,
                     const struct ticket_table_use *use, struct ticket_table_answer *answer)
{
    if (most == 0 || share->n <= most)
        return true;
    if (!forget_one(tickets, share, is_user, use->now_ms, answer))
        return false;
    if (share->n > most)
        forget_one(tickets, share, is_user, use->now_ms, answer);
    return true;
}

/* Forget until there are no more than the limits allow, the one that is counted already with them.
 */
static enum ticket_table_verdict make_room(struct ticket_table *tickets, const struct entry *entry,
                                           bool is_nobody, const struct ticket_table_use *use,
                                           struct ticket_table_answer *answer)
{
    const struct ticket_table_limits *limits = use->limits;
    size_t per_user = is_nobody ? (limits->per_key + 1) / 2 : limits->per_user;

    if (!has_room(tickets, entry->user, true, per_user, use, answer))
        return is_nobody ? TICKET_TABLE_KEY_FULL : TICKET_TABLE_USER_FULL;
    if (!has_room(tickets, entry->key, false, limits->per_key, use, answer))
        return TICKET_TABLE_KEY_FULL;
    if (HASH_COUNT(tickets->table) > limits->all &&
        !forget_one(tickets, largest_share(tickets->keys), false, use->now_ms, answer))
        return TICKET_TABLE_FULL;
    return TICKET_TABLE_GOOD;
}

static bool enter_shares(struct ticket_table *tickets, struct entry *entry,
                         const struct ticket *ticket)
{
    const struct identity_piece of_user[] = {{ticket->key_fingerprint, IDENTITY_FINGERPRINT_BYTES},
                                             {ticket->user.bytes, ticket->user.bytes_n}};
    unsigned char mark[IDENTITY_FINGERPRINT_BYTES];

    entry->key = share_enter(&tickets->keys, ticket->key_fingerprint);
    if (entry->key == NULL || due_heap_reserve(&entry->key->idle, entry->key->n) != 0)
        return false;
    identity_fingerprint(mark, of_user, 2);
    entry->user = share_enter(&tickets->users, mark);
    return entry->user != NULL && due_heap_reserve(&entry->user->idle, entry->user->n) == 0;
}

/* An entry that is in the table and counted; NULL when out of memory. */
static struct entry *add(struct ticket_table *tickets, const struct ticket *ticket, int64_t now_ms)
{
    struct entry *entry = calloc(1, sizeof(*entry));

    if (entry == NULL)
        return NULL;
    memcpy(entry->id, ticket->id, TICKET_ID_BYTES);
    HASH_ADD(hh, tickets->table, id, TICKET_ID_BYTES, entry);
    if (entry->hh.tbl == NULL) {
        free(entry);
        return NULL;
    }
    entry->until_ms = ticket->until_ms;
    entry->needed_until_ms =
        ticket->made_ms < tickets->born_ms ? ticket->until_ms : ticket->first_until_ms;
    entry->first_ms = now_ms;
    entry->from = UINT64_MAX; /* not known before its stream has begun */
    entry->entering = true;
    if (enter_shares(tickets, entry, ticket) &&
        due_heap_reserve(&tickets->idle, HASH_COUNT(tickets->table)) == 0)
        return entry;
    drop(tickets, entry);
    return NULL;
}

/* ---- uses; with the lock ---- */

static enum ticket_table_verdict enter_new(struct ticket_table *tickets,
                                           const struct ticket *ticket,
                                           const struct ticket_table_use *use,
                                           struct ticket_table_answer *answer)
{
    bool in_time = use->now_ms < ticket->first_until_ms;
    bool outlived = ticket->made_ms < tickets->born_ms && use->has_id &&
                    use->position >= ticket->position && use->position <= use->committed;

    if (!in_time && !outlived)
        return TICKET_TABLE_LATE;
    drop_old(tickets, use->now_ms);
    struct entry *entry = add(tickets, ticket, use->now_ms);
    answer->wait_ms = WAIT_UNKNOWN_MS;
    if (entry == NULL)
        return TICKET_TABLE_FULL;
    enum ticket_table_verdict verdict =
        make_room(tickets, entry, ticket->user.bytes == NULL, use, answer);
    if (verdict != TICKET_TABLE_GOOD)
        drop(tickets, entry);
    return verdict;
}

/* Whether it has not been taken over too often.  Those that come at once are one. */
static bool may_take_over(struct entry *entry, int64_t now_ms)
{
    if (now_ms - entry->fight_ms >= FIGHT_MS) {
        entry->fight_ms = now_ms;
        entry->fights_n = 0;
    }
    if (entry->fights_n == 0 || now_ms - entry->fought_ms >= AT_ONCE_MS) {
        entry->fought_ms = now_ms;
        entry->fights_n++;
    }
    return entry->fights_n <= TICKET_TABLE_TAKEOVERS_MAX;
}

/* What was shown could be the last that its stream sent. */
static bool shows_its_id(const struct entry *entry, const struct ticket_table_use *use)
{
    uint64_t upto = entry->stream_id != 0 ? use->committed : entry->told;

    return use->has_id && use->position >= entry->from && use->position <= upto;
}

/* A page that opens its stream, closes it and opens it again, as frameworks have it that try pages
 * out, has no id to show. */
static bool begins_again(const struct entry *entry, const struct ticket_table_use *use)
{
    return !use->has_id && entry->stream_id == 0 && use->now_ms >= entry->first_ms &&
           use->now_ms - entry->first_ms < AGAIN_MS;
}

/* While another use is on its way to being a stream there is none to take over, so it counts as
 * live and this one came second. */
static enum ticket_table_verdict enter_again(struct ticket_table *tickets, struct entry *entry,
                                             const struct ticket_table_use *use,
                                             struct ticket_table_answer *answer)
{
    if (entry->fights_n > TICKET_TABLE_TAKEOVERS_MAX)
        return TICKET_TABLE_REVOKED;
    if (entry->entering || (!shows_its_id(entry, use) && !begins_again(entry, use)))
        return TICKET_TABLE_USED;
    answer->older = entry->stream_id;
    if (entry->stream_id != 0 && !may_take_over(entry, use->now_ms))
        return TICKET_TABLE_REVOKED;
    entry->entering = true;
    make_busy(tickets, entry);
    return TICKET_TABLE_GOOD;
}

/* ---- from outside ---- */

enum ticket_table_verdict ticket_table_enter(struct ticket_table *tickets,
                                             const struct ticket *ticket,
                                             const struct ticket_table_use *use,
                                             struct ticket_table_answer *ret_answer)
{
    enum ticket_table_verdict verdict = TICKET_TABLE_LATE;

    *ret_answer = (struct ticket_table_answer){.older = 0};
    pthread_mutex_lock(&tickets->lock);
    struct entry *entry = find(tickets, ticket->id);
    if (use->now_ms < ticket->until_ms)
        verdict = entry != NULL ? enter_again(tickets, entry, use, ret_answer)
                                : enter_new(tickets, ticket, use, ret_answer);
    pthread_mutex_unlock(&tickets->lock);
    return verdict;
}

void ticket_table_opened(struct ticket_table *tickets, const unsigned char *id, uint64_t stream_id,
                         uint64_t position)
{
    pthread_mutex_lock(&tickets->lock);
    struct entry *entry = find(tickets, id);
    if (entry != NULL) {
        entry->entering = false;
        entry->stream_id = stream_id;
        if (position < entry->from)
            entry->from = position;
        if (position > entry->told)
            entry->told = position;
    }
    pthread_mutex_unlock(&tickets->lock);
}

void ticket_table_failed(struct ticket_table *tickets, const unsigned char *id, int64_t now_ms)
{
    pthread_mutex_lock(&tickets->lock);
    struct entry *entry = find(tickets, id);
    if (entry != NULL) {
        entry->entering = false;
        if (entry->stream_id == 0)
            make_idle(tickets, entry, now_ms);
    }
    pthread_mutex_unlock(&tickets->lock);
}

/* The stream that took over may be there already, or on its way. */
void ticket_table_closed(struct ticket_table *tickets, const unsigned char *id, uint64_t stream_id,
                         uint64_t position, int64_t now_ms)
{
    pthread_mutex_lock(&tickets->lock);
    struct entry *entry = find(tickets, id);
    if (entry != NULL && position > entry->told)
        entry->told = position;
    if (entry != NULL && entry->stream_id == stream_id) {
        entry->stream_id = 0;
        if (!entry->entering)
            make_idle(tickets, entry, now_ms);
    }
    pthread_mutex_unlock(&tickets->lock);
}

size_t ticket_table_count(struct ticket_table *tickets, int64_t now_ms)
{
    bool has_more = true;
    size_t n = 0;

    while (has_more) {
        pthread_mutex_lock(&tickets->lock);
        has_more = drop_old(tickets, now_ms);
        n = HASH_COUNT(tickets->table);
        pthread_mutex_unlock(&tickets->lock);
    }
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

int ticket_table_read_key(const char *history_path, unsigned char to[TICKET_KEY_BYTES],
                          struct conf_error *ret_error)
{
    char *key_path;
    int result;

    if (history_path == NULL)
        return draw(to);
    if (asprintf(&key_path, "%s.tickets", history_path) < 0) {
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
    free(key_path);
    return result;
}
