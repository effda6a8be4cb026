/* SPDX-License-Identifier: MIT */
/* A hub that shares one order with others: its loop, what others may know of it, and its end.  See
 * hub_share.h. */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "hub/hub_share_internal.h"

/* Deadlines are looked at so often, and what did not work is tried again. */
#define TICK_MS 50
#define ATTACH_MS 250
/* The log's last word is asked so often. */
#define ASK_MS 1000
/* The operator is told again while the log cannot be had. */
#define TELL_MS 10000
/* What is under way at the end may take so long, and then giving the lease up. */
#define END_NS (2 * INT64_C(1000000000))
#define LEAVE_NS INT64_C(1000000000)

bool share_follows(const struct hub_share *share)
{
    return share->node != NULL && log_node_state(share->node) == LOG_NODE_FOLLOWING;
}

/* ---- what others may know ---- */

static void note_state(struct hub_share *share, enum log_node_state state, const char *line)
{
    pthread_mutex_lock(&share->lock);
    share->facts.follows_n += state == LOG_NODE_FOLLOWING;
    share->facts.state = state;
    share->hub->is_cut_off = state != LOG_NODE_FOLLOWING;
    snprintf(share->facts.line, sizeof(share->facts.line), "%s", line);
    pthread_mutex_unlock(&share->lock);
}

static void tell_down(struct hub_share *share, const char *line)
{
    int64_t now_ms = clock_mono_ms();

    if (share->told_ms != 0 && now_ms - share->told_ms < TELL_MS)
        return;
    share->told_ms = now_ms;
    log_warning("the shared log is not followed%s%s: streams are served, publishes wait for "
                "limits.queue_age",
                line[0] != '\0' ? ": " : "", line);
}

static void on_state(void *arg, enum log_node_state state, const char *line)
{
    struct hub_share *share = arg;

    if (state == LOG_NODE_FOLLOWING) {
        if (share->cut_off_ms != 0)
            log_info("following the shared log, epoch %s", history_epoch(share->hub->history));
        share->cut_off_ms = share->told_ms = 0;
        share->asks_soon = true;
        share_tell_lineage(share); /* a term may begin without a cut, and without an event */
    } else if (state == LOG_NODE_STOPPED) {
        log_error("the shared log is not followed any more: %s", line);
    } else if (share->cut_off_ms == 0) {
        share->cut_off_ms = clock_mono_ms();
    }
    /* attaching anew is usual; that it does not work is not */
    if (state == LOG_NODE_DOWN || (state == LOG_NODE_ATTACHING && line[0] != '\0'))
        tell_down(share, line);
    note_state(share, state, line);
}

static void note_word(struct hub_share *share)
{
    const struct shared_log_question *question = &share->question;
    struct hub_share_facts *facts = &share->facts;

    pthread_mutex_lock(&share->lock);
    memcpy(facts->epoch, question->epoch, sizeof(facts->epoch));
    facts->head = question->head;
    facts->asked_ms = share->asked_ms;
    facts->nodes_n = 0;
    for (size_t i = 0; i < question->nodes_n && i < HUB_SHARE_NODES_MAX; i++)
        snprintf(facts->nodes[facts->nodes_n++], SHARED_LOG_NODE_BYTES, "%s", question->nodes[i]);
    pthread_mutex_unlock(&share->lock);
}

static void on_word(struct shared_log_question *question)
{
    struct hub_share *share =
        (struct hub_share *)((char *)question - offsetof(struct hub_share, question));

    share->asks = false;
    if (question->outcome == SHARED_LOG_DONE)
        note_word(share);
}

static void ask_for_word(struct hub_share *share, int64_t now_ms)
{
    if (share->asks || !share_follows(share) ||
        (!share->asks_soon && now_ms - share->asked_ms < ASK_MS))
        return;
    share->asks = true;
    share->asks_soon = false;
    share->asked_ms = now_ms;
    share->question =
        (struct shared_log_question){.kind = SHARED_LOG_ASK_HEAD, .answered = on_word};
    shared_log_ask(log_node_log(share->node), &share->question);
}

/* Whether this node had all that the log had when it was last asked. */
static void note_progress(struct hub_share *share, int64_t now_ms)
{
    struct hub_share_facts *facts = &share->facts;
    bool follows = share_follows(share);

    pthread_mutex_lock(&share->lock);
    if (follows && facts->asked_ms != 0 && share->hub->committed >= facts->head &&
        strcmp(facts->epoch, history_epoch(share->hub->history)) == 0)
        share->caught_up_ms = facts->asked_ms;
    /* between two words nothing is known, which is no lag */
    bool is_fresh = now_ms - share->caught_up_ms < 2 * ASK_MS;
    facts->behind_ms = follows && is_fresh ? 0 : now_ms - share->caught_up_ms;
    facts->cut_off_ms = share->cut_off_ms != 0 ? now_ms - share->cut_off_ms : 0;
    pthread_mutex_unlock(&share->lock);
}

bool hub_shares(const struct hub *hub)
{
    return hub->share != NULL;
}

void hub_share_get_facts(struct hub *hub, struct hub_share_facts *ret_facts)
{
    struct hub_share *share = hub->share;

    pthread_mutex_lock(&share->lock);
    *ret_facts = share->facts;
    pthread_mutex_unlock(&share->lock);
}

void hub_share_ask_soon(struct hub *hub)
{
    hub->share->asks_soon = true;
    hub_share_wake(hub->share);
}

/* ---- tasks of others ---- */

bool hub_share_run(struct hub *hub, struct hub_share_task *task)
{
    struct hub_share *share = hub->share;

    pthread_mutex_lock(&share->lock);
    bool is_open = share->is_open;
    if (is_open)
        STAILQ_INSERT_TAIL(&share->tasks, task, link);
    pthread_mutex_unlock(&share->lock);
    if (is_open)
        hub_share_wake(share);
    return is_open;
}

static struct hub_share_task *take_task(struct hub_share *share)
{
    pthread_mutex_lock(&share->lock);
    struct hub_share_task *task = STAILQ_FIRST(&share->tasks);
    if (task != NULL)
        STAILQ_REMOVE_HEAD(&share->tasks, link);
    pthread_mutex_unlock(&share->lock);
    return task;
}

static void run_tasks(struct hub_share *share)
{
    struct shared_log *log = share->node != NULL ? log_node_log(share->node) : NULL;
    struct hub_share_task *task;

    while ((task = take_task(share)) != NULL)
        task->run(task, log);
}

/* ---- the loop ---- */

void hub_share_wake(struct hub_share *share)
{
    eventfd_write(share->wake_fd, 1);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    eventfd_t count;

    (void)what, (void)arg;
    eventfd_read(fd, &count);
}

/* What it wakes the loop for is done there. */
static void on_gather(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct hub_share *share = arg;
    int64_t now_ms = clock_mono_ms();

    (void)fd, (void)what;
    if (now_ms - share->ticked_ms >= ATTACH_MS) {
        share->ticked_ms = now_ms;
        log_node_tick(share->node);
    }
    if (log_node_state(share->node) == LOG_NODE_DOWN)
        tell_down(share, share->facts.line);
    share_release_held(share);
    note_progress(share, now_ms);
    stats_set(&share->hub->stats, STATS_ORDERS_LOST, (int64_t)log_node_orders_lost(share->node));
}

static bool step(struct hub_share *share, bool more)
{
    struct hub *hub = share->hub;

    run_tasks(share);
    share_pull(share);
    share_expire(share, clock_mono_ns());
    share_begin_group(share);
    share_flush(share);
    ask_for_word(share, clock_mono_ms());
    more = hub_keep_house(hub, more);
    history_settle(hub->history);
    return hub_step_backup(hub) || more;
}

/* What the hub is to do, and whether nothing is left to be answered before. */
static bool is_to_end(struct hub_share *share, bool *ret_stopping)
{
    struct hub *hub = share->hub;

    pthread_mutex_lock(&hub->lock);
    bool leaves = hub->mode != HUB_OWNS;
    *ret_stopping = hub->stopping;
    bool is_idle = !share->has_turn &&
                   (leaves || (STAILQ_EMPTY(&hub->waiting) && STAILQ_EMPTY(&share->queued)));
    pthread_mutex_unlock(&hub->lock);
    share->takes_none = leaves;
    return (leaves || *ret_stopping) && is_idle;
}

/* At the end what cannot be had now is not waited for. */
static void hurry(struct hub_share *share, int64_t *begun_ns)
{
    int64_t now_ns = clock_mono_ns();

    if (*begun_ns == 0)
        *begun_ns = now_ns;
    if (share_follows(share) && now_ns - *begun_ns < END_NS)
        return;
    if (share->has_turn)
        log_node_give_up(share->node);
    share_refuse_queued(share, HUB_LOG_UNREACHABLE);
}

static void serve(struct hub_share *share)
{
    int64_t ending_ns = 0;
    bool stopping, more = false;

    while (!is_to_end(share, &stopping)) {
        if (share->takes_none || stopping)
            hurry(share, &ending_ns);
        event_base_loop(share->base, more ? EVLOOP_NONBLOCK : EVLOOP_ONCE);
        more = step(share, more);
    }
    share_flush(share);
}

/* ---- beginning and end ---- */

static void set_open(struct hub_share *share, bool is_open)
{
    pthread_mutex_lock(&share->lock);
    share->is_open = is_open;
    pthread_mutex_unlock(&share->lock);
}

static bool open_log(struct hub_share *share)
{
    struct log_node_hooks hooks = {.cut = share_cut,
                                   .events = share_events,
                                   .settled = share_settled,
                                   .order = share_order,
                                   .state = on_state,
                                   .heard = share_heard,
                                   .arg = share};

    share->node = log_node_new(share->hub->history, share->conf.writer, &hooks);
    if (share->node == NULL)
        return false;
    log_node_set_account(share->node, share->conf.account);
    log_node_count_from(share->node, share->group_seq);
    struct shared_log_hooks log_hooks = log_node_log_hooks(share->node);
    struct shared_log *log = share->conf.make(share->conf.arg, share->base, &log_hooks);
    if (log == NULL)
        return false;
    share->cut_off_ms = share->caught_up_ms = clock_mono_ms();
    share->has_left = share->asks = false;
    log_node_open(share->node, log);
    return true;
}

static void on_left(void *arg)
{
    ((struct hub_share *)arg)->has_left = true;
}

/* So that another process may have the name at once. */
static void leave(struct hub_share *share)
{
    int64_t until_ns = clock_mono_ns() + LEAVE_NS;

    if (share->conf.leave(share->conf.arg, log_node_log(share->node), on_left, share) != 0)
        return;
    while (!share->has_left && clock_mono_ns() < until_ns)
        event_base_loop(share->base, EVLOOP_ONCE);
}

/* What was not begun is for who has the store next. */
static void give_back(struct hub_share *share)
{
    struct hub *hub = share->hub;

    pthread_mutex_lock(&hub->lock);
    STAILQ_CONCAT(&share->queued, &hub->waiting);
    STAILQ_CONCAT(&hub->waiting, &share->queued);
    pthread_mutex_unlock(&hub->lock);
}

static void close_log(struct hub_share *share)
{
    leave(share);
    set_open(share, false);
    run_tasks(share);
    share_flush(share); /* what came while it was left */
    share_drop_held(share);
    share->group_seq = log_node_group(share->node)->seq;
    log_node_free(share->node);
    share->node = NULL;
    note_state(share, LOG_NODE_DOWN, "");
    share->hub->is_cut_off = false; /* what waits now does so for who has the store next */
    run_tasks(share);
    give_back(share);
}

/* With the lock, which is let go of meanwhile.  Returns whether the hub has nobody to answer. */
static bool refuse_waiting(struct hub *hub)
{
    struct hub_ops ops = STAILQ_HEAD_INITIALIZER(ops);

    if (hub->mode != HUB_OWNS || STAILQ_EMPTY(&hub->waiting))
        return true;
    STAILQ_CONCAT(&ops, &hub->waiting);
    pthread_mutex_unlock(&hub->lock);
    hub_answer_unserved(hub, &ops);
    pthread_mutex_lock(&hub->lock);
    return false;
}

void hub_share_serve(struct hub *hub)
{
    struct hub_share *share = hub->share;
    const struct timeval tick = {.tv_usec = TICK_MS * 1000};

    pthread_mutex_unlock(&hub->lock);
    if (!open_log(share))
        log_abort_without_memory("hub");
    set_open(share, true);
    event_add(share->tick, &tick);
    serve(share);
    close_log(share);
    event_del(share->tick);
    pthread_mutex_lock(&hub->lock);
    while (!refuse_waiting(hub))
        continue;
}

int hub_share(struct hub *hub, const struct hub_share_conf *conf)
{
    struct hub_share *share = calloc(1, sizeof(*share));

    assert(!hub->started && hub->share == NULL);
    if (share == NULL)
        return -ENOMEM;
    share->hub = hub;
    share->conf = *conf;
    share->facts.node = conf->node;
    hub->durability = conf->promise;
    hub->is_cut_off = true;
    STAILQ_INIT(&share->queued);
    STAILQ_INIT(&share->turn.ops);
    STAILQ_INIT(&share->answers);
    TAILQ_INIT(&share->held);
    STAILQ_INIT(&share->tasks);
    pthread_mutex_init(&share->lock, NULL);
    share->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    share->base = event_base_new();
    if (share->wake_fd >= 0 && share->base != NULL) {
        share->wake = event_new(share->base, share->wake_fd, EV_READ | EV_PERSIST, on_wake, share);
        share->tick = event_new(share->base, -1, EV_PERSIST, on_tick, share);
        share->gather = event_new(share->base, -1, 0, on_gather, share);
    }
    hub->taken = idempotency_table_new();
    hub->share = share;
    if (share->wake == NULL || share->tick == NULL || share->gather == NULL || hub->taken == NULL ||
        event_add(share->wake, NULL) != 0)
        return -ENOMEM; /* hub_free() frees it */
    return 0;
}

void hub_share_free(struct hub_share *share)
{
    if (share == NULL)
        return;
    if (share->wake != NULL)
        event_free(share->wake);
    if (share->tick != NULL)
        event_free(share->tick);
    if (share->gather != NULL)
        event_free(share->gather);
    if (share->base != NULL)
        event_base_free(share->base);
    if (share->wake_fd >= 0)
        close(share->wake_fd);
    pthread_mutex_destroy(&share->lock);
    free(share->events);
    free(share->places);
    free(share);
}
