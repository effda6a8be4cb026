/* SPDX-License-Identifier: MIT */
/* Publish requests of the load tool. */
#include "config.h"
#include "bench/bench_request.h"

#include "bench/bench_stamp.h"
#include "bench/bench_ws.h"
#include "cli/cli_common.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_MAX 20
#define TOPIC_BYTES 24
#define V1_BEGIN "{\"type\":\"publish\",\"ref\":1,\"events\":"

static void put_lines_of_way(FILE *file, const struct bench_options *options)
{
    switch (options->publish_way) {
    case BENCH_PUBLISH_POST:
        fprintf(file, "Content-Type: %s\r\n", options->publish_type);
        return;
    case BENCH_PUBLISH_WS_V1:
        fputs(BENCH_WS_UPGRADE "Sec-WebSocket-Protocol: bugle.v1\r\n", file);
        return;
    case BENCH_PUBLISH_WS_RAW:
        fputs(BENCH_WS_UPGRADE, file);
        return;
    }
}

/* The part of the head that never changes. */
static int write_constant(struct bench_request *request)
{
    const struct bench_options *options = request->options;
    char *text = NULL;
    size_t text_n = 0;
    FILE *file = open_memstream(&text, &text_n);

    if (file == NULL)
        return -ENOMEM;
    fprintf(file, " HTTP/1.1\r\nHost: %s\r\nUser-Agent: bugle-bench\r\n", request->url.authority);
    put_lines_of_way(file, options);
    for (size_t i = 0; i < options->headers_n; i++)
        fprintf(file, "%s\r\n", options->headers[i]);
    fputs(options->publish_way == BENCH_PUBLISH_POST ? "Content-Length: " : "\r\n", file);
    if (fclose(file) != 0) {
        free(text);
        return -ENOMEM;
    }
    request->constant = text;
    request->constant_n = text_n;
    return 0;
}

int bench_request_init(struct bench_request *request, const struct bench_options *options,
                       uint32_t run)
{
    request->options = options;
    request->run = run;
    request->chance = UINT64_C(0x9e3779b97f4a7c15) ^ run;
    int rc = bench_url_resolve(&request->url, options->publish_url);
    if (rc == 0 && request->url.is_tls) {
        cli_fail("bench", "%s: publishing is without TLS", options->publish_url);
        return -EINVAL;
    }
    if (rc == 0)
        rc = bench_template_compile(&request->path, request->url.path);
    if (rc == 0)
        rc = bench_template_compile(&request->body, options->publish_body);
    if (rc == 0)
        rc = write_constant(request);
    if (rc != 0)
        return rc;
    request->one_topic = bench_template_names(&request->path, BENCH_PLACE_TOPIC);
    request->issued = calloc(options->topics, sizeof(*request->issued));
    request->answered = calloc(options->topics, sizeof(*request->answered));
    request->data = malloc(options->size);
    if (request->issued == NULL || request->answered == NULL || request->data == NULL)
        return -ENOMEM;
    memset(request->data, 'x', options->size);
    return 0;
}

void bench_request_done(struct bench_request *request)
{
    for (uint32_t i = 0; request->answered && i < request->options->topics; i++)
        bench_sequence_done(&request->answered[i]);
    free(request->answered);
    free(request->constant);
    free(request->issued);
    free(request->data);
    memset(request, 0, sizeof(*request));
}

static struct bench_values bench_request_values_of(const struct bench_request *request)
{
    struct bench_values values = {0};

    values.at[BENCH_PLACE_DATA].text = request->data;
    values.at[BENCH_PLACE_DATA].text_n = request->options->size;
    return values;
}

size_t bench_request_room(const struct bench_request *request)
{
    struct bench_values values = bench_request_values_of(request);

    values.at[BENCH_PLACE_TOPIC].text_n = TOPIC_BYTES;
    values.at[BENCH_PLACE_SEQ].text_n = DIGITS_MAX;
    size_t events = (bench_template_bytes(&request->body, &values) + 1) * request->options->batch;
    size_t head = bench_template_bytes(&request->path, &values) + request->constant_n;
    /* the method, the empty line, the brackets; of a message, what stands around it */
    return head + events + DIGITS_MAX + 16 + BENCH_WS_MASKED_HEAD_BYTES + sizeof(V1_BEGIN);
}

/* Decimal digits, faster than printf; returns the place behind them. */
static char *bench_request_write_number(char *to, uint64_t number)
{
    char digits[DIGITS_MAX];
    size_t n = 0;

    do {
        digits[DIGITS_MAX - ++n] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    return mempcpy(to, digits + DIGITS_MAX - n, n);
}

/* xorshift64*: cheap, and even enough to spread events. */
static uint32_t bench_request_random_below(struct bench_request *request, uint32_t below)
{
    request->chance ^= request->chance >> 12;
    request->chance ^= request->chance << 25;
    request->chance ^= request->chance >> 27;
    uint32_t high = (uint32_t)(request->chance * UINT64_C(0x2545f4914f6cdd1d) >> 32);
    return (uint32_t)((uint64_t)high * below >> 32);
}

static uint32_t next_topic(struct bench_request *request)
{
    uint32_t topics = request->options->topics;

    if (topics == 1)
        return 0;
    if (request->options->random)
        return bench_request_random_below(request, topics);
    uint32_t topic = request->turn;
    request->turn = topic + 1 == topics ? 0 : topic + 1;
    return topic;
}

static void choose_events(struct bench_request *request, uint32_t topic,
                          struct bench_request_event *ret_events)
{
    if (!request->one_topic || request->options->publish_way == BENCH_PUBLISH_POST)
        topic = next_topic(request);

    for (uint32_t i = 0; i < request->options->batch; i++) {
        if (i > 0 && !request->one_topic)
            topic = next_topic(request);
        ret_events[i].topic = topic;
        ret_events[i].number = request->issued[topic]++;
    }
}

static char *bench_request_write_event(struct bench_request *request, char *to, uint64_t due_ns,
                                       struct bench_request_event event,
                                       const struct bench_template *template)
{
    char topic[TOPIC_BYTES] = "bench-", seq[DIGITS_MAX];
    struct bench_values values = bench_request_values_of(request);

    values.at[BENCH_PLACE_TOPIC].text = topic;
    values.at[BENCH_PLACE_TOPIC].text_n =
        (size_t)(bench_request_write_number(topic + 6, event.topic) - topic);
    values.at[BENCH_PLACE_SEQ].text = seq;
    values.at[BENCH_PLACE_SEQ].text_n =
        (size_t)(bench_request_write_number(seq, event.number) - seq);
    const struct bench_stamp stamp = {
        .run = request->run,
        .topic = event.topic,
        .number = event.number,
        .answered = bench_sequence_first_missing(&request->answered[event.topic]),
        .due_ns = due_ns,
    };
    bench_stamp_write(request->data, &stamp);
    return bench_template_write(template, to, &values);
}

static char *bench_request_write_events(struct bench_request *request, char *to, uint64_t due_ns,
                                        const struct bench_request_event *events)
{
    uint32_t batch = request->options->batch;

    if (batch == 1)
        return bench_request_write_event(request, to, due_ns, events[0], &request->body);
    for (uint32_t i = 0; i < batch; i++) {
        *to++ = i == 0 ? '[' : ',';
        to = bench_request_write_event(request, to, due_ns, events[i], &request->body);
    }
    *to++ = ']';
    return to;
}

/*
 * The length stands before the body and its digits vary, so the body is written first, behind
 * room for the longest length, and moved up.
 */
static size_t write_post(struct bench_request *request, char *to, uint64_t due_ns,
                         const struct bench_request_event *events)
{
    char *at = stpcpy(to, "POST ");
    at = bench_request_write_event(request, at, due_ns, events[0], &request->path);
    at = mempcpy(at, request->constant, request->constant_n);
    char *body = at + DIGITS_MAX + 4;
    size_t body_n = (size_t)(bench_request_write_events(request, body, due_ns, events) - body);
    at = bench_request_write_number(at, body_n);
    at = mempcpy(at, "\r\n\r\n", 4);
    memmove(at, body, body_n);
    return (size_t)(at - to) + body_n;
}

static size_t write_message(struct bench_request *request, char *to, uint64_t due_ns,
                            const struct bench_request_event *events)
{
    bool is_v1 = request->options->publish_way == BENCH_PUBLISH_WS_V1;
    uint32_t mask = bench_request_random_below(request, UINT32_MAX);
    char *payload = to + BENCH_WS_MASKED_HEAD_BYTES, *at = payload;

    if (is_v1)
        at = stpcpy(at, V1_BEGIN);
    at = bench_request_write_events(request, at, due_ns, events);
    if (is_v1)
        *at++ = '}';
    return bench_ws_make_frame(to, BENCH_WS_TEXT, (size_t)(at - payload), mask);
}

size_t bench_request_write(struct bench_request *request, char *to, uint32_t topic, uint64_t due_ns,
                           struct bench_request_event *ret_events)
{
    bool is_post = request->options->publish_way == BENCH_PUBLISH_POST;

    choose_events(request, topic, ret_events);
    size_t bytes = is_post ? write_post(request, to, due_ns, ret_events)
                           : write_message(request, to, due_ns, ret_events);
    assert(bytes <= bench_request_room(request));
    return bytes;
}

size_t bench_request_write_upgrade(const struct bench_request *request, char *to, uint32_t topic)
{
    char name[TOPIC_BYTES] = "bench-";
    struct bench_values values = {0};

    values.at[BENCH_PLACE_TOPIC].text = name;
    values.at[BENCH_PLACE_TOPIC].text_n =
        (size_t)(bench_request_write_number(name + strlen(name), topic) - name);
    char *at = bench_template_write(&request->path, stpcpy(to, "GET "), &values);
    at = mempcpy(at, request->constant, request->constant_n);
    return (size_t)(at - to);
}

void bench_request_answered(struct bench_request *request, const struct bench_request_event *events)
{
    for (uint32_t i = 0; i < request->options->batch; i++)
        bench_sequence_take(&request->answered[events[i].topic], events[i].number);
}
