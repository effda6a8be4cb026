/* SPDX-License-Identifier: MIT */
/* The shared log on a Redis: tickets, by ticket.lua and tickets.lua.  See shared_ticket.h. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/redis_log_internal.h"
#include "cluster/shared_ticket.h"

#define NUMBER_BYTES 24
/* Of a use. */
#define USE_KEYS 3
#define USE_WORDS (USE_KEYS + 12)
#define USE_TEXTS 2 /* a key and a channel */
#define USE_NUMBERS 8
/* Of each piece of news; and once who says it. */
#define NEWS_WORDS (1 + 5)
#define NEWS_NUMBERS 3

/* What a call is made of, one word after the other; in one piece of memory. */
struct words {
    unsigned n;
    const char **words;
    size_t *bytes;
    char (*number)[NUMBER_BYTES]; /* the next one */
    char (*text)[REDIS_LOG_KEY_BYTES];
};

/* NULL when out of memory. */
static struct words *words_new(size_t words_n, size_t numbers_n, size_t texts_n)
{
    struct words *words =
        malloc(sizeof(*words) + words_n * (sizeof(words->words[0]) + sizeof(words->bytes[0])) +
               numbers_n * NUMBER_BYTES + texts_n * REDIS_LOG_KEY_BYTES);

    if (words == NULL)
        return NULL;
    words->n = 0;
    words->words = (const char **)(words + 1);
    words->bytes = (size_t *)(words->words + words_n);
    words->number = (char(*)[NUMBER_BYTES])(words->bytes + words_n);
    words->text = (char(*)[REDIS_LOG_KEY_BYTES])(words->number + numbers_n);
    return words;
}

static void put_bytes(struct words *words, const char *bytes, size_t bytes_n)
{
    words->words[words->n] = bytes;
    words->bytes[words->n++] = bytes_n;
}

static void put_text(struct words *words, const char *text)
{
    put_bytes(words, text, strlen(text));
}

static void put_number(struct words *words, uint64_t number)
{
    snprintf(*words->number, NUMBER_BYTES, "%" PRIu64, number);
    put_text(words, *words->number++);
}

/* A key or a channel: `kind` stands before the name. */
static void put_name(struct words *words, const struct redis_log *log, const char *kind,
                     const char *name)
{
    snprintf(*words->text, REDIS_LOG_KEY_BYTES, "{%s}%s%s", log->conf.prefix, kind, name);
    put_text(words, *words->text++);
}

static void put_use(struct words *words, const struct redis_log *log,
                    const struct shared_ticket_use *use)
{
    put_name(words, log, "t:", use->name);
    put_text(words, log->meta_key);
    put_text(words, log->terms_key);
    put_text(words, log->conf.node);
    put_number(words, use->mark);
    put_bytes(words, use->say, use->say_n);
    put_name(words, log, "to:", "");
    put_text(words, use->epoch);
    put_number(words, use->position);
    put_number(words, use->from);
    put_number(words, (uint64_t)use->made_ms);
    put_number(words, use->made_at);
    put_number(words, (uint64_t)use->first_until_ms);
    put_number(words, (uint64_t)use->until_ms);
    put_number(words, (uint64_t)use->now_ms);
}

static void put_news(struct words *words, const struct redis_log *log,
                     const struct shared_ticket_news *news, size_t news_n)
{
    static const char *const texts[] = {[SHARED_TICKET_OVER] = "OVER",
                                        [SHARED_TICKET_LIVE] = "LIVE",
                                        [SHARED_TICKET_FORGET] = "FORGET"};

    for (size_t i = 0; i < news_n; i++)
        put_name(words, log, "t:", news[i].name);
    put_text(words, log->conf.node);
    for (size_t i = 0; i < news_n; i++) {
        put_text(words, texts[news[i].what]);
        put_number(words, news[i].mark);
        put_number(words, news[i].position);
        put_number(words, (uint64_t)news[i].until_ms);
        put_bytes(words, news[i].say, news[i].say_n);
    }
}

int redis_log_ticket_send(struct redis_log *log, const struct shared_log_question *question,
                          redis_link_done *done, void *arg)
{
    bool is_use = question->kind == SHARED_LOG_ASK_TICKET;
    size_t n = question->news_n;
    struct words *words = is_use ? words_new(USE_WORDS, USE_NUMBERS, USE_TEXTS)
                                 : words_new(1 + n * NEWS_WORDS, n * NEWS_NUMBERS, n);
    struct redis_call call = {.timeout_ms = log->conf.timeout_ms};

    if (words == NULL)
        return -ENOMEM;
    if (is_use)
        put_use(words, log, question->use);
    else
        put_news(words, log, question->news, question->news_n);
    call.script = is_use ? REDIS_SCRIPT_TICKET : REDIS_SCRIPT_TICKETS;
    call.keys_n = is_use ? USE_KEYS : (unsigned)question->news_n;
    call.words_n = words->n;
    call.words = words->words;
    call.bytes = words->bytes;
    int result = redis_script_call(log->append_link, &log->scripts, &call, done, arg);
    free(words);
    return result;
}

/* ---- answers ---- */

/* A mark, or nothing. */
static bool ticket_read_mark(const char *text, uint64_t *ret_mark)
{
    char *end;

    errno = 0;
    *ret_mark = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

/* {verdict, mark} */
static bool ticket_read_use(struct shared_ticket_use *use, const redisReply *reply)
{
    static const char *const verdicts[] = {[SHARED_TICKET_GOOD] = "GOOD",
                                           [SHARED_TICKET_LATE] = "LATE",
                                           [SHARED_TICKET_USED] = "USED",
                                           [SHARED_TICKET_REVOKED] = "REVOKED"};
    const char *verdict = redis_log_word(reply, 0);

    if (!ticket_read_mark(redis_log_word(reply, 1), &use->older))
        return false;
    for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++)
        if (strcmp(verdict, verdicts[i]) == 0) {
            use->verdict = (enum shared_ticket_verdict)i;
            return true;
        }
    return false;
}

static bool ticket_read_news(struct shared_ticket_news *news, size_t news_n,
                             const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != news_n)
        return false;
    for (size_t i = 0; i < news_n; i++) {
        if (reply->element[i]->type != REDIS_REPLY_INTEGER)
            return false;
        news[i].is_ours = reply->element[i]->integer == 1;
    }
    return true;
}

bool redis_log_ticket_read(struct shared_log_question *question, const redisReply *reply)
{
    return question->kind == SHARED_LOG_ASK_TICKET
               ? ticket_read_use(question->use, reply)
               : ticket_read_news(question->news, question->news_n, reply);
}
