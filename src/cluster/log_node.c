/* SPDX-License-Identifier: MIT */
/* A gateway at the shared log.  See log_node.h. */
#include "config.h"
#include "cluster/log_node.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Attaching at once helps no more when it has not so often, until the next tick. */
#define VAIN_MAX 3
/* What could not be applied is tried anew; after so many ticks without a failure it works again. */
#define TRIAL_TICKS 4

/* The group that the log has, or will be sent. */
struct parcel {
    struct shared_log_group group;
    struct message **events; /* a reference each; none of an order */
    size_t events_n;
    char *body;
    struct shared_log_key *keys;
};

struct log_node {
    struct log_follower follower;
    struct log_node_hooks hooks;
    struct shared_log *log;
    enum log_node_state state;
    bool tries_attach; /* at the next tick */
    struct parcel parcel;
    bool log_has_parcel; /* until its answer */
    uint64_t lost_told;  /* orders, of which the log was told */
    unsigned vain_n;     /* so often it attached for an entry behind this position */
    uint64_t vain_at;
    unsigned trial_ticks; /* still, until it is followed again; 0: it is */
    struct log_valve refused_valve;
};

/* ---- parcels ---- */

static void parcel_clear(struct parcel *parcel)
{
    for (size_t i = 0; i < parcel->events_n; i++)
        message_unref(parcel->events[i]);
    free(parcel->events);
    free(parcel->body);
    free(parcel->keys);
    *parcel = (struct parcel){.body = NULL};
}

static size_t count_keys(struct message *const *events, size_t events_n)
{
    size_t keys_n = 0;

    for (size_t i = 0; i < events_n; i++)
        keys_n += events[i]->key_n > 0;
    return keys_n;
}

static void put_key(struct parcel *parcel, const struct message *event)
{
    struct shared_log_key *key = &parcel->keys[parcel->group.keys_n++];
    XXH128_canonical_t canonical;

    static_assert(sizeof(canonical) == sizeof(key->name), "a key's name has 128 bits");
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(message_key(event), event->key_n));
    memcpy(key->name, &canonical, sizeof(canonical));
    key->digest = message_digest(event);
    key->index = parcel->group.events_n;
}

static void put_event(struct parcel *parcel, struct message *event)
{
    parcel->events[parcel->events_n++] = message_ref(event);
    if (event->key_n > 0)
        put_key(parcel, event);
    parcel->group.events_n += event->kind == MESSAGE_STORED;
}

static int parcel_fill(struct parcel *parcel, struct message *const *events, size_t events_n)
{
    size_t keys_n = count_keys(events, events_n);

    parcel->group.body_n = log_entry_body_bytes(events, events_n);
    parcel->events = calloc(events_n, sizeof(struct message *));
    parcel->body = malloc(parcel->group.body_n);
    parcel->keys = calloc(keys_n + 1, sizeof(parcel->keys[0]));
    if (parcel->events == NULL || parcel->body == NULL || parcel->keys == NULL) {
        parcel_clear(parcel);
        return -ENOMEM;
    }
    for (size_t i = 0; i < events_n; i++)
        put_event(parcel, events[i]);
    assert(parcel->group.events_n > 0);
    log_entry_write_body(parcel->body, events, events_n);
    parcel->group.body = parcel->body;
    parcel->group.keys = parcel->keys;
    return 0;
}

static int parcel_fill_order(struct parcel *parcel, const char *order, size_t order_n)
{
    parcel->group.body_n = log_entry_order_bytes(order_n);
    parcel->body = malloc(parcel->group.body_n);
    if (parcel->body == NULL)
        return -ENOMEM;
    log_entry_write_order(parcel->body, order, order_n);
    parcel->group.body = parcel->body;
    return 0;
}

/* The log counts stored events, who gave them counts all. */
size_t log_node_key_index(const struct log_node *node, size_t key)
{
    const struct parcel *parcel = &node->parcel;
    size_t index = 0;

    assert(key < parcel->group.keys_n);
    for (uint32_t stored_n = 0; index < parcel->events_n; index++)
        if (parcel->events[index]->kind == MESSAGE_STORED && stored_n++ == parcel->keys[key].index)
            break;
    return index;
}

/* ---- the group ---- */

/* Once it is over its publishers are answered; the log may still hold its bytes. */
static void settle(struct log_node *node, const struct shared_log_appended *of)
{
    struct log_group *group = &node->follower.group;

    if (group->state == LOG_GROUP_OVER) {
        struct log_group over = *group;

        log_group_end(group);
        if (!node->log_has_parcel && over.outcome != SHARED_LOG_KEYS)
            parcel_clear(&node->parcel);
        node->hooks.settled(node->hooks.arg, &over, of);
    }
}

/* What the log cannot hold in one entry is refused as if it were full. */
static void answer_too_large(struct log_node *node)
{
    struct shared_log_appended appended = {.seq = node->parcel.group.seq,
                                           .outcome = SHARED_LOG_FULL,
                                           .line = "more than an entry can hold"};

    log_group_sent(&node->follower.group);
    log_follower_appended(&node->follower, &appended);
    settle(node, &appended);
}

static void send_group(struct log_node *node)
{
    struct log_group *group = &node->follower.group;

    if (group->state != LOG_GROUP_READY || !node->follower.attached || node->log_has_parcel)
        return;
    int result = shared_log_append(node->log, &node->parcel.group);
    if (result == 0) {
        log_group_sent(group);
        node->log_has_parcel = true;
    } else if (result == -EFBIG) {
        answer_too_large(node);
    }
}

bool log_node_is_free(const struct log_node *node)
{
    return node->follower.group.state == LOG_GROUP_NONE && !node->log_has_parcel;
}

static void begin_group(struct log_node *node)
{
    struct log_group *group = &node->follower.group;

    log_group_begin(group, node->parcel.group.events_n);
    node->parcel.group.seq = group->seq;
    send_group(node);
}

int log_node_append(struct log_node *node, struct message *const *events, size_t events_n)
{
    assert(log_node_is_free(node));
    parcel_clear(&node->parcel);
    if (parcel_fill(&node->parcel, events, events_n) != 0)
        return -ENOMEM;
    begin_group(node);
    return 0;
}

int log_node_append_order(struct log_node *node, const char *order, size_t order_n)
{
    assert(log_node_is_free(node));
    parcel_clear(&node->parcel);
    if (parcel_fill_order(&node->parcel, order, order_n) != 0)
        return -ENOMEM;
    begin_group(node);
    return 0;
}

void log_node_give_up(struct log_node *node)
{
    log_group_give_up(&node->follower.group);
    settle(node, NULL);
}

/* ---- attaching ---- */

static void set_state(struct log_node *node, enum log_node_state state, const char *line)
{
    if (state == node->state && line[0] == '\0')
        return;
    node->state = state;
    node->hooks.state(node->hooks.arg, state, line);
}

/* In vain, but the next tick tries again. */
static void attach_later(struct log_node *node, const char *line)
{
    node->tries_attach = true;
    set_state(node, LOG_NODE_ATTACHING, line);
}

static void attach(struct log_node *node)
{
    char epoch_new[SSE_EPOCH_BYTES + 1];
    struct shared_log_node as;

    if (history_draw_epoch(epoch_new) != 0) {
        attach_later(node, "no random bytes for an epoch");
        return;
    }
    log_follower_attach(&node->follower, epoch_new, &as);
    node->tries_attach = false;
    set_state(node, LOG_NODE_ATTACHING, "");
    if (shared_log_attach(node->log, &as) != 0)
        node->tries_attach = true;
}

static void node_up(void *arg)
{
    struct log_node *node = arg;

    if (node->state != LOG_NODE_STOPPED)
        attach(node);
}

static void node_down(void *arg, enum shared_log_outcome why, const char *line)
{
    struct log_node *node = arg;

    node->follower.attached = node->tries_attach = false;
    if (node->state != LOG_NODE_STOPPED)
        set_state(node, LOG_NODE_DOWN, line[0] != '\0' ? line : shared_log_outcome_text(why));
}

static void follow(struct log_node *node)
{
    const struct log_follower *follower = &node->follower;

    if (shared_log_tail(node->log, log_follower_newest(follower), follower->sub) != 0) {
        node->follower.attached = false;
        attach_later(node, "");
        return;
    }
    if (node->trial_ticks == 0)
        set_state(node, LOG_NODE_FOLLOWING, "");
    send_group(node);
}

static void node_attached(void *arg, enum shared_log_outcome outcome,
                          struct shared_log_state *state, const char *line)
{
    struct log_node *node = arg;
    struct log_follower_cut cut;

    if (outcome != SHARED_LOG_DONE) {
        attach_later(node, line[0] != '\0' ? line : shared_log_outcome_text(outcome));
        return;
    }
    enum log_follower_result result = log_follower_attached(&node->follower, state, &cut);
    if (cut.is_cut || cut.gap != LOG_FOLLOWER_NO_GAP)
        node->hooks.cut(node->hooks.arg, &cut);
    settle(node, NULL);
    if (result == LOG_FOLLOWER_FINE)
        follow(node);
    else
        attach_later(node, strerrordesc_np(-node->follower.error));
}

/* ---- the tail ---- */

/* Whether it attaches again and again behind the same position. */
static bool attaches_in_vain(struct log_node *node)
{
    uint64_t newest = log_follower_newest(&node->follower);

    if (newest != node->vain_at)
        node->vain_n = 0;
    node->vain_at = newest;
    return ++node->vain_n > VAIN_MAX;
}

/* What failed may fail again: nothing is published here until it works. */
static void try_later(struct log_node *node)
{
    node->trial_ticks = TRIAL_TICKS;
    attach_later(node, strerrordesc_np(-node->follower.error));
}

static void end_trial(struct log_node *node)
{
    if (node->trial_ticks == 0)
        return;
    node->trial_ticks = 0;
    set_state(node, LOG_NODE_FOLLOWING, "");
}

static void leave_tail(struct log_node *node, enum log_follower_result result)
{
    switch (result) {
    case LOG_FOLLOWER_FORMAT:
        set_state(node, LOG_NODE_STOPPED,
                  "the log has entries of a later version: upgrade this node");
        break;
    case LOG_FOLLOWER_FAILED:
        try_later(node);
        break;
    default:
        if (attaches_in_vain(node))
            attach_later(node, "what stands there cannot be read, and attaching anew does not "
                               "help: something else writes into the log");
        else
            attach(node);
    }
}

/* The name of its node is the writer without the incarnation. */
static void give_order(struct log_node *node, struct log_follower_batch *batch)
{
    char *dot = strrchr(batch->order_writer, '.');

    if (dot != NULL)
        *dot = '\0';
    node->hooks.order(node->hooks.arg, batch->order_writer, batch->order_seq, batch->order,
                      batch->order_n);
}

static void hand_out(struct log_node *node, struct log_follower_batch *batch)
{
    if (batch->events_n > 0)
        node->hooks.events(node->hooks.arg, batch->events, batch->events_n);
    if (batch->order != NULL)
        give_order(node, batch);
}

static void tell_lost(struct log_node *node)
{
    uint64_t lost = node->follower.orders_lost - node->lost_told;

    if (lost == 0)
        return;
    node->lost_told += lost;
    log_warning("%" PRIu64 " orders of other nodes, such as ending a stream, are lost to this one: "
                "the log no longer has them, or they cannot be read",
                lost);
}

static bool node_entries(void *arg, const struct shared_log_entry *entries, size_t entries_n)
{
    struct log_node *node = arg;
    struct log_follower_batch batch;
    enum log_follower_result result;

    do {
        result = log_follower_entries(&node->follower, entries, entries_n, &batch);
        entries += batch.entries_n;
        entries_n -= batch.entries_n;
        hand_out(node, &batch);
        log_follower_batch_clear(&batch);
        settle(node, NULL);
    } while (result == LOG_FOLLOWER_FINE && entries_n > 0);
    tell_lost(node);
    if (result == LOG_FOLLOWER_FINE) {
        end_trial(node);
        return true;
    }
    leave_tail(node, result);
    return false;
}

static void node_ended(void *arg)
{
    struct log_node *node = arg;

    if (node->follower.attached)
        attach(node);
}

/* Publishers are told a word, and what it is about only the operator can change. */
static void tell_refused(struct log_node *node, const struct shared_log_appended *appended)
{
    char more[LOG_SKIPPED_BYTES];
    unsigned long skipped;

    if ((appended->outcome == SHARED_LOG_REFUSED || appended->outcome == SHARED_LOG_FULL) &&
        log_valve_open(&node->refused_valve, &skipped))
        log_warning("the shared log does not take what is published here: %s%s", appended->line,
                    log_skipped(more, skipped));
}

static void node_appended(void *arg, const struct shared_log_appended *appended)
{
    struct log_node *node = arg;
    enum log_follower_result result = log_follower_appended(&node->follower, appended);

    node->log_has_parcel = false;
    tell_refused(node, appended);
    settle(node, appended);
    if (log_node_is_free(node)) /* given up while the log had it, or nothing was left to append */
        parcel_clear(&node->parcel);
    if (result == LOG_FOLLOWER_TERM && node->follower.attached)
        attach(node);
}

static void node_heard(void *arg, const char *bytes, size_t bytes_n)
{
    struct log_node *node = arg;

    node->hooks.heard(node->hooks.arg, bytes, bytes_n);
}

/* ---- life ---- */

struct log_node *log_node_new(struct history *history, const char *writer,
                              const struct log_node_hooks *hooks)
{
    struct log_node *node = calloc(1, sizeof(*node));

    if (node == NULL)
        return NULL;
    log_follower_init(&node->follower, history, writer);
    node->hooks = *hooks;
    return node;
}

struct shared_log_hooks log_node_log_hooks(struct log_node *node)
{
    return (struct shared_log_hooks){
        .up = node_up,
        .down = node_down,
        .attached = node_attached,
        .appended = node_appended,
        .entries = node_entries,
        .ended = node_ended,
        .heard = node_heard,
        .arg = node,
    };
}

void log_node_set_account(struct log_node *node, _Atomic int64_t *account)
{
    node->follower.account = account;
}

void log_node_count_from(struct log_node *node, uint64_t seq)
{
    node->follower.group.seq = seq;
}

void log_node_open(struct log_node *node, struct shared_log *log)
{
    node->log = log;
    shared_log_open(log);
}

void log_node_free(struct log_node *node)
{
    if (node == NULL)
        return;
    shared_log_free(node->log);
    parcel_clear(&node->parcel);
    free(node);
}

void log_node_tick(struct log_node *node)
{
    node->vain_n = 0;
    if (node->tries_attach && node->state != LOG_NODE_STOPPED)
        attach(node);
    else if (node->follower.attached && node->trial_ticks > 0 && --node->trial_ticks == 0)
        set_state(node, LOG_NODE_FOLLOWING, "");
    send_group(node);
}

enum log_node_state log_node_state(const struct log_node *node)
{
    return node->state;
}

const struct log_group *log_node_group(const struct log_node *node)
{
    return &node->follower.group;
}

struct shared_log *log_node_log(struct log_node *node)
{
    return node->log;
}

uint64_t log_node_orders_lost(const struct log_node *node)
{
    return node->follower.orders_lost;
}
