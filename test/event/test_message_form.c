/* SPDX-License-Identifier: MIT */
/* What a WebSocket gets of an event, and who asked for an envelope: to the byte what EventSource
 * makes of its frame, whoever asks first, counted and freed with it; packed only where that is
 * smaller. */
#include "config.h"
#include "event/message_form.h"

#include <setjmp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <jansson.h>
#include <zlib.h>

#include "../support/make.h"
#include "wire/ws_deflate.h"

#define EPOCH "abcdefghijkl"
#define LONG_BYTES 60000
#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

/* Allocations that succeed before one fails; negative: all succeed.  The linker sends those of all
 * objects of this program here (--wrap). */
static _Atomic int left_n = -1;

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);

static bool may_allocate(void)
{
    if (left_n == 0)
        return false;
    if (left_n > 0)
        left_n--;
    return true;
}

void *__wrap_malloc(size_t bytes)
{
    return may_allocate() ? __real_malloc(bytes) : NULL;
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return may_allocate() ? __real_realloc(old, bytes) : NULL;
}

/* ---- the judges ---- */

struct text {
    char *bytes;
    size_t n;
};

static struct text text_new(size_t room)
{
    return (struct text){calloc(1, room + 1), 0};
}

static void text_add(struct text *text, const char *bytes, size_t n)
{
    memcpy(text->bytes + text->n, bytes, n);
    text->n += n;
}

/* A stream of one event as WHATWG HTML 9.2.6 reads it: the data of the event it dispatches. */
static struct text data_of_event_source(const char *stream, size_t stream_n)
{
    struct text data = text_new(stream_n);
    const char *end = stream + stream_n;

    while (stream < end) {
        const char *line = stream;
        while (stream < end && *stream != '\n' && *stream != '\r')
            stream++;
        size_t line_n = (size_t)(stream - line);
        if (stream + 1 < end && stream[0] == '\r' && stream[1] == '\n')
            stream++;
        stream++;
        if (line_n < 5 || memcmp(line, "data:", 5) != 0)
            continue;
        line += 5, line_n -= 5;
        if (line_n > 0 && *line == ' ')
            line++, line_n--;
        text_add(&data, line, line_n);
        text_add(&data, "\n", 1);
    }
    assert_true(data.n > 0);
    data.n--;
    return data;
}

/* A text frame of a server, whole and in one piece: RFC 6455 section 5.2. */
static struct message_bytes payload_of(const struct message_bytes *frame, bool is_packed)
{
    const unsigned char *head = (const unsigned char *)frame->bytes;
    size_t head_n = 2, payload_n;

    assert_true(frame->n >= 2);
    assert_int_equal(head[0], is_packed ? 0xC1 : 0x81);
    payload_n = head[1];
    if (payload_n == 126) {
        head_n = 4;
        payload_n = (size_t)head[2] << 8 | head[3];
        assert_true(payload_n > 125);
    } else if (payload_n == 127) {
        head_n = 10;
        payload_n = 0;
        for (size_t i = 2; i < 10; i++)
            payload_n = payload_n << 8 | head[i];
        assert_true(payload_n > 65535);
    }
    assert_int_equal(frame->n, head_n + payload_n);
    return (struct message_bytes){frame->bytes + head_n, payload_n};
}

/* As RFC 7692 section 7.2.2 has it. */
static struct text inflated(struct message_bytes packed, size_t room)
{
    static unsigned char tail[] = {0, 0, 0xFF, 0xFF};
    struct text text = text_new(room);
    z_stream stream = {.next_in = (unsigned char *)(uintptr_t)packed.bytes,
                       .avail_in = (unsigned)packed.n,
                       .next_out = (unsigned char *)text.bytes,
                       .avail_out = (unsigned)room};

    assert_int_equal(inflateInit2(&stream, -15), Z_OK);
    assert_int_equal(inflate(&stream, Z_NO_FLUSH), Z_OK);
    stream.next_in = tail;
    stream.avail_in = sizeof(tail);
    int code = inflate(&stream, Z_SYNC_FLUSH);
    assert_true(code == Z_OK || code == Z_BUF_ERROR);
    text.n = stream.total_out;
    inflateEnd(&stream);
    return text;
}

static void assert_bytes(struct message_bytes bytes, const char *text, size_t text_n)
{
    assert_int_equal(bytes.n, text_n);
    assert_memory_equal(bytes.bytes, text, text_n);
}

/* ---- nasty data ---- */

static char long_text[LONG_BYTES + 1];
static char noise[LONG_BYTES + 1];
static char short_text[127];

static void make_texts(void)
{
    static const char part[] = "caf\xc3\xa9 \"\\ \xf0\x9f\x98\x80\n\t";
    unsigned seed = 7;

    for (size_t i = 0; i < LONG_BYTES; i++)
        long_text[i] = part[i % (sizeof(part) - 1)];
    long_text[LONG_BYTES - LONG_BYTES % (sizeof(part) - 1)] = '\0';
    for (size_t i = 0; i < LONG_BYTES; i++)
        noise[i] = (char)('!' + rand_r(&seed) % 94);
    memset(short_text, 'x', 126);
}

static const char *const texts[] = {
    "",
    "x",
    " ",
    " leads and trails ",
    "\n",
    "\n\n",
    "\r",
    "\r\n",
    "\n\r\n\r",
    "a\nb",
    "a\r\nb\rc\n",
    "trailing\n",
    "data: x\n\nid: y",
    ":",
    ": comment",
    "id: 1\nretry: 5\nevent: z",
    "\"quotes\" and \\ back\\slashes\\",
    "\t\b\f\x01\x1f\x7f",
    "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xe2\x80\xa8\xe2\x80\xa9",
    "\xef\xbb\xbf mark",
    "</script>",
    "{\"a\":1}",
    short_text,
    long_text,
    noise,
};

static struct message *sealed(struct message *message)
{
    message_seal(message, EPOCH, 4711, 1);
    return message;
}

static void raw_is_what_event_source_gives(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4 * ROWS(texts); i++) {
        struct message *message =
            sealed(make_message(.data = texts[i / 4],
                                .kind = i % 2 == 0 ? MESSAGE_STORED : MESSAGE_EPHEMERAL,
                                .is_json = i % 4 >= 2, .topics = "a b"));
        struct text data = data_of_event_source(message->frame, message->frame_n);
        const struct message_bytes *frame = message_form(message, MESSAGE_FORM_RAW);

        assert_non_null(frame);
        assert_bytes(payload_of(frame, false), data.bytes, data.n);
        assert_ptr_equal(message_form(message, MESSAGE_FORM_RAW), frame);
        free(data.bytes);
        message_unref(message);
    }
}

static json_t *json_of(struct message *message)
{
    const struct message_bytes *frame = message_form(message, MESSAGE_FORM_V1);

    assert_non_null(frame);
    struct message_bytes payload = payload_of(frame, false);
    json_t *json =
        json_loadb(payload.bytes, payload.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    assert_non_null(json);
    return json;
}

static void v1_has_text_as_a_string(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS(texts); i++) {
        struct message *message = sealed(make_message(.data = texts[i], .topics = "a/b \xc3\xa9"));
        struct text data = data_of_event_source(message->frame, message->frame_n);
        json_t *json = json_of(message), *string = json_object_get(json, "data");

        assert_int_equal(json_object_size(json), 4);
        assert_string_equal(json_string_value(json_object_get(json, "type")), "event");
        assert_string_equal(json_string_value(json_object_get(json, "id")),
                            EPOCH "-0000000000004711");
        assert_int_equal(json_array_size(json_object_get(json, "topics")), 2);
        assert_true(json_is_string(string));
        assert_int_equal(json_string_length(string), data.n);
        assert_memory_equal(json_string_value(string), data.bytes, data.n);
        json_decref(json);
        free(data.bytes);
        message_unref(message);
    }
}

/* To the byte, and its members in this order. */
static void v1_is_written_like_this(void **state)
{
    struct message_name topics[] = {{.bytes = "a/b", .bytes_n = 3}, {.bytes = "\"", .bytes_n = 1}};
    struct message_draft draft = {
        .fields = {.name = "pa\"id",
                   .name_n = 5,
                   .data = "{\"n\":1.10,\"s\":\"\\u00e9\\n\"}",
                   .data_n = 25,
                   .retry_ms = 5000},
        .topics = topics,
        .topics_n = 2,
        .ttl_ms = 1500,
        .is_json = true,
    };
    static const struct {
        const char *data, *want;
        bool is_json;
    } rows[] = {
        {"1", "{\"type\":\"event\",\"topics\":[],\"data\":1}", true},
        {"1", "{\"type\":\"event\",\"topics\":[],\"data\":\"1\"}", false},
        {"null", "{\"type\":\"event\",\"topics\":[],\"data\":null}", true},
        {"12345678901234567890", "{\"type\":\"event\",\"topics\":[],\"data\":12345678901234567890}",
         true},
        {"a\r\nb", "{\"type\":\"event\",\"topics\":[],\"data\":\"a\\nb\"}", false},
    };

    (void)state;
    struct message *message = sealed(message_new(&draft));
    static const char want[] = "{\"type\":\"event\",\"id\":\"" EPOCH "-0000000000004711\","
                               "\"event\":\"pa\\\"id\",\"topics\":[\"a/b\",\"\\\"\"],"
                               "\"data\":{\"n\":1.10,\"s\":\"\\u00e9\\n\"}}";
    assert_bytes(payload_of(message_form(message, MESSAGE_FORM_V1), false), want, strlen(want));
    message_unref(message);
    for (size_t i = 0; i < ROWS(rows); i++) {
        message = sealed(make_message(.data = rows[i].data, .is_json = rows[i].is_json,
                                      .users = "ada", .kind = MESSAGE_EPHEMERAL));
        assert_bytes(payload_of(message_form(message, MESSAGE_FORM_V1), false), rows[i].want,
                     strlen(rows[i].want));
        message_unref(message);
    }
}

/* ---- envelopes ---- */

#define PUBLISHED "1970-01-01T00:00:00.001Z"

static void assert_frame(const char *bytes, size_t bytes_n, const char *want)
{
    assert_int_equal(bytes_n, strlen(want));
    assert_memory_equal(bytes, want, bytes_n);
}

/* To the byte: the event's own frame, but without its name, and with this as its data. */
static void an_envelope_is_written_like_this(void **state)
{
    struct message_name topics[] = {{.bytes = "a/b", .bytes_n = 3}, {.bytes = "\"", .bytes_n = 1}};
    struct message_draft draft = {
        .fields =
            {.name = "pa\"id", .name_n = 5, .data = "{\"n\":1.10}", .data_n = 10, .retry_ms = 5000},
        .topics = topics,
        .topics_n = 2,
        .is_json = true,
    };
    static const struct {
        const char *data, *topics, *users, *want;
        bool is_json;
    } rows[] = {
        {"1", NULL, NULL, "\"topics\":[],\"data\":1", true},
        {"1", NULL, NULL, "\"topics\":[],\"data\":\"1\"", false},
        {"a\r\nb", "a", NULL, "\"topics\":[\"a\"],\"data\":\"a\\nb\"", false},
        {"", "a b", "ada", "\"topics\":[\"a\",\"b\"],\"users\":[\"ada\"],\"data\":\"\"", false},
        {"x", NULL, "ada bob", "\"topics\":[],\"data\":\"x\"", false},
    };
    const struct message_bytes *form;

    (void)state;
    struct message *message = sealed(message_new(&draft));
    form = message_form(message, MESSAGE_FORM_ENVELOPE);
    assert_frame(form->bytes, form->n,
                 "retry: 5000\ndata: {\"id\":\"" EPOCH "-0000000000004711\",\"event\":\"pa\\\"id\","
                 "\"topics\":[\"a/b\",\"\\\"\"],\"data\":{\"n\":1.10},\"published\":\"" PUBLISHED
                 "\"}\nid: " EPOCH "-0000000000004711\n\n");
    message_unref(message);
    for (size_t i = 0; i < ROWS(rows); i++) {
        char want[512];

        message = sealed(make_message(.data = rows[i].data, .is_json = rows[i].is_json,
                                      .topics = rows[i].topics, .users = rows[i].users,
                                      .kind = MESSAGE_EPHEMERAL));
        snprintf(want, sizeof(want),
                 "data: {\"id\":null,\"event\":\"message\",%s,\"published\":\"" PUBLISHED "\"}\n\n",
                 rows[i].want);
        form = message_form(message, MESSAGE_FORM_ENVELOPE);
        assert_frame(form->bytes, form->n, want);
        assert_ptr_equal(message_form(message, MESSAGE_FORM_ENVELOPE), form);
        message_unref(message);
    }
}

static void an_envelope_has_any_text_in_one_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS(texts); i++) {
        struct message *message = sealed(make_message(.data = texts[i], .topics = "a"));
        const struct message_bytes *form = message_form(message, MESSAGE_FORM_ENVELOPE);
        struct text data = data_of_event_source(message->frame, message->frame_n);
        struct text line = data_of_event_source(form->bytes, form->n);

        assert_null(memchr(line.bytes, '\n', line.n));
        json_t *json =
            json_loadb(line.bytes, line.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
        json_t *string = json_object_get(json, "data");
        assert_int_equal(json_object_size(json), 5);
        assert_int_equal(json_string_length(string), data.n);
        assert_memory_equal(json_string_value(string), data.bytes, data.n);
        json_decref(json);
        free(data.bytes);
        free(line.bytes);
        message_unref(message);
    }
}

/* Each sees itself, and the others nowhere. */
static void an_envelope_for_several_names_its_reader(void **state)
{
    static const char *const users[] = {"ada", "b\"b", "cy"};
    struct message *message =
        sealed(make_message(.users = "ada b\"b cy", .topics = "t", .data = "x"));

    (void)state;
    for (size_t i = 0; i < ROWS(users); i++) {
        struct message_name user = {.bytes = users[i], .bytes_n = strlen(users[i])};
        struct message *own = message_new_envelope(message, &user);
        struct text line = data_of_event_source(own->frame, own->frame_n);
        json_t *json = json_loadb(line.bytes, line.n, JSON_REJECT_DUPLICATES, NULL);
        json_t *named = json_object_get(json, "users");

        assert_int_equal(own->kind, MESSAGE_CONTROL);
        assert_int_equal(json_array_size(named), 1);
        assert_string_equal(json_string_value(json_array_get(named, 0)), users[i]);
        assert_string_equal(json_string_value(json_object_get(json, "data")), "x");
        assert_memory_equal(own->frame + own->frame_n - SSE_TAIL_BYTES,
                            "id: " EPOCH "-0000000000004711\n\n", SSE_TAIL_BYTES);
        for (size_t other = 0; other < ROWS(users); other += 2)
            assert_true((memmem(own->frame, own->frame_n, users[other], strlen(users[other])) !=
                         NULL) == (other == i));
        json_decref(json);
        free(line.bytes);
        message_unref(own);
    }
    message_unref(message);
}

/* ---- packed ---- */

static void packs_what_becomes_smaller(void **state)
{
    struct ws_deflate *deflater = ws_deflate_new();
    size_t packed_n = 0;

    (void)state;
    for (size_t i = 0; i < 2 * ROWS(texts); i++) {
        enum message_form_kind kind = i % 2 == 0 ? MESSAGE_FORM_RAW : MESSAGE_FORM_V1;
        struct message *message = sealed(make_message(.data = texts[i / 2], .topics = "a"));
        const struct message_bytes *packed = message_form_packed(message, kind, deflater);
        const struct message_bytes *plain = message_form(message, kind);

        assert_ptr_equal(message_form_packed(message, kind, deflater), packed);
        if (packed != plain) {
            struct message_bytes want = payload_of(plain, false);
            struct text text = inflated(payload_of(packed, true), want.n);

            assert_true(packed->n < plain->n);
            assert_bytes(want, text.bytes, text.n);
            free(text.bytes);
            packed_n++;
        }
        message_unref(message);
    }
    assert_in_range(packed_n, 4, 2 * ROWS(texts) - 4);
    ws_deflate_free(deflater);
}

/* ---- the account ---- */

static void is_counted_until_it_is_freed(void **state)
{
    struct ws_deflate *deflater = ws_deflate_new();

    (void)state;
    for (size_t i = 0; i < ROWS(texts); i++) {
        _Atomic int64_t account = 100;
        struct message *message = make_message(.data = texts[i]);

        message_charge(message, &account);
        sealed(message);
        assert_int_equal(account, 100 + message->bytes);
        assert_int_equal(message_form_cost(message), 0);
        const struct message_bytes *raw = message_form(message, MESSAGE_FORM_RAW);
        assert_true(account >= 100 + message->bytes + (int64_t)raw->n);
        const struct message_bytes *v1 = message_form(message, MESSAGE_FORM_V1);
        assert_true(account >= 100 + message->bytes + (int64_t)(raw->n + v1->n));
        message_form_packed(message, MESSAGE_FORM_RAW, deflater);
        message_form(message, MESSAGE_FORM_ENVELOPE);
        int64_t before = account;
        message_form(message, MESSAGE_FORM_ENVELOPE);
        message_form_packed(message, MESSAGE_FORM_RAW, deflater);
        message_form(message, MESSAGE_FORM_RAW);
        message_form(message, MESSAGE_FORM_V1);
        assert_int_equal(account, before);
        assert_int_equal(message_form_cost(message), before - 100 - message->bytes);
        message_unref(message);
        assert_int_equal(account, 100);
    }
    ws_deflate_free(deflater);
}

/* ---- memory ---- */

static void an_allocation_that_fails_leaves_no_form(void **state)
{
    struct ws_deflate *deflater = ws_deflate_new();

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        enum message_form_kind kind = i == 4       ? MESSAGE_FORM_ENVELOPE
                                      : i % 2 == 0 ? MESSAGE_FORM_RAW
                                                   : MESSAGE_FORM_V1;
        struct ws_deflate *use = i < 2 || i == 4 ? NULL : deflater;
        unsigned failures_n = 0;
        bool failed = true;

        for (int nth = 0; failed; nth++) {
            _Atomic int64_t account = 0;
            struct message *message = make_message(.data = i < 3 ? long_text : noise);

            message_charge(message, &account);
            sealed(message);
            left_n = nth;
            const struct message_bytes *form =
                use != NULL ? message_form_packed(message, kind, use) : message_form(message, kind);
            failed = form == NULL;
            failures_n += failed;
            left_n = -1;
            /* and the next one who asks gets it */
            form =
                use != NULL ? message_form_packed(message, kind, use) : message_form(message, kind);
            assert_non_null(form);
            message_unref(message);
            assert_int_equal(account, 0);
        }
        assert_in_range(failures_n, 2, 12);
    }
    ws_deflate_free(deflater);
}

static void a_frame_of_another_has_none(void **state)
{
    struct message *message = sealed(make_message(.data = "x"));

    (void)state;
    message->frame[0] = 'D';
    assert_null(message_form(message, MESSAGE_FORM_RAW));
    assert_null(message_form(message, MESSAGE_FORM_V1));
    assert_null(message_form(message, MESSAGE_FORM_ENVELOPE));
    message_unref(message);
}

/* ---- many at once ---- */

enum { THREADS = 6, MESSAGES = 400, FORMS = 5 };

struct race {
    pthread_barrier_t barrier;
    struct message *messages[MESSAGES];
    const struct message_bytes *seen[THREADS][MESSAGES][FORMS];
    _Atomic unsigned next;
};

/* Each asks for all forms of all events, in an order of its own, and gives its reference up. */
static void *ask_for_all(void *arg)
{
    struct race *race = arg;
    unsigned number = atomic_fetch_add(&race->next, 1);
    struct ws_deflate *deflater = ws_deflate_new();

    pthread_barrier_wait(&race->barrier);
    for (size_t i = 0; i < MESSAGES; i++) {
        struct message *message = race->messages[i];

        for (size_t j = 0; j < FORMS; j++) {
            size_t which = (j + number) % FORMS;
            enum message_form_kind kind = which == 4       ? MESSAGE_FORM_ENVELOPE
                                          : which % 2 == 0 ? MESSAGE_FORM_RAW
                                                           : MESSAGE_FORM_V1;
            bool is_plain = which < 2 || which == 4;

            race->seen[number][i][which] = is_plain ? message_form(message, kind)
                                                    : message_form_packed(message, kind, deflater);
        }
    }
    pthread_barrier_wait(&race->barrier);
    for (size_t i = 0; i < MESSAGES; i++)
        message_unref(race->messages[i]);
    ws_deflate_free(deflater);
    return NULL;
}

static void threads_that_ask_at_once_get_the_same(void **state)
{
    struct race *race = calloc(1, sizeof(*race));
    _Atomic int64_t account = 0;
    pthread_t threads[THREADS];
    char data[600];

    (void)state;
    memset(data, 'x', sizeof(data));
    data[sizeof(data) - 1] = '\0';
    pthread_barrier_init(&race->barrier, NULL, THREADS);
    for (size_t i = 0; i < MESSAGES; i++) {
        data[sprintf(data, "%zu", i)] = ' ';
        race->messages[i] = make_message(.data = data, .topics = "a");
        message_charge(race->messages[i], &account);
        sealed(race->messages[i]);
        for (size_t j = 1; j < THREADS; j++)
            message_ref(race->messages[i]);
        message_ref(race->messages[i]); /* for the look below */
    }
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_for_all, race), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < MESSAGES; i++) {
        for (size_t j = 0; j < FORMS; j++)
            for (size_t k = 1; k < THREADS; k++)
                assert_ptr_equal(race->seen[k][i][j], race->seen[0][i][j]);
        struct text text =
            data_of_event_source(race->messages[i]->frame, race->messages[i]->frame_n);
        assert_bytes(payload_of(race->seen[0][i][0], false), text.bytes, text.n);
        free(text.bytes);
        message_unref(race->messages[i]);
    }
    assert_int_equal(account, 0);
    pthread_barrier_destroy(&race->barrier);
    free(race);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_is_what_event_source_gives),
        cmocka_unit_test(v1_has_text_as_a_string),
        cmocka_unit_test(v1_is_written_like_this),
        cmocka_unit_test(an_envelope_is_written_like_this),
        cmocka_unit_test(an_envelope_has_any_text_in_one_line),
        cmocka_unit_test(an_envelope_for_several_names_its_reader),
        cmocka_unit_test(packs_what_becomes_smaller),
        cmocka_unit_test(is_counted_until_it_is_freed),
        cmocka_unit_test(an_allocation_that_fails_leaves_no_form),
        cmocka_unit_test(a_frame_of_another_has_none),
        cmocka_unit_test(threads_that_ask_at_once_get_the_same),
    };

    make_texts();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
