/* SPDX-License-Identifier: MIT */
/*
 * Publishing.  The body of a request is put together as text: a JSON library would write numbers
 * anew, and data must arrive as it was written.
 */
#include "config.h"

#include "cli/cli_post.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"

/* A gateway takes bodies of 1 MiB by default. */
#define BATCH_BYTES_MAX ((off_t)512 << 10)
#define RETRIES_MAX 5
#define STALLED_SECONDS 30L
/* Shorter than any server keeps idle connections: one that is about to be closed is not used. */
#define KEPT_SECONDS 30L
#define JSON_FLAGS                                                                                 \
    (JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL)

static size_t post_on_body(char *bytes, size_t one, size_t bytes_n, void *arg)
{
    struct cli_post *post = arg;

    (void)one;
    return cli_http_keep(&post->http, bytes, bytes_n) ? bytes_n : 0;
}

/*
 * The request is about to go out.  libcurl sends it a second time, on its own, when a kept
 * connection ends without an answer; the first may have been published, so without a key the
 * second must not leave.
 */
static int post_on_send(void *arg, char *peer, char *own, int peer_port, int own_port)
{
    struct cli_post *post = arg;

    (void)peer, (void)own, (void)peer_port, (void)own_port;
    post->sent_n++;
    return post->sent_n == 1 || post->options->key ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

/* The first text of the options that is no UTF-8 and so cannot be JSON; NULL: none. */
static const char *find_bad_text(const struct cli_post_options *options)
{
    const char *single[] = {options->event, options->key};
    const struct cli_list lists[] = {options->topics, options->users, {single, 2}};

    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < lists[i].items_n; j++) {
            const char *text = lists[i].items[j];

            if (text != NULL && !utf8_valid(text, strlen(text), NULL))
                return text;
        }
    }
    return NULL;
}

static void add_member(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) < 0)
        cli_need(NULL);
}

static void add_names(json_t *object, const char *one, const char *many,
                      const struct cli_list *names)
{
    if (names->items_n == 1)
        add_member(object, one, json_string(names->items[0]));
    if (names->items_n <= 1)
        return;
    json_t *array = json_array();
    for (size_t i = 0; i < names->items_n; i++)
        json_array_append_new(array, cli_need(json_string(names->items[i])));
    add_member(object, many, array);
}

/* The members that all events share, in JSON, each with a comma after it. */
static char *make_address(const struct cli_post_options *options)
{
    json_t *object = cli_need(json_object());

    add_names(object, "topic", "topics", &options->topics);
    add_names(object, "user", "users", &options->users);
    if (options->event != NULL)
        add_member(object, "event", json_string(options->event));
    if (options->retry_ms != CLI_POST_UNSET)
        add_member(object, "retry", json_integer((json_int_t)options->retry_ms));
    if (options->ttl_s != CLI_POST_UNSET)
        add_member(object, "ttl", json_integer((json_int_t)options->ttl_s));
    if (options->ephemeral)
        add_member(object, "ephemeral", json_true());
    char *members = cli_need(json_dumps(object, JSON_COMPACT | JSON_EMBED));
    char *address = cli_format("%s%s", members, *members ? "," : "");
    free(members);
    json_decref(object);
    return address;
}

static void begin_batch(struct cli_post *post)
{
    post->pending = cli_need(open_memstream(&post->body, &post->body_n));
    putc('[', post->pending);
    post->pending_n = 0;
}

static void drop_batch(struct cli_post *post)
{
    fclose(post->pending);
    free(post->body);
    post->pending = NULL;
}

int cli_post_open(struct cli_post *post, const char *tool, const struct cli_http_target *target,
                  const struct cli_post_options *options)
{
    *post = (struct cli_post){.options = options, .tool = tool};
    const char *bad = find_bad_text(options);
    if (bad)
        return cli_misused(tool, "'%s' is not valid UTF-8", bad);
    int status = cli_http_init(&post->http, tool, target, "/api/push", NULL);
    if (status != CLI_FINE)
        return status;
    post->address = make_address(options);
    post->events = cli_need(reallocarray(NULL, options->batch_n, sizeof(*post->events)));
    begin_batch(post);
    CURL *easy = post->http.easy;
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, post_on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, post);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, post_on_send);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, post);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, STALLED_SECONDS);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)options->timeout_s);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, KEPT_SECONDS);
    return CLI_FINE;
}

void cli_post_close(struct cli_post *post)
{
    if (post->pending != NULL)
        drop_batch(post);
    free(post->address);
    free(post->events);
    cli_http_clear(&post->http);
}

/* "lines 3-7: " in front of a message; nothing when there is only one event. */
static char *format_place(const struct cli_post *post, uint64_t first, uint64_t last)
{
    if (post->unit == NULL)
        return cli_format("%s", "");
    if (first == last)
        return cli_format("%s %llu: ", post->unit, (unsigned long long)first);
    return cli_format("%ss %llu-%llu: ", post->unit, (unsigned long long)first,
                      (unsigned long long)last);
}

char *cli_post_check(const struct cli_post *post, uint64_t number, const char *data, size_t data_n)
{
    json_error_t error;
    size_t bad;
    char *why = NULL;

    if (post->options->json) {
        struct json_alloc *json = cli_read_json(data_n > 0 ? data : "", data_n, JSON_FLAGS, &error);

        if (json == NULL)
            why = cli_format("no JSON at line %d, column %d: %s", error.line, error.column,
                             error.text);
        json_alloc_free(json);
    } else if (!utf8_valid(data_n > 0 ? data : "", data_n, &bad)) {
        why = cli_format("not valid UTF-8 at byte %zu", bad + 1);
    }
    if (why == NULL)
        return NULL;
    char *place = format_place(post, number, number);
    char *text = cli_format("%s%s", place, why);
    free(place);
    free(why);
    return text;
}

/* Text as a JSON string. */
static void post_put_string(FILE *to, const char *text, size_t text_n)
{
    json_t *string = cli_need(json_stringn(text_n > 0 ? text : "", text_n));

    json_dumpf(string, to, JSON_ENCODE_ANY);
    json_decref(string);
}

/* The key of an event: the one given, or one of a row, which a line keeps whatever becomes of the
 * others: after a refused one is mended all lines may be published again. */
static void post_put_key(const struct cli_post *post, uint64_t number, FILE *to)
{
    if (post->options->key == NULL)
        return;
    char *key = post->unit != NULL
                    ? cli_format("%s-%llu", post->options->key, (unsigned long long)number)
                    : cli_format("%s", post->options->key);
    fputs("\"idempotency_key\":", to);
    post_put_string(to, key, strlen(key));
    putc(',', to);
    free(key);
}

int cli_post_add(struct cli_post *post, uint64_t number, const char *data, size_t data_n)
{
    bool is_full = post->pending_n == post->options->batch_n ||
                   ftello(post->pending) + (off_t)data_n > BATCH_BYTES_MAX;

    if (post->pending_n > 0 && is_full) {
        int status = cli_post_flush(post);

        if (status != CLI_FINE)
            return status;
    }
    FILE *to = post->pending;
    if (post->pending_n > 0)
        putc(',', to);
    post->events[post->pending_n++] = (struct cli_post_event){(size_t)ftello(to), number};
    fprintf(to, "{%s", post->address);
    post_put_key(post, number, to);
    fputs("\"data\":", to);
    if (post->options->json)
        fwrite(data, 1, data_n, to);
    else
        post_put_string(to, data, data_n);
    putc('}', to);
    return post->pending_n == post->options->batch_n ? cli_post_flush(post) : CLI_FINE;
}

/* Send a part once. */
static CURLcode post_send_once(struct cli_post *post, const struct cli_post_part *part)
{
    static const char *const lines[] = {
        "Content-Type: application/json", "Accept: application/json, application/problem+json",
        "Expect:", /* a refusal reaches us while we are sending, and waiting costs a second */
    };

    cli_http_begin(&post->http, lines, sizeof(lines) / sizeof(lines[0]));
    curl_easy_setopt(post->http.easy, CURLOPT_POSTFIELDS, part->body);
    curl_easy_setopt(post->http.easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)part->body_n);
    post->sent_n = 0;
    return curl_easy_perform(post->http.easy);
}

/* Whether a connection failed in a way that another may not. */
static bool post_is_lost(CURLcode code)
{
    return code == CURLE_COULDNT_CONNECT || code == CURLE_OPERATION_TIMEDOUT ||
           code == CURLE_GOT_NOTHING || code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR ||
           code == CURLE_PARTIAL_FILE || code == CURLE_HTTP2 || code == CURLE_HTTP2_STREAM;
}

/* Whether another try may help and cannot publish twice: nothing went out, or a key protects. */
static bool may_retry(const struct cli_post *post, CURLcode code)
{
    if (code != CURLE_OK)
        return post_is_lost(code) && (post->sent_n == 0 || post->options->key);
    return post->options->key && cli_http_is_passing(cli_http_status(&post->http));
}

/* What went wrong with the request.  Gives a text for free(). */
static char *post_describe(const struct cli_post *post, CURLcode code)
{
    if (code == CURLE_OK)
        return cli_http_refusal(&post->http);
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return cli_format("%s: the connection ended before the answer", post->http.shown);
    return cli_http_trouble(&post->http, code);
}

static int post_give_up(const struct cli_post *post, const struct cli_post_part *part,
                        CURLcode code)
{
    bool is_unknown = code != CURLE_OK && post->sent_n > 0;
    char *place =
        format_place(post, part->events[0].number, part->events[part->events_n - 1].number);
    char *why = post_describe(post, code);
    int status = cli_fail(
        post->tool, "%s%s%s%s", place, why, is_unknown ? "; it may have been published or not" : "",
        is_unknown && !post->options->key ? " (--idempotency-key makes a retry safe)" : "");

    free(place);
    free(why);
    return status;
}

static void wait_to_retry(const struct cli_post *post, CURLcode code, unsigned failures)
{
    uint64_t wait_ms = cli_http_wait_ms(&post->http, failures);
    struct timespec wait = {(time_t)(wait_ms / 1000), (long)(wait_ms % 1000) * 1000000};
    char *why = post_describe(post, code);

    if (!post->options->quiet)
        cli_fail(post->tool, "%s; trying again in %.1f s", why, (double)wait_ms / 1000);
    free(why);
    nanosleep(&wait, NULL);
}

/* Print one id, or "-" for an event that has none.  False when it is neither. */
static bool print_id(const struct cli_post *post, const json_t *id)
{
    if (!json_is_string(id) && !json_is_null(id))
        return false;
    if (post->options->quiet)
        return true;
    const char *text = json_is_null(id) ? "-" : json_string_value(id);
    cli_put_visible(stdout, text, strlen(text), NULL);
    putchar('\n');
    return true;
}

static bool print_ids(const struct cli_post *post, uint64_t events_n, const json_t *answer)
{
    const json_t *ids = json_object_get(answer, "ids");

    if (ids == NULL)
        return events_n == 1 && print_id(post, json_object_get(answer, "id"));
    if (json_array_size(ids) != events_n)
        return false;
    for (size_t i = 0; i < json_array_size(ids); i++)
        if (!print_id(post, json_array_get(ids, i)))
            return false;
    return true;
}

/* The events are published: print what they are called now. */
static int post_take_answer(const struct cli_post *post, uint64_t events_n)
{
    struct json_alloc *answer = cli_read_json(post->http.answer != NULL ? post->http.answer : "",
                                              post->http.answer_n, 0, NULL);
    bool good = answer != NULL && print_ids(post, events_n, answer->root);

    json_alloc_free(answer);
    if (fflush(stdout) != 0)
        return cli_fail(post->tool, "cannot print the ids: %m");
    if (!good)
        return cli_fail(post->tool, "%s answered %ld without the ids: is it a Bugle gateway?",
                        post->http.shown, cli_http_status(&post->http));
    return CLI_FINE;
}

/* Whether an answer refuses what was sent, not who sent it or when. */
static bool post_is_bad_event(const struct cli_post *post, CURLcode code)
{
    long status = cli_http_status(&post->http);

    return code == CURLE_OK && (status == 400 || status == 413 || status == 422);
}

/* Send a part until it is taken, refused or hopeless.  `*ret_is_refused` is set, and nothing told,
 * when its events may fare better one by one. */
static int post_send_part(struct cli_post *post, const struct cli_post_part *part,
                          bool *ret_is_refused)
{
    *ret_is_refused = false;
    for (unsigned failures = 0;; failures++) {
        CURLcode code = post_send_once(post, part);

        if (code == CURLE_OK && cli_http_status(&post->http) / 100 == 2)
            return post_take_answer(post, part->events_n);
        if (post->options->goes_on && post_is_bad_event(post, code)) {
            *ret_is_refused = part->events_n > 1;
            post->refused_n += part->events_n == 1;
            if (!*ret_is_refused)
                post_give_up(post, part, code);
            return CLI_FINE;
        }
        if (failures == RETRIES_MAX || !may_retry(post, code))
            return post_give_up(post, part, code);
        wait_to_retry(post, code, failures);
    }
}

/* One event of the batch, without the comma or bracket behind it. */
static struct cli_post_part post_part_of(const struct cli_post *post, uint64_t i)
{
    size_t at = post->events[i].at;
    size_t end = i + 1 < post->pending_n ? post->events[i + 1].at : post->body_n;

    return (struct cli_post_part){&post->events[i], 1, post->body + at,
                                  end - at - (post->pending_n > 1)};
}

static int post_send_batch(struct cli_post *post)
{
    struct cli_post_part all = {post->events, post->pending_n, post->body, post->body_n};
    bool is_refused;

    if (post->pending_n == 1)
        all = post_part_of(post, 0);
    int status = post_send_part(post, &all, &is_refused);
    for (uint64_t i = 0, n = is_refused ? post->pending_n : 0; i < n && status == CLI_FINE; i++) {
        struct cli_post_part part = post_part_of(post, i);

        status = post_send_part(post, &part, &is_refused);
    }
    return status;
}

int cli_post_flush(struct cli_post *post)
{
    if (post->pending_n == 0)
        return CLI_FINE;
    if (post->pending_n > 1)
        putc(']', post->pending);
    if (fflush(post->pending) != 0)
        cli_need(NULL);
    int status = post_send_batch(post);
    drop_batch(post);
    begin_batch(post);
    return status;
}

int cli_post_refuse(struct cli_post *post, char *why)
{
    cli_fail(post->tool, "%s", why);
    free(why);
    post->refused_n++;
    return post->options->goes_on ? CLI_FINE : CLI_FAILED;
}
