/* SPDX-License-Identifier: MIT */
/* The shared log on a Redis: attaching, and the entries as they come.  See shared_log.h. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/redis_log_internal.h"

#define BLOCK_MS 1000

/* ---- attaching ---- */

/* The terms, "epoch end" each, as lineage_read() takes them.  Returns NULL when out of memory. */
static char *attach_join_terms(const redisReply *terms, size_t *ret_n)
{
    size_t room = 1, n = 0;
    char *text;

    for (size_t i = 0; i < terms->elements; i++)
        room += strlen(redis_log_word(terms, i)) + 1;
    text = malloc(room);
    if (text == NULL)
        return NULL;
    text[0] = '\0';
    for (size_t i = 0; i < terms->elements; i++)
        n += (size_t)sprintf(text + n, "%s%s", i > 0 ? " " : "", redis_log_word(terms, i));
    *ret_n = n;
    return text;
}

/* NULL with errno. */
static struct lineage *attach_read_lineage(const char *epoch, const redisReply *terms)
{
    size_t text_n = 0;

    for (size_t i = 0; i < terms->elements; i++)
        if (redis_log_word(terms, i)[0] == '\0') {
            errno = EINVAL;
            return NULL;
        }
    char *text = attach_join_terms(terms, &text_n);
    struct lineage *lineage = text != NULL ? lineage_read(epoch, text, text_n) : NULL;

    free(text);
    return lineage;
}

/* {epoch, head, trimmed, at, sub, {seconds, microseconds}, {"epoch end", ...}} */
static enum shared_log_outcome attach_read(const redisReply *reply, struct shared_log_state *state)
{
    uint64_t at_ms, seconds, micros;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 7 ||
        strlen(redis_log_word(reply, 0)) != SSE_EPOCH_BYTES ||
        !redis_log_number(reply, 1, &state->head) || !redis_log_number(reply, 2, &state->trimmed) ||
        !redis_log_number(reply, 3, &at_ms) || !redis_log_number(reply->element[5], 0, &seconds) ||
        !redis_log_number(reply->element[5], 1, &micros) ||
        reply->element[6]->type != REDIS_REPLY_ARRAY || state->trimmed > state->head)
        return SHARED_LOG_DAMAGED;
    state->at_ms = (int64_t)at_ms;
    state->now_ms = (int64_t)(seconds * 1000 + micros / 1000);
    errno = ENOMEM; /* of malloc() */
    state->lineage = attach_read_lineage(redis_log_word(reply, 0), reply->element[6]);
    if (state->lineage != NULL)
        return SHARED_LOG_DONE;
    return errno == ENOMEM ? SHARED_LOG_NO_MEMORY : SHARED_LOG_DAMAGED;
}

static void attach_tell(struct redis_log *log, enum shared_log_outcome outcome,
                        struct shared_log_state *state, const char *line)
{
    log->is_attaching = false;
    if (!log->is_freed)
        log->shared.hooks.attached(log->shared.hooks.arg, outcome, state, line);
}

static void log_attached(void *arg, enum redis_fault fault, const redisReply *reply)
{
    struct redis_log *log = arg;
    struct shared_log_state state = {.head = 0};
    enum shared_log_outcome outcome = redis_log_outcome_of(fault);

    if (fault == REDIS_NOSCRIPT)
        redis_scripts_forget(&log->scripts);
    if (outcome == SHARED_LOG_DONE)
        outcome = attach_read(reply, &state);
    if (outcome == SHARED_LOG_DONE) {
        log->is_attached = true;
        memcpy(log->epoch, state.lineage->epoch, sizeof(log->epoch));
        attach_tell(log, outcome, &state, "");
    } else {
        bool has_words = reply != NULL && reply->type == REDIS_REPLY_ERROR;

        attach_tell(log, outcome, NULL, has_words ? reply->str : redis_fault_text(fault));
        redis_log_stands(log, fault, reply);
    }
}

int redis_log_attach(struct shared_log *shared, const struct shared_log_node *node)
{
    struct redis_log *log = (struct redis_log *)shared;
    char position[24], at[24], *terms;
    int result;

    if (!log->is_up)
        return -ENOTCONN;
    if (log->is_attaching)
        return -EBUSY;
    terms = malloc(node->lineage->terms_n * LINEAGE_TERM_BYTES + 1);
    if (terms == NULL)
        return -ENOMEM;
    terms[0] = '\0';
    lineage_write(node->lineage, terms);
    snprintf(position, sizeof(position), "%" PRIu64, node->newest);
    snprintf(at, sizeof(at), "%" PRId64, node->newest_ms);
    result = redis_script_call_texts(log->append_link, &log->scripts, REDIS_SCRIPT_ATTACH, 3,
                                     log->conf.timeout_ms, log_attached, log, log->log_key,
                                     log->meta_key, log->terms_key, node->epoch_new,
                                     node->lineage->epoch, position, terms, at, (char *)NULL);
    free(terms);
    if (result == 0) {
        log->is_attaching = true;
        log->is_attached = log->is_tailing = false;
    }
    return result;
}

/* ---- entries ---- */

/* {{name, {entry, ...}}}, or nothing when the time was over.  Returns NULL then. */
static const redisReply *tail_entries(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0 ||
        reply->element[0]->type != REDIS_REPLY_ARRAY || reply->element[0]->elements != 2)
        return NULL;
    reply = reply->element[0]->element[1];
    return reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 ? reply : NULL;
}

static bool tail_is_text(const redisReply *reply, const char *text)
{
    return reply->type == REDIS_REPLY_STRING && strcmp(reply->str, text) == 0;
}

/* "123-0", "123-1": the name of something that stands behind what was given before. */
static bool tail_read_name(const struct redis_log *log, const redisReply *name,
                           struct shared_log_entry *entry)
{
    char *end;

    if (name->type != REDIS_REPLY_STRING || name->str[0] < '0' || name->str[0] > '9')
        return false;
    errno = 0;
    entry->last = strtoull(name->str, &end, 10);
    if (end[0] != '-' || end[1] < '0' || end[1] > '9')
        return false;
    entry->sub = strtoull(end + 1, &end, 10);
    return errno == 0 && *end == '\0' && entry->last <= SHARED_LOG_POSITION_MAX &&
           (entry->last > log->after || (entry->last == log->after && entry->sub > log->after_sub));
}

/* {"h", head, "b", body} */
static bool tail_read_fields(const redisReply *fields, struct shared_log_entry *entry)
{
    if (fields->type != REDIS_REPLY_ARRAY || fields->elements < 4 ||
        !tail_is_text(fields->element[0], "h") || !tail_is_text(fields->element[2], "b") ||
        fields->element[1]->type != REDIS_REPLY_STRING ||
        fields->element[3]->type != REDIS_REPLY_STRING)
        return false;
    entry->head = fields->element[1]->str;
    entry->head_n = (size_t)fields->element[1]->len;
    entry->body = fields->element[3]->str;
    entry->body_n = (size_t)fields->element[3]->len;
    return true;
}

/* {name, fields}; of anything else an entry without a head, which the node will find damaged. */
static void tail_read_entry(const struct redis_log *log, const redisReply *reply,
                            struct shared_log_entry *entry)
{
    bool is_pair = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2;

    *entry = (struct shared_log_entry){.head = "", .body = ""};
    if (!is_pair || !tail_read_name(log, reply->element[0], entry)) {
        entry->last = log->after + 1;
        entry->sub = 0;
    } else if (!tail_read_fields(reply->element[1], entry)) {
        entry->head_n = entry->body_n = 0;
    }
}

static void tail_give(struct redis_log *log, const redisReply *found)
{
    struct shared_log_entry entries[REDIS_LOG_TAIL_COUNT];
    size_t entries_n = 0;

    while (entries_n < found->elements && entries_n < REDIS_LOG_TAIL_COUNT) {
        tail_read_entry(log, found->element[entries_n], &entries[entries_n]);
        log->after = entries[entries_n].last;
        log->after_sub = entries[entries_n++].sub;
    }
    uint64_t after = log->after, sub = log->after_sub;
    bool goes_on = log->shared.hooks.entries(log->shared.hooks.arg, entries, entries_n);
    /* unless another tail began from within */
    if (!goes_on && log->is_tailing && log->after == after && log->after_sub == sub)
        log->is_tailing = false;
}

static void log_tailed(void *arg, enum redis_fault fault, const redisReply *reply)
{
    struct redis_log *log = arg;
    const redisReply *found;

    log->is_tail_asked = false;
    if (!redis_log_stands(log, fault, reply))
        return;
    if (fault != REDIS_FINE) {
        redis_log_down(log, redis_log_outcome_of(fault), reply->str);
        return;
    }
    found = tail_entries(reply);
    if (found == NULL && reply->type != REDIS_REPLY_NIL) { /* it would be asked without end */
        redis_log_down(log, SHARED_LOG_UNREACHABLE, "an unknown answer to XREAD");
        return;
    }
    /* what was asked before a tail from another place is of no use */
    if (found != NULL && log->is_tailing && log->asked_after == log->after &&
        log->asked_after_sub == log->after_sub)
        tail_give(log, found);
    redis_log_tail_ask(log);
}

void redis_log_tail_ask(struct redis_log *log)
{
    if (!log->is_tailing || log->is_tail_asked)
        return;
    log->asked_after = log->after;
    log->asked_after_sub = log->after_sub;
    log->is_tail_asked =
        redis_link_ask(log->tail_link, BLOCK_MS + log->conf.timeout_ms, log_tailed, log,
                       "XREAD COUNT %d BLOCK %d STREAMS %s %llu-%llu", REDIS_LOG_TAIL_COUNT,
                       BLOCK_MS, log->log_key, (unsigned long long)log->after,
                       (unsigned long long)log->after_sub) == 0;
}

int redis_log_tail(struct shared_log *shared, uint64_t after, uint64_t sub)
{
    struct redis_log *log = (struct redis_log *)shared;

    if (!log->is_attached)
        return -ENOTCONN;
    if (log->is_tailing)
        return -EBUSY;
    log->after = after;
    log->after_sub = sub;
    log->is_tailing = true;
    redis_log_tail_ask(log);
    if (log->is_tail_asked)
        return 0;
    log->is_tailing = false;
    return redis_link_is_up(log->tail_link) ? -ENOMEM : -ENOTCONN;
}

void redis_log_tail_end(struct shared_log *shared)
{
    ((struct redis_log *)shared)->is_tailing = false;
}
