/* SPDX-License-Identifier: MIT */
/* Whether a server can be the shared log.  See cluster_check.h. */
#include "config.h"
#include "cluster/cluster_check.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "cluster/redis_link.h"
#include "cluster/redis_script.h"

#define LINE_BYTES 512
#define NAME_BYTES 300
#define VERSION_MIN 602
#define CLOCK_MS_MAX 5000
/* A lease is renewed five times while it lasts: that a quarter of it passes without is telling. */
#define LEASE_LOOK_MS 250
#define LEASE_SLACK_MS 100

struct cluster_check {
    struct event_base *base;
    struct redis_link *link;
    struct redis_scripts scripts;
    struct cluster_check_conf conf;
    cluster_check_done *done;
    void *arg;
    struct event *timer;
    size_t step;
    size_t key; /* of those whose type is asked */
    bool is_over;
    bool is_asking;
    enum cluster_verdict verdict;
    char line[LINE_BYTES];
    char lease[128];       /* somebody else's, as it was first seen; */
    int64_t lease_from_ms; /* and when it was to end then, at the earliest */
    int64_t lease_to_ms;   /* and at the latest */
    int64_t looked_ms;     /* when that was */
    bool was_renewed;      /* once, which a command of the dead may do that was long on its way */
    int64_t asked_ms;      /* when it was asked for last */
};

static const struct {
    const char *name;
    const char *type;
} keys[] = {{"log", "stream"}, {"meta", "hash"}, {"terms", "list"}};

static void check_next(struct cluster_check *check);

/* ---- verdicts ---- */

static void __attribute__((format(printf, 3, 4)))
check_say(struct cluster_check *check, enum cluster_verdict verdict, const char *format, ...)
{
    va_list args;

    if (check->is_over)
        return;
    va_start(args, format);
    vsnprintf(check->line, sizeof(check->line), format, args);
    va_end(args);
    check->verdict = verdict;
    check->is_over = true;
}

/* What is odd but will do. */
#define check_warn(check, ...)                                                                     \
    do {                                                                                           \
        if (!(check)->conf.is_quiet)                                                               \
            log_warning(__VA_ARGS__);                                                              \
    } while (0)
#define check_refuse(check, ...) check_say(check, CLUSTER_REFUSED, __VA_ARGS__)

/* A command that was refused.  What is only so for now is no verdict on the server. */
static void check_fault(struct cluster_check *check, enum redis_fault fault, const char *command,
                        const redisReply *reply)
{
    const char *said = reply != NULL ? reply->str : redis_fault_text(fault);

    /* "one of the keys used as arguments", since Redis 8 "a key" */
    if (fault == REDIS_NOPERM && strstr(said, " key") != NULL)
        check_refuse(check, "cluster.user must be allowed the keys ~{%s}* (the server says: %s)",
                     check->conf.prefix, said);
    else if (fault == REDIS_NOPERM || fault == REDIS_UNKNOWN)
        check_refuse(check,
                     "cluster.user must be allowed %s: give it what the recipe in contrib "
                     "has (the server says: %s)",
                     command, said);
    else if (fault == REDIS_NOAUTH)
        check_refuse(check, "the server of cluster.log wants a password: set cluster.password");
    else
        check_say(check, CLUSTER_CUT_OFF, "%s: %s", command, said);
}

/* ---- texts of INFO ---- */

/* The value of a field, up to the end of its line.  Returns whether it is there. */
static bool info_field(const redisReply *reply, const char *name, char to[NAME_BYTES])
{
    const char *at = reply->type == REDIS_REPLY_STRING ? reply->str : "";
    size_t name_n = strlen(name);

    for (; at != NULL && *at != '\0'; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, name, name_n) == 0 && at[name_n] == ':') {
            size_t n = strcspn(at + name_n + 1, "\r\n");

            snprintf(to, NAME_BYTES, "%.*s", (int)(n < NAME_BYTES ? n : NAME_BYTES - 1),
                     at + name_n + 1);
            return true;
        }
    }
    to[0] = '\0';
    return false;
}

static void judge_version(struct cluster_check *check, const redisReply *reply)
{
    char version[NAME_BYTES];
    unsigned major = 0, minor = 0;

    if (!info_field(reply, "redis_version", version) ||
        sscanf(version, "%u.%u", &major, &minor) != 2)
        check_refuse(check, "the server of cluster.log does not say its version: it must be Redis "
                            "6.2 or later, or Valkey");
    else if (major * 100 + minor < VERSION_MIN)
        check_refuse(check,
                     "the server of cluster.log is Redis %.20s: it must be 6.2 or later, or "
                     "Valkey",
                     version);
}

static void judge_memory(struct cluster_check *check, const redisReply *reply)
{
    char policy[NAME_BYTES];

    if (!info_field(reply, "maxmemory_policy", policy))
        return;
    if (strncmp(policy, "allkeys-", strlen("allkeys-")) == 0)
        check_refuse(check,
                     "the server of cluster.log has maxmemory-policy %s, which may drop the "
                     "log itself: set it to noeviction",
                     policy);
    else if (strncmp(policy, "volatile-", strlen("volatile-")) == 0)
        check_warn(check,
                   "the server of cluster.log has maxmemory-policy %s, which may drop tickets and "
                   "idempotency keys before their time: set it to noeviction",
                   policy);
}

static void judge_aof(struct cluster_check *check, const redisReply *reply)
{
    char enabled[NAME_BYTES];

    if (!info_field(reply, "aof_enabled", enabled) || strcmp(enabled, "1") != 0)
        check_refuse(check,
                     "cluster.promise=disk, but the server of cluster.log has appendonly no: "
                     "set appendonly yes and appendfsync always there, or another promise");
}

static void judge_replicas(struct cluster_check *check, const redisReply *reply)
{
    char text[NAME_BYTES];
    unsigned long replicas_n;

    info_field(reply, "connected_slaves", text);
    replicas_n = strtoul(text, NULL, 10);
    if (replicas_n < check->conf.replicas)
        check_warn(check,
                   "cluster.replicas is %u, but the server of cluster.log has %lu: publishes wait "
                   "for them and are refused",
                   check->conf.replicas, replicas_n);
    else if (replicas_n > check->conf.replicas)
        check_warn(check,
                   "the server of cluster.log has %lu replicas, but cluster.replicas is %u: what a "
                   "201 promised may be lost if another of them is promoted",
                   replicas_n, check->conf.replicas);
}

/* ---- the other answers ---- */

static void judge_fsync(struct cluster_check *check, const redisReply *reply)
{
    bool is_pair = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                   reply->element[1]->type == REDIS_REPLY_STRING;

    if (!is_pair || strcmp(reply->element[1]->str, "always") != 0)
        check_refuse(check,
                     "cluster.promise=disk, but the server of cluster.log has appendfsync %s: "
                     "set it to always there, or another promise",
                     is_pair ? reply->element[1]->str : "unknown");
}

static void judge_rights(struct cluster_check *check, const redisReply *reply)
{
    char commands[200] = "";
    size_t n = 0;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0)
        return;
    if (reply->elements < 2 || reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_STRING) {
        check_refuse(check, "the server of cluster.log answers scripts in an unknown way");
        return;
    }
    /* READONLY, OOM and so on pass; what each command meets would be the same */
    enum redis_fault fault = redis_fault_of(reply->element[1]->str, (size_t)reply->element[1]->len);
    if (fault != REDIS_NOPERM && fault != REDIS_UNKNOWN && fault != REDIS_ERROR) {
        check_say(check, CLUSTER_CUT_OFF, "%s: %s", reply->element[0]->str, reply->element[1]->str);
        return;
    }
    for (size_t i = 0; i + 1 < reply->elements && n + 40 < sizeof(commands); i += 2)
        if (reply->element[i]->type == REDIS_REPLY_STRING &&
            strstr(commands, reply->element[i]->str) == NULL)
            n += (size_t)snprintf(commands + n, sizeof(commands) - n, "%s%.30s", n > 0 ? " " : "",
                                  reply->element[i]->str);
    check_refuse(check,
                 "cluster.user must be allowed %s on the keys and channels of "
                 "cluster.prefix: give it what the recipe in contrib has (the server says: "
                 "%.120s)",
                 commands, reply->element[1]->str);
}

static void judge_type(struct cluster_check *check, const redisReply *reply)
{
    const char *type = reply->str != NULL ? reply->str : "";

    if (strcmp(type, "none") != 0 && strcmp(type, keys[check->key].type) != 0)
        check_refuse(check,
                     "the key {%s}%s in cluster.log is a %.20s, not a %s: something else has "
                     "it; set another cluster.prefix",
                     check->conf.prefix, keys[check->key].name, type, keys[check->key].type);
}

static void judge_clock(struct cluster_check *check, const redisReply *reply)
{
    int64_t theirs_ms, apart_ms;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING) {
        check_refuse(check, "the server of cluster.log does not tell the time");
        return;
    }
    theirs_ms = strtoll(reply->element[0]->str, NULL, 10) * 1000;
    apart_ms = llabs(theirs_ms + 500 - clock_wall_ms());
    if (apart_ms > CLOCK_MS_MAX)
        check_warn(check,
                   "the clock of cluster.log's server and ours are %" PRId64 " s apart: times of "
                   "events are the server's, and a ttl is off by as much; synchronise them",
                   apart_ms / 1000);
}

/* ---- the lease of our name ---- */

static bool lease_is_ours(const struct cluster_check *check, const char *lease)
{
    const char *mine = check->conf.incarnation;

    return mine != NULL && strncmp(lease, mine, strlen(mine)) == 0;
}

static void lease_wait(struct cluster_check *check)
{
    struct timeval wait = {.tv_usec = LEASE_LOOK_MS * 1000};

    event_add(check->timer, &wait);
    check->is_asking = true; /* so to speak */
}

/* Whether it ends at another time than at first.  An answer that was long on its way does not tell
 * that. */
static bool is_renewed(const struct cluster_check *check, int64_t left_ms)
{
    return check->asked_ms + left_ms > check->lease_to_ms + LEASE_SLACK_MS ||
           clock_mono_ms() + left_ms < check->lease_from_ms - LEASE_SLACK_MS;
}

/* Somebody has it: whether it is renewed tells whether that is a process or what is left of one. */
static void judge_lease(struct cluster_check *check, const redisReply *reply)
{
    const char *value;
    int64_t left_ms;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_INTEGER ||
        lease_is_ours(check, reply->element[0]->str))
        return;
    value = reply->element[0]->str;
    left_ms = reply->element[1]->integer;
    if (check->looked_ms == 0) {
        check->looked_ms = clock_mono_ms();
        check->lease_from_ms = check->asked_ms + left_ms;
        check->lease_to_ms = check->looked_ms + left_ms;
        snprintf(check->lease, sizeof(check->lease), "%s", value);
    }
    if (strncmp(value, check->lease, sizeof(check->lease) - 1) != 0 || is_renewed(check, left_ms)) {
        if (!check->was_renewed) {
            check->was_renewed = true;
            check->looked_ms = 0;
            lease_wait(check);
            return;
        }
        check_refuse(check,
                     "another process renews the lease of cluster.node=%s: give each gateway a "
                     "name of its own",
                     check->conf.node);
        return;
    }
    if (clock_mono_ms() - check->looked_ms < check->conf.lease_ms / 4)
        lease_wait(check);
}

/* ---- the steps ---- */

static void check_answered(void *arg, enum redis_fault fault, const redisReply *reply);

/* Returns as redis_link_ask(), and 1: this question does not arise. */
typedef int step_ask(struct cluster_check *check);
typedef void step_judge(struct cluster_check *check, const redisReply *reply);

static int ask_info(struct cluster_check *check, const char *section)
{
    return redis_link_ask(check->link, check->conf.timeout_ms, check_answered, check, "INFO %s",
                          section);
}

static int ask_version(struct cluster_check *check)
{
    return ask_info(check, "server");
}

/* Asked twice: the first call of a script is EVAL, the next one EVALSHA. */
static int ask_rights(struct cluster_check *check)
{
    char key[NAME_BYTES], channel[NAME_BYTES];

    snprintf(key, sizeof(key), "{%s}check", check->conf.prefix);
    snprintf(channel, sizeof(channel), "{%s}check", check->conf.prefix);
    return redis_script_call_texts(check->link, &check->scripts, REDIS_SCRIPT_CHECK, 1,
                                   check->conf.timeout_ms, check_answered, check, key, channel,
                                   (char *)NULL);
}

static int ask_type(struct cluster_check *check)
{
    char key[NAME_BYTES];

    snprintf(key, sizeof(key), "{%s}%s", check->conf.prefix, keys[check->key].name);
    return redis_link_ask(check->link, check->conf.timeout_ms, check_answered, check, "TYPE %s",
                          key);
}

static int ask_memory(struct cluster_check *check)
{
    return ask_info(check, "memory");
}

static int ask_aof(struct cluster_check *check)
{
    return check->conf.promise == HISTORY_DISK ? ask_info(check, "persistence") : 1;
}

static int ask_fsync(struct cluster_check *check)
{
    if (check->conf.promise != HISTORY_DISK || check->conf.assumes_disk)
        return 1;
    return redis_link_ask(check->link, check->conf.timeout_ms, check_answered, check,
                          "CONFIG GET appendfsync");
}

static int ask_replicas(struct cluster_check *check)
{
    return check->conf.promise == HISTORY_REPLICATED ? ask_info(check, "replication") : 1;
}

static int ask_wait(struct cluster_check *check)
{
    if (check->conf.promise != HISTORY_REPLICATED)
        return 1;
    return redis_link_ask(check->link, check->conf.timeout_ms, check_answered, check, "WAIT 0 1");
}

static int ask_clock(struct cluster_check *check)
{
    return redis_link_ask(check->link, check->conf.timeout_ms, check_answered, check, "TIME");
}

static int ask_lease(struct cluster_check *check)
{
    char key[NAME_BYTES];

    if (check->conf.skips_lease)
        return 1;
    snprintf(key, sizeof(key), "{%s}n:%s", check->conf.prefix, check->conf.node);
    check->asked_ms = clock_mono_ms();
    return redis_script_call_texts(check->link, &check->scripts, REDIS_SCRIPT_PEEK, 1,
                                   check->conf.timeout_ms, check_answered, check, key,
                                   (char *)NULL);
}

static const struct {
    const char *command;
    step_ask *ask;
    step_judge *judge; /* NULL: an answer that is no error will do */
} steps[] = {
    {"INFO", ask_version, judge_version},
    {"EVAL", ask_rights, judge_rights},
    {"EVALSHA", ask_rights, judge_rights},
    {"TYPE", ask_type, judge_type},
    {"INFO", ask_memory, judge_memory},
    {"INFO", ask_aof, judge_aof},
    {"CONFIG GET", ask_fsync, judge_fsync},
    {"INFO", ask_replicas, judge_replicas},
    {"WAIT", ask_wait, NULL},
    {"TIME", ask_clock, judge_clock},
    {"EVALSHA", ask_lease, judge_lease},
};
#define STEPS_N (sizeof(steps) / sizeof(*steps))

/* EVALSHA is allowed, which is all that the second call of the rights asks.  The lease is looked at
 * with the whole text then. */
static void check_without_script(struct cluster_check *check)
{
    redis_scripts_forget(&check->scripts);
    if (steps[check->step].ask == ask_lease)
        lease_wait(check);
}

static void check_answered(void *arg, enum redis_fault fault, const redisReply *reply)
{
    struct cluster_check *check = arg;

    check->is_asking = false;
    if (steps[check->step].ask == ask_fsync && (fault == REDIS_NOPERM || fault == REDIS_UNKNOWN))
        check_refuse(check,
                     "cluster.promise=disk, but the server of cluster.log forbids CONFIG GET "
                     "appendfsync: allow it, or, if it is set to always, say so with "
                     "cluster.assume=disk");
    else if (fault == REDIS_NOSCRIPT)
        check_without_script(check);
    else if (fault != REDIS_FINE)
        check_fault(check, fault, steps[check->step].command, reply);
    else if (steps[check->step].judge != NULL)
        steps[check->step].judge(check, reply);
    if (check->is_asking) /* again, in a while */
        return;
    if (steps[check->step].ask == ask_type && ++check->key < sizeof(keys) / sizeof(*keys))
        check->step--;
    check->step++;
    check_next(check);
}

static void check_end(struct cluster_check *check)
{
    event_del(check->timer);
    check->done(check->arg, check->verdict, check->line);
}

static void check_next(struct cluster_check *check)
{
    int result = 1;

    while (!check->is_over && check->step < STEPS_N &&
           (result = steps[check->step].ask(check)) == 1)
        check->step++;
    check->is_asking = result == 0;
    if (result < 0)
        check_say(check, CLUSTER_CUT_OFF, "%s: the connection is over", steps[check->step].command);
    if (!check->is_asking || check->is_over)
        check_end(check);
}

static void check_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    check_next(arg);
}

struct cluster_check *cluster_check_begin(struct event_base *base, struct redis_link *link,
                                          const struct cluster_check_conf *conf,
                                          cluster_check_done *done, void *arg)
{
    struct cluster_check *check = calloc(1, sizeof(*check));

    if (check == NULL)
        return NULL;
    *check =
        (struct cluster_check){.base = base, .link = link, .conf = *conf, .done = done, .arg = arg};
    check->timer = event_new(base, -1, 0, check_on_timer, check);
    if (check->timer == NULL) {
        free(check);
        return NULL;
    }
    event_active(check->timer, EV_TIMEOUT, 0);
    return check;
}

const char *cluster_check_abandoned(const struct cluster_check *check)
{
    return check->lease;
}

void cluster_check_free(struct cluster_check *check)
{
    if (check == NULL)
        return;
    event_free(check->timer);
    free(check);
}
