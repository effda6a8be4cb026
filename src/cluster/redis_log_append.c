/* SPDX-License-Identifier: MIT */
/* The shared log on a Redis: appending.  See shared_log.h. */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/redis_log_internal.h"
#include "event/message.h"

/* A script may be forgotten between two calls, but not each time. */
#define TRIES_MAX 3
/* Before the digests: writer, seq, events, window, body, places. */
#define ARGUMENTS_N 7
#define KEYS_N 2
#define INDEX_BYTES 12 /* of an event, with a blank */

static void append_reply(void *arg, enum redis_fault fault, const redisReply *reply);
static void append_waited(void *arg, enum redis_fault fault, const redisReply *reply);

/* ---- sending ---- */

/* The words of a call, and the memory that they need. */
struct append_words {
    const char **words;
    size_t *bytes;
    char *names;  /* of the keys */
    char *places; /* of their events */
    unsigned n;
    char seq[24], events[24], window[24];
};

static void words_free(struct append_words *words)
{
    free(words->words);
    free(words->bytes);
    free(words->names);
    free(words->places);
}

static void words_add(struct append_words *words, const char *word, size_t n)
{
    words->words[words->n] = word;
    words->bytes[words->n++] = n;
}

static bool words_begin(struct append_words *words, const struct shared_log_group *group)
{
    size_t words_n = KEYS_N + ARGUMENTS_N + 2 * group->keys_n;

    *words = (struct append_words){0};
    words->words = malloc(words_n * sizeof(*words->words));
    words->bytes = malloc(words_n * sizeof(*words->bytes));
    words->names = malloc(group->keys_n * REDIS_LOG_KEY_BYTES + 1);
    words->places = malloc(group->keys_n * INDEX_BYTES + 1);
    return words->words != NULL && words->bytes != NULL && words->names != NULL &&
           words->places != NULL;
}

static size_t words_name_key(char to[REDIS_LOG_KEY_BYTES], const char *prefix,
                             const unsigned char name[SHARED_LOG_KEY_BYTES])
{
    int n = snprintf(to, REDIS_LOG_KEY_BYTES, "{%s}k:", prefix);

    for (size_t i = 0; i < SHARED_LOG_KEY_BYTES; i++)
        n += snprintf(to + n, 3, "%02x", name[i]);
    return (size_t)n;
}

static void words_add_keys(struct append_words *words, const struct redis_log *log)
{
    const struct shared_log_group *group = &log->append.group;
    size_t places_n = 0;

    words_add(words, log->log_key, strlen(log->log_key));
    words_add(words, log->meta_key, strlen(log->meta_key));
    words->places[0] = '\0';
    for (size_t i = 0; i < group->keys_n; i++) {
        char *name = words->names + i * REDIS_LOG_KEY_BYTES;

        words_add(words, name, words_name_key(name, log->conf.prefix, group->keys[i].name));
        places_n += (size_t)sprintf(words->places + places_n, "%u ", group->keys[i].index);
    }
}

static void words_add_arguments(struct append_words *words, const struct redis_log *log)
{
    const struct shared_log_group *group = &log->append.group;

    snprintf(words->seq, sizeof(words->seq), "%" PRIu64, group->seq);
    snprintf(words->events, sizeof(words->events), "%u", group->events_n);
    snprintf(words->window, sizeof(words->window), "%" PRId64, log->conf.key_window_ms);
    words_add(words, log->writer, strlen(log->writer));
    words_add(words, words->seq, strlen(words->seq));
    words_add(words, words->events, strlen(words->events));
    words_add(words, words->window, strlen(words->window));
    words_add(words, group->body, group->body_n);
    words_add(words, words->places, strlen(words->places));
    words_add(words, log->epoch, strlen(log->epoch));
    for (size_t i = 0; i < group->keys_n; i++)
        words_add(words, group->keys[i].digest, MESSAGE_DIGEST_BYTES);
}

/* The server answers WAIT when so many replicas have all that this connection has written. */
static int append_send_wait(struct redis_log *log)
{
    return redis_link_ask(log->append_link, 2 * log->conf.timeout_ms, append_waited, log,
                          "WAIT %u %lld", log->conf.replicas, (long long)log->conf.timeout_ms);
}

static int append_send(struct redis_log *log)
{
    struct redis_log_append *append = &log->append;
    struct append_words words;
    int result = -ENOMEM;

    if (words_begin(&words, &append->group)) {
        words_add_keys(&words, log);
        words_add_arguments(&words, log);
        struct redis_call call = {.script = REDIS_SCRIPT_APPEND,
                                  .keys_n = KEYS_N + (unsigned)append->group.keys_n,
                                  .words_n = words.n,
                                  .words = words.words,
                                  .bytes = words.bytes,
                                  .timeout_ms = log->conf.timeout_ms};
        result = redis_script_call(log->append_link, &log->scripts, &call, append_reply, log);
    }
    words_free(&words);
    if (result != 0)
        return result;
    append->replies_n = 1;
    append->tries_n++;
    /* without WAIT nothing is confirmed, so it is as if it had come back short */
    if (log->conf.promise == HISTORY_REPLICATED) {
        append->is_unconfirmed = append_send_wait(log) != 0;
        append->replies_n += !append->is_unconfirmed;
    }
    return 0;
}

int redis_log_append(struct shared_log *shared, const struct shared_log_group *group)
{
    struct redis_log *log = (struct redis_log *)shared;
    int result;

    assert(group->keys_n <= SHARED_LOG_KEYS_MAX && (group->events_n > 0 || group->keys_n == 0));
    if (!log->is_attached)
        return -ENOTCONN;
    if (log->append.is_busy)
        return -EBUSY;
    if (group->body_n > log->conf.group_bytes_max)
        return -EFBIG;
    log->append = (struct redis_log_append){.group = *group, .answer = {.seq = group->seq}};
    result = append_send(log);
    log->append.is_busy = result == 0;
    return result;
}

/* ---- answers ---- */

void redis_log_append_free(struct redis_log *log)
{
    free(log->append.taken);
    log->append.taken = NULL;
}

/* Another may be appended from within. */
static void append_end(struct redis_log *log)
{
    struct redis_log_append append = log->append;

    log->append.is_busy = false;
    log->append.taken = NULL;
    append.answer.line = append.line;
    append.answer.taken = append.taken;
    if (!log->is_freed)
        log->shared.hooks.appended(log->shared.hooks.arg, &append.answer);
    free(append.taken);
}

static void append_say(struct redis_log *log, enum shared_log_outcome outcome, const char *line)
{
    log->append.answer.outcome = outcome;
    snprintf(log->append.line, sizeof(log->append.line), "%s", line);
}

/* {"OK", epoch, first, at, sub}, {"SEEN", epoch, first, at, sub, touched} */
static void append_read_place(struct redis_log *log, const redisReply *reply, bool was_seen)
{
    struct shared_log_appended *answer = &log->append.answer;
    const redisReply *epoch = reply->elements > 1 ? reply->element[1] : NULL;
    uint64_t at_ms;

    if (epoch == NULL || epoch->type != REDIS_REPLY_STRING || epoch->len != SSE_EPOCH_BYTES ||
        !redis_log_number(reply, 2, &answer->first) || !redis_log_number(reply, 3, &at_ms) ||
        !redis_log_number(reply, 4, &answer->sub)) {
        append_say(log, SHARED_LOG_LOST, "no place in the answer");
        return;
    }
    memcpy(answer->epoch, epoch->str, SSE_EPOCH_BYTES);
    answer->epoch[SSE_EPOCH_BYTES] = '\0';
    answer->outcome = was_seen ? SHARED_LOG_SEEN : SHARED_LOG_DONE;
    answer->at_ms = (int64_t)at_ms;
    if (was_seen && (reply->elements < 6 || reply->element[5]->type != REDIS_REPLY_INTEGER ||
                     reply->element[5]->integer != 1))
        log->append.is_unconfirmed = true;
}

/* "position digest" of key `i`, counted from 1.  The bytes are kept in `to`. */
static bool taken_read(const redisReply *reply, size_t at, size_t keys_n,
                       struct shared_log_taken *taken, char to[MESSAGE_DIGEST_BYTES])
{
    const redisReply *value = at + 1 < reply->elements ? reply->element[at + 1] : NULL;
    uint64_t key;
    char *end;

    if (value == NULL || value->type != REDIS_REPLY_STRING || !redis_log_number(reply, at, &key) ||
        key == 0 || key > keys_n)
        return false;
    taken->key = (size_t)key - 1;
    taken->position = strtoull(value->str, &end, 10);
    taken->digest_n = (size_t)(value->str + value->len - end);
    if (end == value->str || taken->position > SHARED_LOG_POSITION_MAX ||
        taken->digest_n != 1 + MESSAGE_DIGEST_BYTES)
        return false;
    taken->digest_n--;
    taken->digest = memcpy(to, end + 1, MESSAGE_DIGEST_BYTES);
    return true;
}

/* {"KEYS", i, value, i, value, ...} */
static void append_read_keys(struct redis_log *log, const redisReply *reply)
{
    struct redis_log_append *append = &log->append;
    size_t taken_n = (reply->elements - 1) / 2;
    struct shared_log_taken *taken = calloc(taken_n + 1, sizeof(*taken) + MESSAGE_DIGEST_BYTES);

    if (taken == NULL) {
        append_say(log, SHARED_LOG_NO_MEMORY, "out of memory");
        return;
    }
    append->taken = taken;
    char *digests = (char *)(taken + taken_n + 1);
    for (size_t i = 0; i < taken_n; i++)
        if (!taken_read(reply, 1 + 2 * i, append->group.keys_n, &taken[i],
                        digests + i * MESSAGE_DIGEST_BYTES)) {
            append_say(log, SHARED_LOG_REFUSED, "a key that is taken by something else");
            return;
        }
    append->answer.outcome = SHARED_LOG_KEYS;
    append->answer.taken_n = taken_n;
}

static void append_read(struct redis_log *log, const redisReply *reply)
{
    const char *word = redis_log_word(reply, 0);

    if (strcmp(word, "OK") == 0 || strcmp(word, "SEEN") == 0)
        append_read_place(log, reply, word[0] == 'S');
    else if (strcmp(word, "KEYS") == 0)
        append_read_keys(log, reply);
    else if (strcmp(word, "TERM") == 0)
        log->append.answer.outcome = SHARED_LOG_TERM;
    else
        append_say(log, SHARED_LOG_LOST, "an unknown answer of the script");
}

/* The script was forgotten there, and has done nothing. */
static bool append_try_again(struct redis_log *log)
{
    struct redis_log_append *append = &log->append;

    if (append->fault != REDIS_NOSCRIPT || append->tries_n == TRIES_MAX)
        return false;
    redis_scripts_forget(&log->scripts);
    append->fault = REDIS_FINE;
    append->is_unconfirmed = false;
    return append_send(log) == 0;
}

static bool append_is_stored(const struct redis_log *log)
{
    return log->append.answer.outcome == SHARED_LOG_DONE ||
           log->append.answer.outcome == SHARED_LOG_SEEN;
}

/* All replies are here. */
static void append_settle(struct redis_log *log)
{
    if (append_try_again(log))
        return;
    if (log->append.is_unconfirmed && append_is_stored(log) &&
        log->conf.promise == HISTORY_REPLICATED) {
        append_say(log, SHARED_LOG_UNCONFIRMED, "too few replicas have it");
        redis_find_look(log->find); /* they may follow another master by now */
    }
    append_end(log);
}

/* A script that fails has written nothing: XADD comes first. */
static void append_read_fault(struct redis_log *log, enum redis_fault fault,
                              const redisReply *reply)
{
    enum shared_log_outcome outcome = redis_log_outcome_of(fault);

    log->append.fault = fault;
    if (outcome == SHARED_LOG_DAMAGED)
        outcome = SHARED_LOG_REFUSED;
    append_say(log, outcome, reply != NULL ? reply->str : redis_fault_text(fault));
}

static void append_reply(void *arg, enum redis_fault fault, const redisReply *reply)
{
    struct redis_log *log = arg;

    if (fault != REDIS_FINE)
        append_read_fault(log, fault, reply);
    else
        append_read(log, reply);
    if (--log->append.replies_n == 0)
        append_settle(log);
    redis_log_stands(log, fault, reply);
}

static void append_waited(void *arg, enum redis_fault fault, const redisReply *reply)
{
    struct redis_log *log = arg;
    struct redis_log_append *append = &log->append;

    if (fault != REDIS_FINE || reply->type != REDIS_REPLY_INTEGER ||
        reply->integer < (long long)log->conf.replicas)
        append->is_unconfirmed = true;
    if (--append->replies_n == 0)
        append_settle(log);
    redis_log_stands(log, fault, reply);
}
