/* SPDX-License-Identifier: MIT */
/* The state of tickets.  See ticket_table.h. */
#include "config.h"
#include "auth/ticket_table.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/due_heap.h"

/* Without memory an entry is not added, and nothing else changes. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define TAKEOVERS_MS 60000
#define AT_ONCE_MS 200
#define AGAIN_MS 5000
#define DROPS_AT_ONCE 64
#define WAIT_UNKNOWN_MS 30000 /* when a live stream will end is not known */

/* What one user, or one key, has in the table. */
struct share {
    unsigned char mark[IDENTITY_FINGERPRINT_BYTES];
    size_t n;
    struct due_heap idle; /* by when they may be forgotten */
    UT_hash_handle hh;
};

/* A use on this node of a ticket that other nodes take too. */
struct use {
    uint64_t mark;
    struct entry *entry;
    uint64_t stream_id; /* 0: it is none yet */
    uint64_t from;
    bool is_taken;  /* another use has the ticket */
    unsigned round; /* in which it was given out last */
    LIST_ENTRY(use) of_entry;
    TAILQ_ENTRY(use) link; /* while it is a stream and has the ticket */
    UT_hash_handle hh;
};

struct entry {
    unsigned char id[TICKET_ID_BYTES];
    int64_t until_ms;
    int64_t needed_until_ms;    /* before this its ticket would be new without the entry */
    int64_t first_ms;           /* its first use */
    uint64_t stream_id;         /* 0: none is live */
    uint64_t from;              /* where its first stream began */
    uint64_t last_sent;         /* the last position sent on its last stream */
    int64_t takeovers_since_ms; /* since when live streams are counted that were taken over */
    int64_t taken_over_ms;      /* the last that was counted */
    unsigned takeovers_n;
    bool entering;                           /* a use was granted, and is no stream yet */
    bool is_kept;                            /* a use of it was granted here by the log */
    LIST_HEAD(, use) uses;                   /* that the log is asked for, or has granted */
    struct share *user, *key;                /* no user counts as one */
    struct due_item in_user, in_key, in_all; /* while it is idle */
    UT_hash_handle hh;
};

struct ticket_table {
    pthread_mutex_t lock;
    int64_t born_ms; /* what was made before may have been used without a trace here */
    struct entry *entries;
    struct share *users, *keys;
    struct due_heap idle; /* all, by when they are over */
    struct use *uses;     /* by mark */
    TAILQ_HEAD(, use) live;
    unsigned round;
};

struct ticket_table *ticket_table_new(int64_t now_ms)
{
    struct ticket_table *table = calloc(1, sizeof(*table));

    if (table == NULL)
        return NULL;
    pthread_mutex_init(&table->lock, NULL);
    table->born_ms = now_ms;
    TAILQ_INIT(&table->live);
    return table;
}

/* ---- shares; with the lock ---- */

/* Count one more with this fingerprint.  NULL when out of memory. */
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

static struct entry *ticket_table_find(const struct ticket_table *table, const unsigned char *id)
{
    struct entry *entry;

    HASH_FIND(hh, table->entries, id, TICKET_ID_BYTES, entry);
    return entry;
}

static void ticket_table_make_busy(struct ticket_table *table, struct entry *entry)
{
    if (entry->in_all.place == 0)
        return;
    due_heap_take(&table->idle, &entry->in_all);
    due_heap_take(&entry->key->idle, &entry->in_key);
    due_heap_take(&entry->user->idle, &entry->in_user);
}

/* Its last stream ended.  It may be forgotten once it is no first use any more; which of those goes
 * is the one whose stream ended longest ago. */
static void ticket_table_make_idle(struct ticket_table *table, struct entry *entry, int64_t now_ms)
{
    int64_t due_ms = now_ms > entry->needed_until_ms ? now_ms : entry->needed_until_ms;

    ticket_table_make_busy(table, entry);
    due_heap_put(&table->idle, &entry->in_all, entry->until_ms);
    due_heap_put(&entry->key->idle, &entry->in_key, due_ms);
    due_heap_put(&entry->user->idle, &entry->in_user, due_ms);
}

static void ticket_table_drop_use(struct ticket_table *table, struct use *use)
{
    if (use->stream_id != 0 && !use->is_taken)
        TAILQ_REMOVE(&table->live, use, link);
    LIST_REMOVE(use, of_entry);
    HASH_DEL(table->uses, use);
    free(use);
}

static void ticket_table_drop(struct ticket_table *table, struct entry *entry)
{
    while (!LIST_EMPTY(&entry->uses))
        ticket_table_drop_use(table, LIST_FIRST(&entry->uses));
    ticket_table_make_busy(table, entry);
    HASH_DEL(table->entries, entry);
    share_leave(&table->users, entry->user);
    share_leave(&table->keys, entry->key);
    free(entry);
}

void ticket_table_free(struct ticket_table *table)
{
    if (table == NULL)
        return;
    while (table->entries != NULL)
        ticket_table_drop(table, table->entries);
    due_heap_clear(&table->idle);
    pthread_mutex_destroy(&table->lock);
    free(table);
}

#define ENTRY_OF(item, member)                                                                     \
    ((struct entry *)(void *)((char *)(item)-offsetof(struct entry, member)))

/* What is over needs no entry: its ticket says so itself.  Returns whether there may be more. */
static bool ticket_table_drop_old(struct ticket_table *table, int64_t now_ms)
{
    for (int i = 0; i < DROPS_AT_ONCE; i++) {
        struct due_item *first = due_heap_first(&table->idle);

        if (first == NULL || first->due_ms > now_ms)
            return false;
        ticket_table_drop(table, ENTRY_OF(first, in_all));
    }
    return true;
}

/* Forget an entry of the key, or the user, for another one.  Returns whether there is one that may
 * be forgotten; if not, the answer says in how long. */
static bool ticket_table_forget_one(struct ticket_table *table, struct share *share, bool is_user,
                                    int64_t now_ms, struct ticket_table_answer *answer)
{
    struct due_item *first = due_heap_first(&share->idle);

    if (first == NULL || first->due_ms > now_ms) {
        answer->wait_ms = first != NULL ? first->due_ms - now_ms : WAIT_UNKNOWN_MS;
        return false;
    }
    struct entry *entry = is_user ? ENTRY_OF(first, in_user) : ENTRY_OF(first, in_key);
    if (answer->forgotten_n < TICKET_TABLE_FORGOTTEN_MAX)
        memcpy(answer->forgotten[answer->forgotten_n], entry->id, TICKET_ID_BYTES);
    ticket_table_drop(table, entry);
    answer->forgotten_n++;
    return true;
}

/* Whether a share has room for the one that is counted already.  After a limit was lowered it
 * shrinks by one with each. */
static bool ticket_table_has_room(struct ticket_table *table, struct share *share, bool is_user,
                                  size_t most, const struct ticket_table_use *use,
                                  struct ticket_table_answer *answer)
{
    if (most == 0 || share->n <= most)
        return true;
    if (!ticket_table_forget_one(table, share, is_user, use->now_ms, answer))
        return false;
    if (share->n > most)
        ticket_table_forget_one(table, share, is_user, use->now_ms, answer);
    return true;
}

/* Forget until there are no more than the limits allow, the one that is counted already with them.
 */
static enum ticket_table_verdict ticket_table_make_room(struct ticket_table *table,
                                                        const struct entry *entry, bool is_nobody,
                                                        const struct ticket_table_use *use,
                                                        struct ticket_table_answer *answer)
{
    const struct ticket_table_limits *limits = use->limits;
    size_t per_user = is_nobody ? (limits->per_key + 1) / 2 : limits->per_user;

    if (!ticket_table_has_room(table, entry->user, true, per_user, use, answer))
        return is_nobody ? TICKET_TABLE_KEY_FULL : TICKET_TABLE_USER_FULL;
    if (!ticket_table_has_room(table, entry->key, false, limits->per_key, use, answer))
        return TICKET_TABLE_KEY_FULL;
    if (HASH_COUNT(table->entries) > limits->all &&
        !ticket_table_forget_one(table, largest_share(table->keys), false, use->now_ms, answer))
        return TICKET_TABLE_FULL;
    return TICKET_TABLE_GOOD;
}

static bool ticket_table_enter_shares(struct ticket_table *table, struct entry *entry,
                                      const struct ticket *ticket)
{
    const struct identity_piece of_user[] = {{ticket->key_fingerprint, IDENTITY_FINGERPRINT_BYTES},
                                             {ticket->user.bytes, ticket->user.bytes_n}};
    unsigned char mark[IDENTITY_FINGERPRINT_BYTES];

    entry->key = share_enter(&table->keys, ticket->key_fingerprint);
    if (entry->key == NULL || due_heap_reserve(&entry->key->idle, entry->key->n) != 0)
        return false;
    identity_fingerprint(mark, of_user, 2);
    entry->user = share_enter(&table->users, mark);
    return entry->user != NULL && due_heap_reserve(&entry->user->idle, entry->user->n) == 0;
}

/* An entry that is in the table and counted; NULL when out of memory. */
static struct entry *ticket_table_add(struct ticket_table *table, const struct ticket *ticket,
                                      int64_t now_ms)
{
    struct entry *entry = calloc(1, sizeof(*entry));

    if (entry == NULL)
        return NULL;
    memcpy(entry->id, ticket->id, TICKET_ID_BYTES);
    HASH_ADD(hh, table->entries, id, TICKET_ID_BYTES, entry);
    if (entry->hh.tbl == NULL) {
        free(entry);
        return NULL;
    }
    entry->until_ms = ticket->until_ms;
    entry->needed_until_ms =
        ticket->made_ms < table->born_ms ? ticket->until_ms : ticket->first_until_ms;
    entry->first_ms = now_ms;
    entry->from = UINT64_MAX; /* not known before its stream has begun */
    entry->entering = true;
    if (ticket_table_enter_shares(table, entry, ticket) &&
        due_heap_reserve(&table->idle, HASH_COUNT(table->entries)) == 0)
        return entry;
    ticket_table_drop(table, entry);
    return NULL;
}

/* ---- uses; with the lock ---- */

static enum ticket_table_verdict ticket_table_enter_new(struct ticket_table *table,
                                                        const struct ticket *ticket,
                                                        const struct ticket_table_use *use,
                                                        struct ticket_table_answer *answer)
{
    bool in_time = use->now_ms < ticket->first_until_ms;
    bool outlived = ticket->made_ms < table->born_ms && use->has_id &&
                    use->position >= ticket->position && use->position <= use->committed;

    if (!in_time && !outlived)
        return TICKET_TABLE_LATE;
    ticket_table_drop_old(table, use->now_ms);
    struct entry *entry = ticket_table_add(table, ticket, use->now_ms);
    answer->wait_ms = WAIT_UNKNOWN_MS;
    if (entry == NULL)
        return TICKET_TABLE_FULL;
    enum ticket_table_verdict verdict =
        ticket_table_make_room(table, entry, ticket->user.bytes == NULL, use, answer);
    if (verdict != TICKET_TABLE_GOOD)
        ticket_table_drop(table, entry);
    return verdict;
}

/* Whether it has not been taken over too often.  Those that come at once are one. */
static bool ticket_table_may_take_over(struct entry *entry, int64_t now_ms)
{
    if (now_ms - entry->takeovers_since_ms >= TAKEOVERS_MS) {
        entry->takeovers_since_ms = now_ms;
        entry->takeovers_n = 0;
    }
    if (entry->takeovers_n == 0 || now_ms - entry->taken_over_ms >= AT_ONCE_MS) {
        entry->taken_over_ms = now_ms;
        entry->takeovers_n++;
    }
    return entry->takeovers_n <= TICKET_TABLE_TAKEOVERS_MAX;
}

/* What was shown could be the last that its stream sent. */
static bool ticket_table_shows_its_id(const struct entry *entry, const struct ticket_table_use *use)
{
    uint64_t upto = entry->stream_id != 0 ? use->committed : entry->last_sent;

    return use->has_id && use->position >= entry->from && use->position <= upto;
}

/* A page that opens its stream, closes it and opens it again, as frameworks have it that try pages
 * out, has no id to show. */
static bool ticket_table_begins_again(const struct entry *entry, const struct ticket_table_use *use)
{
    return !use->has_id && entry->stream_id == 0 && use->now_ms >= entry->first_ms &&
           use->now_ms - entry->first_ms < AGAIN_MS;
}

/* While another use is on its way to being a stream there is none to take over, so it counts as
 * live and this one came second. */
static enum ticket_table_verdict ticket_table_enter_again(struct ticket_table *table,
                                                          struct entry *entry,
                                                          const struct ticket_table_use *use,
                                                          struct ticket_table_answer *answer)
{
    if (entry->takeovers_n > TICKET_TABLE_TAKEOVERS_MAX)
        return TICKET_TABLE_REVOKED;
    if (entry->entering ||
        (!ticket_table_shows_its_id(entry, use) && !ticket_table_begins_again(entry, use)))
        return TICKET_TABLE_USED;
    answer->older = entry->stream_id;
    if (entry->stream_id != 0 && !ticket_table_may_take_over(entry, use->now_ms))
        return TICKET_TABLE_REVOKED;
    entry->entering = true;
    ticket_table_make_busy(table, entry);
    return TICKET_TABLE_GOOD;
}

/* ---- from outside ---- */

enum ticket_table_verdict ticket_table_enter(struct ticket_table *table,
                                             const struct ticket *ticket,
                                             const struct ticket_table_use *use,
                                             struct ticket_table_answer *ret_answer)
{
    enum ticket_table_verdict verdict = TICKET_TABLE_LATE;

    *ret_answer = (struct ticket_table_answer){.older = 0};
    pthread_mutex_lock(&table->lock);
    struct entry *entry = ticket_table_find(table, ticket->id);
    if (use->now_ms < ticket->until_ms)
        verdict = entry != NULL ? ticket_table_enter_again(table, entry, use, ret_answer)
                                : ticket_table_enter_new(table, ticket, use, ret_answer);
    pthread_mutex_unlock(&table->lock);
    return verdict;
}

void ticket_table_opened(struct ticket_table *table, const unsigned char *id, uint64_t stream_id,
                         uint64_t position)
{
    pthread_mutex_lock(&table->lock);
    struct entry *entry = ticket_table_find(table, id);
    if (entry != NULL) {
        entry->entering = false;
        entry->stream_id = stream_id;
        if (position < entry->from)
            entry->from = position;
        if (position > entry->last_sent)
            entry->last_sent = position;
    }
    pthread_mutex_unlock(&table->lock);
}

void ticket_table_failed(struct ticket_table *table, const unsigned char *id, int64_t now_ms)
{
    pthread_mutex_lock(&table->lock);
    struct entry *entry = ticket_table_find(table, id);
    if (entry != NULL) {
        entry->entering = false;
        if (entry->stream_id == 0)
            ticket_table_make_idle(table, entry, now_ms);
    }
    pthread_mutex_unlock(&table->lock);
}

/* The stream that took over may be there already, or on its way. */
void ticket_table_closed(struct ticket_table *table, const unsigned char *id, uint64_t stream_id,
                         uint64_t position, int64_t now_ms)
{
    pthread_mutex_lock(&table->lock);
    struct entry *entry = ticket_table_find(table, id);
    if (entry != NULL && position > entry->last_sent)
        entry->last_sent = position;
    if (entry != NULL && entry->stream_id == stream_id) {
        entry->stream_id = 0;
        if (!entry->entering)
            ticket_table_make_idle(table, entry, now_ms);
    }
    pthread_mutex_unlock(&table->lock);
}

/* ---- uses that the log decides about; with the lock ---- */

static struct use *ticket_table_find_use(const struct ticket_table *table, uint64_t mark)
{
    struct use *use;

    HASH_FIND(hh, table->uses, &mark, sizeof(mark), use);
    return use;
}

/* NULL when out of memory. */
static struct use *ticket_table_add_use(struct ticket_table *table, struct entry *entry)
{
    struct use *use = calloc(1, sizeof(*use));

    if (use == NULL)
        return NULL;
    do
        arc4random_buf(&use->mark, sizeof(use->mark));
    while (use->mark == 0 || ticket_table_find_use(table, use->mark) != NULL);
    HASH_ADD(hh, table->uses, mark, sizeof(use->mark), use);
    if (use->hh.tbl == NULL) {
        free(use);
        return NULL;
    }
    use->entry = entry;
    LIST_INSERT_HEAD(&entry->uses, use, of_entry);
    ticket_table_make_busy(table, entry);
    return use;
}

/* What was used here, and not taken over elsewhere, counts until it is over. */
static void ticket_table_settle(struct ticket_table *table, struct entry *entry, bool is_taken,
                                int64_t now_ms)
{
    if (!LIST_EMPTY(&entry->uses))
        return;
    if (entry->is_kept && !is_taken)
        ticket_table_make_idle(table, entry, now_ms);
    else
        ticket_table_drop(table, entry);
}

/* An entry for a ticket that was not used here; NULL with a verdict. */
static struct entry *ticket_table_add_shared(struct ticket_table *table,
                                             const struct ticket *ticket,
                                             const struct ticket_table_use *use,
                                             struct ticket_table_answer *answer,
                                             enum ticket_table_verdict *ret_verdict)
{
    ticket_table_drop_old(table, use->now_ms);
    struct entry *entry = ticket_table_add(table, ticket, use->now_ms);
    answer->wait_ms = WAIT_UNKNOWN_MS;
    *ret_verdict = TICKET_TABLE_FULL;
    if (entry == NULL)
        return NULL;
    entry->entering = false;
    entry->needed_until_ms = ticket->first_until_ms; /* by then the log knows it, or it is late */
    *ret_verdict = ticket_table_make_room(table, entry, ticket->user.bytes == NULL, use, answer);
    if (*ret_verdict == TICKET_TABLE_GOOD)
        return entry;
    ticket_table_drop(table, entry);
    return NULL;
}

static enum ticket_table_verdict ticket_table_add_shared_use(struct ticket_table *table,
                                                             const struct ticket *ticket,
                                                             const struct ticket_table_use *use,
                                                             struct ticket_table_answer *answer,
                                                             uint64_t *ret_mark)
{
    struct entry *entry = ticket_table_find(table, ticket->id);
    enum ticket_table_verdict verdict;

    if (use->now_ms >= ticket->until_ms)
        return TICKET_TABLE_LATE;
    if (entry == NULL) {
        entry = ticket_table_add_shared(table, ticket, use, answer, &verdict);
        if (entry == NULL)
            return verdict;
    }
    struct use *added = ticket_table_add_use(table, entry);
    if (added == NULL) {
        ticket_table_settle(table, entry, false, use->now_ms);
        return TICKET_TABLE_FULL;
    }
    *ret_mark = added->mark;
    return TICKET_TABLE_GOOD;
}

/* ---- from outside, among several nodes ---- */

enum ticket_table_verdict ticket_table_share(struct ticket_table *table,
                                             const struct ticket *ticket,
                                             const struct ticket_table_use *use,
                                             struct ticket_table_answer *ret_answer,
                                             uint64_t *ret_mark)
{
    *ret_answer = (struct ticket_table_answer){.older = 0};
    pthread_mutex_lock(&table->lock);
    enum ticket_table_verdict verdict =
        ticket_table_add_shared_use(table, ticket, use, ret_answer, ret_mark);
    pthread_mutex_unlock(&table->lock);
    return verdict;
}

void ticket_table_granted(struct ticket_table *table, uint64_t mark)
{
    pthread_mutex_lock(&table->lock);
    struct use *use = ticket_table_find_use(table, mark);
    if (use != NULL)
        use->entry->is_kept = true;
    pthread_mutex_unlock(&table->lock);
}

bool ticket_table_begun(struct ticket_table *table, uint64_t mark, uint64_t stream_id,
                        uint64_t position)
{
    pthread_mutex_lock(&table->lock);
    struct use *use = ticket_table_find_use(table, mark);
    bool has_ticket = use != NULL && !use->is_taken;
    if (has_ticket) {
        use->stream_id = stream_id;
        use->from = position;
        use->round = table->round;
        TAILQ_INSERT_TAIL(&table->live, use, link);
    }
    pthread_mutex_unlock(&table->lock);
    return has_ticket;
}

uint64_t ticket_table_taken(struct ticket_table *table, uint64_t mark)
{
    uint64_t stream_id = 0;

    pthread_mutex_lock(&table->lock);
    struct use *use = ticket_table_find_use(table, mark);
    if (use != NULL && !use->is_taken) {
        stream_id = use->stream_id;
        if (stream_id != 0)
            TAILQ_REMOVE(&table->live, use, link);
        use->is_taken = true;
    }
    pthread_mutex_unlock(&table->lock);
    return stream_id;
}

void ticket_table_left(struct ticket_table *table, uint64_t mark, int64_t now_ms)
{
    pthread_mutex_lock(&table->lock);
    struct use *use = ticket_table_find_use(table, mark);
    if (use != NULL) {
        struct entry *entry = use->entry;
        bool is_taken = use->is_taken;

        ticket_table_drop_use(table, use);
        ticket_table_settle(table, entry, is_taken, now_ms);
    }
    pthread_mutex_unlock(&table->lock);
}

size_t ticket_table_next_live(struct ticket_table *table, unsigned round,
                              struct ticket_table_live *to, size_t max)
{
    struct use *use;
    size_t n = 0;

    pthread_mutex_lock(&table->lock);
    table->round = round;
    while (n < max && (use = TAILQ_FIRST(&table->live)) != NULL && use->round != round) {
        const struct entry *entry = use->entry;

        to[n] = (struct ticket_table_live){
            .mark = use->mark, .from = use->from, .until_ms = entry->until_ms};
        memcpy(to[n++].id, entry->id, TICKET_ID_BYTES);
        use->round = round;
        TAILQ_REMOVE(&table->live, use, link);
        TAILQ_INSERT_TAIL(&table->live, use, link);
    }
    pthread_mutex_unlock(&table->lock);
    return n;
}

/* ---- both ---- */

size_t ticket_table_count(struct ticket_table *table, int64_t now_ms)
{
    bool has_more = true;
    size_t n = 0;

    while (has_more) {
        pthread_mutex_lock(&table->lock);
        has_more = ticket_table_drop_old(table, now_ms);
        n = HASH_COUNT(table->entries);
        pthread_mutex_unlock(&table->lock);
    }
    return n;
}
