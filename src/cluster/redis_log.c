/* SPDX-License-Identifier: MIT */
/* The shared log on a Redis: its connections, and what is done from time to time.  See redis_log.h.
 */
#include "config.h"
#include "cluster/redis_log.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/log_entry.h"
#include "cluster/redis_log_internal.h"

/* A node renews its lease so often while it lasts. */
#define RENEWALS 5
#define CHANNELS_N 2
/* What one answer of the append connection has at most: 1,000 keys that are taken. */
#define APPEND_REPLY_BYTES (1 << 20)
#define TALK_REPLY_BYTES (32 << 20)
/* Of one entry on the wire, beside its body. */
#define ENTRY_BYTES 4096
/* Commands under way, and bytes that the server does not take; what nodes say beyond is not sent.
 */
#define SAYING_MAX 10000
#define SAYING_BYTES_MAX ((size_t)16 << 20)

/* ---- answers ---- */

const char *redis_log_word(const redisReply *reply, size_t i)
{
    if (reply->type != REDIS_REPLY_ARRAY || i >= reply->elements ||
        reply->element[i]->type != REDIS_REPLY_STRING)
        return "";
    return reply->element[i]->str;
}

bool redis_log_number(const redisReply *reply, size_t i, uint64_t *ret_number)
{
    const char *text = redis_log_word(reply, i);
    char *end;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *ret_number = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' && *ret_number <= SHARED_LOG_POSITION_MAX;
}

enum shared_log_outcome redis_log_outcome_of(enum redis_fault fault)
{
    switch (fault) {
    case REDIS_FINE:
        return SHARED_LOG_DONE;
    case REDIS_OOM:
    case REDIS_MISCONF:
        return SHARED_LOG_FULL;
    case REDIS_NOAUTH:
    case REDIS_WRONGPASS:
    case REDIS_NOPERM:
    case REDIS_UNKNOWN:
    case REDIS_UNTRUSTED:
        return SHARED_LOG_REFUSED;
    case REDIS_WRONGTYPE:
    case REDIS_ERROR:
        return SHARED_LOG_DAMAGED;
    default:
        return redis_fault_is_end(fault) ? SHARED_LOG_LOST : SHARED_LOG_UNREACHABLE;
    }
}

/* "MOVED 3999 host:port" */
static void log_follow_move(struct redis_log *log, const redisReply *reply)
{
    const char *at = strrchr(reply->str, ' ');
    struct redis_place place;

    if (at != NULL && redis_place_parse(at + 1, strlen(at + 1), 0, &place) == NULL)
        redis_find_moved(log->find, &place);
}

bool redis_log_stands(struct redis_log *log, enum redis_fault fault, const redisReply *reply)
{
    if (reply == NULL)
        return false; /* the connection's end tells why */
    if (!redis_fault_is_elsewhere(fault))
        return true;
    if (fault == REDIS_MOVED)
        log_follow_move(log, reply);
    redis_log_down(log, SHARED_LOG_UNREACHABLE, reply->str);
    return false;
}

/* ---- down ---- */

static void log_close_links(struct redis_log *log)
{
    log->is_closing = true;
    log->is_up = log->is_attached = log->is_tailing = false;
    redis_link_close(log->append_link);
    redis_link_close(log->tail_link);
    redis_link_close(log->talk_link);
    cluster_check_free(log->check); /* if it was pausing */
    log->check = NULL;
    event_del(log->tick);
    log->is_closing = false;
}

/* The owner is told once, and again when the reason is another. */
static void log_tell_down(struct redis_log *log, enum shared_log_outcome why, const char *line)
{
    if (log->was_told && log->told == why && strcmp(log->told_line, line) == 0)
        return;
    log->was_told = true;
    log->told = why;
    snprintf(log->told_line, sizeof(log->told_line), "%s", line);
    log->shared.hooks.down(log->shared.hooks.arg, why, log->told_line);
}

void redis_log_down(struct redis_log *log, enum shared_log_outcome why, const char *line)
{
    char text[REDIS_LOG_LINE_BYTES];

    if (log->is_closing)
        return;
    snprintf(text, sizeof(text), "%s", line);
    log_close_links(log);
    redis_find_again(log->find);
    log_tell_down(log, why, text);
}

/* What somebody has to do; "": wait. */
static const char *log_advice(enum redis_fault fault)
{
    switch (fault) {
    case REDIS_NOAUTH:
        return "; set cluster.password";
    case REDIS_WRONGPASS:
        return "; set cluster.user and cluster.password to what the server has";
    case REDIS_NOPERM:
        return "; give cluster.user the rights that the recipe in contrib has";
    case REDIS_UNTRUSTED:
        return "; rediss:// needs a certificate for this name, from an issuer that is trusted here";
    default:
        return "";
    }
}

static void log_on_down(void *arg, enum redis_fault fault, const char *why)
{
    struct redis_log *log = arg;
    bool is_refused = redis_log_outcome_of(fault) == SHARED_LOG_REFUSED;
    char place[REDIS_PLACE_TEXT_BYTES], text[REDIS_LOG_LINE_BYTES];

    redis_place_text(redis_link_place(log->append_link), place);
    snprintf(text, sizeof(text), "%.150s: %.40s: %.150s%s", place, redis_fault_text(fault), why,
             log_advice(fault));
    redis_log_down(log, is_refused ? SHARED_LOG_REFUSED : SHARED_LOG_UNREACHABLE, text);
}

/* ---- from time to time ---- */

static void log_set_tick(struct redis_log *log)
{
    int64_t wait_ms = log->conf.lease_ms / RENEWALS;
    struct timeval wait = {.tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000};

    event_add(log->tick, &wait);
}

static void log_renewed(void *arg, enum redis_fault fault, const redisReply *reply)
{
    struct redis_log *log = arg;
    char text[REDIS_LOG_LINE_BYTES];

    if (fault == REDIS_NOSCRIPT)
        redis_scripts_forget(&log->scripts);
    if (!redis_log_stands(log, fault, reply) || fault != REDIS_FINE)
        return; /* the next one comes soon, and a lease lasts some of them */
    if (strcmp(redis_log_word(reply, 0), "TAKEN") == 0) {
        snprintf(text, sizeof(text),
                 "another process has taken the lease of cluster.node=%s: give each gateway a name "
                 "of its own",
                 log->conf.node);
        redis_log_down(log, SHARED_LOG_REFUSED, text);
    } else if (log->is_attached && !log->is_attaching &&
               (strcmp(redis_log_word(reply, 0), "OK") != 0 ||
                strcmp(redis_log_word(reply, 1), log->epoch) != 0)) {
        log->shared.hooks.ended(log->shared.hooks.arg);
    }
}

static int log_renew(struct redis_log *log, const char *for_ms, redis_link_done *done, void *arg)
{
    return redis_script_call_texts(log->append_link, &log->scripts, REDIS_SCRIPT_LEASE, 3,
                                   log->conf.timeout_ms, done, arg, log->lease_key, log->meta_key,
                                   log->nodes_key, log->conf.incarnation, log->lease, for_ms,
                                   log->conf.node, log->abandoned, (char *)NULL);
}

static void log_trim(struct redis_log *log);

static void log_trimmed(void *arg, enum redis_fault fault, const redisReply *reply)
{
    struct redis_log *log = arg;

    log->is_trimming = false;
    if (fault == REDIS_NOSCRIPT)
        redis_scripts_forget(&log->scripts);
    if (!redis_log_stands(log, fault, reply) || fault != REDIS_FINE)
        return;
    if (reply->type == REDIS_REPLY_INTEGER && reply->integer > 0)
        log_trim(log); /* a call forgets so many that it is short */
}

static void log_trim(struct redis_log *log)
{
    char age[24], bytes[24];

    if (log->is_trimming)
        return;
    snprintf(age, sizeof(age), "%" PRId64, log->conf.log_age_ms);
    snprintf(bytes, sizeof(bytes), "%" PRIu64, log->conf.log_bytes);
    log->is_trimming =
        redis_script_call_texts(log->append_link, &log->scripts, REDIS_SCRIPT_TRIM, 2,
                                log->conf.timeout_ms, log_trimmed, log, log->log_key, log->meta_key,
                                age, bytes, log->writer, (char *)NULL) == 0;
}

/* The talk connection would not notice by itself that nobody is there. */
static void log_ponged(void *arg, enum redis_fault fault, const redisReply *reply)
{
    redis_log_stands(arg, fault, reply);
}

static void log_on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct redis_log *log = arg;

    (void)fd, (void)what;
    log_set_tick(log);
    log_renew(log, log->lease_text, log_renewed, log);
    log_trim(log);
    redis_link_ask(log->talk_link, log->conf.timeout_ms, log_ponged, log, "PING");
}

/* ---- up ---- */

static void log_when_up(struct redis_log *log)
{
    if (log->is_up || !redis_link_is_up(log->tail_link) || log->listens_n < CHANNELS_N)
        return;
    log->is_up = true;
    redis_find_works(log->find);
    if (!log->conf.is_trial) {
        log_renew(log, log->lease_text, log_renewed, log);
        log_set_tick(log);
    }
    log->was_told = false;
    log->shared.hooks.up(log->shared.hooks.arg);
}

static void log_tail_up(void *arg)
{
    log_when_up(arg);
}

static void log_listens(void *arg, enum redis_fault fault, const redisReply *reply)
{
    struct redis_log *log = arg;
    char text[300];

    if (!redis_log_stands(log, fault, reply))
        return;
    if (fault != REDIS_FINE) {
        snprintf(
            text, sizeof(text),
            "cluster.user must be allowed SUBSCRIBE on the channels {%.60s}* (the server says: "
            "%.120s)",
            log->conf.prefix, reply->str);
        redis_log_down(log, SHARED_LOG_REFUSED, text);
        return;
    }
    log->listens_n++;
    log_when_up(log);
}

static void log_talk_up(void *arg)
{
    struct redis_log *log = arg;

    log->listens_n = 0;
    if (redis_link_subscribe(log->talk_link, log->live_channel, log->conf.timeout_ms, log_listens,
                             log) != 0 ||
        redis_link_subscribe(log->talk_link, log->my_channel, log->conf.timeout_ms, log_listens,
                             log) != 0)
        redis_log_down(log, SHARED_LOG_UNREACHABLE, "out of memory");
}

static void log_heard(void *arg, const redisReply *channel, const redisReply *text)
{
    struct redis_log *log = arg;

    (void)channel;
    log->shared.hooks.heard(log->shared.hooks.arg, text->str, (size_t)text->len);
}

static void log_checked(void *arg, enum cluster_verdict verdict, const char *line)
{
    struct redis_log *log = arg;
    char text[512];

    snprintf(text, sizeof(text), "%s", line);
    snprintf(log->abandoned, sizeof(log->abandoned), "%s", cluster_check_abandoned(log->check));
    cluster_check_free(log->check);
    log->check = NULL;
    if (log->is_closing)
        return;
    if (verdict != CLUSTER_GOOD) {
        redis_log_down(
            log, verdict == CLUSTER_REFUSED ? SHARED_LOG_REFUSED : SHARED_LOG_UNREACHABLE, text);
        return;
    }
    log->was_checked = true;
    redis_link_open(log->tail_link, redis_link_place(log->append_link));
    redis_link_open(log->talk_link, redis_link_place(log->append_link));
}

static void log_append_up(void *arg)
{
    struct redis_log *log = arg;
    const struct redis_log_conf *conf = &log->conf;
    struct cluster_check_conf wanted = {.prefix = conf->prefix,
                                        .node = conf->node,
                                        .incarnation = conf->incarnation,
                                        .promise = conf->promise,
                                        .replicas = conf->replicas,
                                        .assumes_disk = conf->assumes_disk,
                                        .timeout_ms = conf->timeout_ms,
                                        .lease_ms = conf->lease_ms,
                                        .is_quiet = log->was_checked,
                                        .skips_lease = conf->is_trial};

    redis_scripts_forget(&log->scripts);
    log->check = cluster_check_begin(log->base, log->append_link, &wanted, log_checked, log);
    if (log->check == NULL)
        redis_log_down(log, SHARED_LOG_UNREACHABLE, "out of memory");
}

/* Another server, or the same one again. */
static void log_found(void *arg, const struct redis_place *place)
{
    struct redis_log *log = arg;
    bool was_up = log->is_up;

    log_close_links(log);
    redis_link_open(log->append_link, place);
    if (was_up)
        log_tell_down(log, SHARED_LOG_UNREACHABLE, "another server is the master now");
}

static void log_lost(void *arg, const char *why)
{
    struct redis_log *log = arg;

    if (!log->is_up)
        log_tell_down(log, SHARED_LOG_UNREACHABLE, why);
}

/* ---- the whole ---- */

static struct redis_link *log_new_link(struct redis_log *log, void (*up)(void *arg),
                                       size_t reply_bytes_max)
{
    struct redis_link_conf conf = {.user = log->conf.user,
                                   .password = log->conf.password,
                                   .trust = log->conf.trust,
                                   .db = log->conf.url->db,
                                   .wants_master = true,
                                   .timeout_ms = log->conf.timeout_ms,
                                   .reply_bytes_max = reply_bytes_max};
    struct redis_link_hooks hooks = {
        .up = up, .down = log_on_down, .message = log_heard, .arg = log};

    return redis_link_new(log->base, &conf, &hooks);
}

static void log_name_keys(struct redis_log *log)
{
    const char *prefix = log->conf.prefix, *node = log->conf.node;

    snprintf(log->log_key, REDIS_LOG_KEY_BYTES, "{%s}log", prefix);
    snprintf(log->meta_key, REDIS_LOG_KEY_BYTES, "{%s}meta", prefix);
    snprintf(log->terms_key, REDIS_LOG_KEY_BYTES, "{%s}terms", prefix);
    snprintf(log->nodes_key, REDIS_LOG_KEY_BYTES, "{%s}nodes", prefix);
    snprintf(log->lease_key, REDIS_LOG_KEY_BYTES, "{%s}n:%s", prefix, node);
    snprintf(log->live_channel, REDIS_LOG_KEY_BYTES, "{%s}live", prefix);
    snprintf(log->my_channel, REDIS_LOG_KEY_BYTES, "{%s}to:%s", prefix, node);
    snprintf(log->writer, sizeof(log->writer), "%s.%s", node, log->conf.incarnation);
    snprintf(log->lease, sizeof(log->lease), "%s %d", log->conf.incarnation, LOG_ENTRY_FORMAT);
    snprintf(log->lease_text, sizeof(log->lease_text), "%" PRId64, log->conf.lease_ms);
}

static void log_open(struct shared_log *shared)
{
    redis_find_again(((struct redis_log *)shared)->find);
}

static void log_free(struct shared_log *shared)
{
    struct redis_log *log = (struct redis_log *)shared; /* its first member */

    log->is_closing = log->is_freed = true;
    log->is_up = log->is_attached = false;
    redis_link_free(log->append_link);
    redis_link_free(log->tail_link);
    redis_link_free(log->talk_link);
    cluster_check_free(log->check);
    redis_find_free(log->find);
    if (log->tick != NULL)
        event_free(log->tick);
    redis_log_ask_end(log);
    redis_log_append_free(log);
    free(log);
}

static const struct shared_log_ops log_ops = {
    .open = log_open,
    .attach = redis_log_attach,
    .tail = redis_log_tail,
    .tail_end = redis_log_tail_end,
    .append = redis_log_append,
    .say = redis_log_say,
    .ask = redis_log_ask,
    .free = log_free,
};

struct shared_log *redis_log_new(struct event_base *base, const struct redis_log_conf *conf,
                                 const struct shared_log_hooks *hooks)
{
    struct redis_log *log = calloc(1, sizeof(*log));
    struct redis_find_conf find = {.url = conf->url,
                                   .user = conf->user,
                                   .password = conf->password,
                                   .timeout_ms = conf->timeout_ms,
                                   .lost = log_lost};
    size_t tail_bytes = REDIS_LOG_TAIL_COUNT * (conf->group_bytes_max + ENTRY_BYTES);

    if (log == NULL)
        return NULL;
    *log = (struct redis_log){.shared = {&log_ops, *hooks},
                              .base = base,
                              .conf = *conf,
                              .was_checked = conf->was_checked};
    log_name_keys(log);
    log->find = redis_find_new(base, &find, log_found, log);
    log->append_link = log_new_link(log, log_append_up, APPEND_REPLY_BYTES);
    log->tail_link = log_new_link(log, log_tail_up, tail_bytes);
    log->talk_link = log_new_link(log, log_talk_up, TALK_REPLY_BYTES);
    log->tick = event_new(base, -1, 0, log_on_tick, log);
    redis_log_ask_begin(log);
    if (log->find != NULL && log->append_link != NULL && log->tail_link != NULL &&
        log->talk_link != NULL && log->tick != NULL && log->soon != NULL)
        return &log->shared;
    log_free(&log->shared);
    return NULL;
}

/* ---- saying and leaving ---- */

static void log_said(void *arg, enum redis_fault fault, const redisReply *reply)
{
    redis_log_stands(arg, fault, reply);
}

int redis_log_say(struct shared_log *shared, const char *to, const char *bytes, size_t bytes_n)
{
    struct redis_log *log = (struct redis_log *)shared;
    char channel[REDIS_LOG_KEY_BYTES];
    const char *words[] = {"PUBLISH", channel, bytes};

    if (!log->is_up)
        return -ENOTCONN;
    if (redis_link_waiting(log->append_link) > SAYING_MAX ||
        redis_link_unsent(log->append_link) > SAYING_BYTES_MAX)
        return -ENOBUFS;
    if (to == NULL)
        snprintf(channel, sizeof(channel), "%s", log->live_channel);
    else
        snprintf(channel, sizeof(channel), "{%s}to:%s", log->conf.prefix, to);
    size_t lengths[] = {strlen(words[0]), strlen(channel), bytes_n};
    return redis_link_send(log->append_link, 3, words, lengths, log->conf.timeout_ms, log_said,
                           log);
}

/* Who waits for the lease to be given up. */
struct leaving {
    void (*done)(void *arg);
    void *arg;
};

static void log_left(void *arg, enum redis_fault fault, const redisReply *reply)
{
    struct leaving leaving = *(struct leaving *)arg;

    (void)fault, (void)reply;
    free(arg);
    leaving.done(leaving.arg);
}

int redis_log_leave(struct shared_log *shared, void (*done)(void *arg), void *arg)
{
    struct redis_log *log = (struct redis_log *)shared;
    struct leaving *leaving = malloc(sizeof(*leaving));
    int result;

    if (leaving == NULL)
        return -ENOMEM;
    *leaving = (struct leaving){done, arg};
    event_del(log->tick); /* no renewal follows */
    result = log_renew(log, "0", log_left, leaving);
    if (result != 0)
        free(leaving);
    return result;
}
