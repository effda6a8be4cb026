/* SPDX-License-Identifier: MIT */
/* Frames byte by byte, ids there and back, and the names a publisher may use. */
#include "wire/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define ZEROS "00000000000000000000000000000"

/* The fields of a frame are those it was made from, but for the ends of lines. */
static void check_way_back(const char *frame, size_t frame_n, const struct sse_fields *fields)
{
    char *room = malloc(frame_n), *again = malloc(frame_n);
    bool nameless = fields->name == NULL || fields->name_n == 0 ||
                    (fields->name_n == 7 && memcmp(fields->name, "message", 7) == 0);
    size_t id_offset, data_offset;
    struct sse_fields back;

    assert_true(sse_read_frame(frame, frame_n, room, &back));
    assert_int_equal(back.retry_ms, fields->retry_ms);
    assert_int_equal(back.with_id, fields->with_id);
    assert_int_equal(back.name == NULL, nameless);
    assert_null(memchr(back.data, '\r', back.data_n));
    assert_true(back.data_n <= fields->data_n);
    assert_int_equal(sse_frame_bytes(&back), frame_n);
    sse_write_frame(again, &back, &id_offset, &data_offset);
    assert_memory_equal(again, frame, frame_n);
    for (size_t cut_n = 0; cut_n < frame_n; cut_n++)
        assert_false(sse_read_frame(frame, cut_n, room, &back));
    free(again);
    free(room);
}

/* Frame fields into a block of exactly the promised size, and compare. */
static void check_frame(const struct sse_fields *fields, const char *want, size_t want_n)
{
    size_t bytes_n = sse_frame_bytes(fields);
    size_t id_offset = 4711, data_offset = 4711;
    char *frame = malloc(bytes_n);

    assert_non_null(frame);
    assert_int_equal(bytes_n, want_n);
    assert_int_equal(sse_write_frame(frame, fields, &id_offset, &data_offset), want_n);
    assert_memory_equal(frame, want, want_n);
    assert_memory_equal(frame + data_offset - 6, "data: ", 6);
    if (fields->with_id)
        assert_memory_equal(frame + id_offset - 4, "id: " ZEROS "\n\n", 4 + SSE_ID_BYTES + 2);
    else
        assert_true(id_offset == SIZE_MAX);
    check_way_back(frame, bytes_n, fields);
    free(frame);
}

static void frames_data(void **state)
{
    static const struct {
        const char *data, *frame;
    } rows[] = {
        {"", "data: \n\n"},
        {"a", "data: a\n\n"},
        {" a", "data:  a\n\n"},
        {"a\nb", "data: a\ndata: b\n\n"},
        {"a\rb", "data: a\ndata: b\n\n"},
        {"a\r\nb", "data: a\ndata: b\n\n"},
        {"a\n\rb", "data: a\ndata: \ndata: b\n\n"},
        {"a\r\r\nb", "data: a\ndata: \ndata: b\n\n"},
        {"a\n", "data: a\ndata: \n\n"},
        {"a\r", "data: a\ndata: \n\n"},
        {"a\r\n", "data: a\ndata: \n\n"},
        {"\n", "data: \ndata: \n\n"},
        {"\n\n", "data: \ndata: \ndata: \n\n"},
        {"\r\n\r\n", "data: \ndata: \ndata: \n\n"},
        {"a\nb\nc\rd", "data: a\ndata: b\ndata: c\ndata: d\n\n"},
        {"id: x\n\ndata: y", "data: id: x\ndata: \ndata: data: y\n\n"},
        {"\xEF\xBB\xBFx", "data: \xEF\xBB\xBFx\n\n"},
        {"\xE2\x80\xA8\xC2\x85\v\f", "data: \xE2\x80\xA8\xC2\x85\v\f\n\n"},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct sse_fields fields = {.data = rows[i].data, .data_n = strlen(rows[i].data)};

        check_frame(&fields, rows[i].frame, strlen(rows[i].frame));
    }
    check_frame(&(struct sse_fields){.data = "a\0\nb", .data_n = 4}, "data: a\0\ndata: b\n\n", 18);
    check_frame(&(struct sse_fields){.data = NULL}, "data: \n\n", 8);
}

static void frames_fields_in_their_order(void **state)
{
    static const struct {
        struct sse_fields fields;
        const char *frame;
    } rows[] = {
        {{.name = "tick", .name_n = 4, .data = "x", .data_n = 1}, "event: tick\ndata: x\n\n"},
        {{.name = "message", .name_n = 7, .data = "x", .data_n = 1}, "data: x\n\n"},
        {{.name = "Message", .name_n = 7, .data = "x", .data_n = 1}, "event: Message\ndata: x\n\n"},
        {{.name = "messages", .name_n = 8, .data = "x", .data_n = 1},
         "event: messages\ndata: x\n\n"},
        {{.name = "", .name_n = 0, .data = "x", .data_n = 1}, "data: x\n\n"},
        {{.data = "x", .data_n = 1, .retry_ms = 1000}, "retry: 1000\ndata: x\n\n"},
        {{.data = "x", .data_n = 1, .retry_ms = 9}, "retry: 9\ndata: x\n\n"},
        {{.data = "x", .data_n = 1, .retry_ms = 10}, "retry: 10\ndata: x\n\n"},
        {{.data = "x", .data_n = 1, .retry_ms = UINT32_MAX}, "retry: 4294967295\ndata: x\n\n"},
        {{.data = "x", .data_n = 1, .with_id = true}, "data: x\nid: " ZEROS "\n\n"},
        {{"tick", 4, "x\ny", 3, 3600000, true},
         "retry: 3600000\nevent: tick\ndata: x\ndata: y\nid: " ZEROS "\n\n"},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++)
        check_frame(&rows[i].fields, rows[i].frame, strlen(rows[i].frame));
}

static void writes_ids(void **state)
{
    static const struct {
        uint64_t position;
        const char *id;
    } rows[] = {
        {0, "0123456789az-0000000000000000"},
        {7, "0123456789az-0000000000000007"},
        {99999999, "0123456789az-0000000099999999"},
        {100000000, "0123456789az-0000000100000000"},
        {1234567890123456, "0123456789az-1234567890123456"},
        {SSE_POSITION_MAX, "0123456789az-9999999999999999"},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        char id[SSE_ID_BYTES + 1];
        const char *epoch;
        uint64_t position;

        id[SSE_ID_BYTES] = '!';
        sse_put_id(id, "0123456789az", rows[i].position);
        assert_memory_equal(id, rows[i].id, SSE_ID_BYTES);
        assert_int_equal(id[SSE_ID_BYTES], '!');
        assert_true(sse_parse_id(id, SSE_ID_BYTES, &epoch, &position));
        assert_ptr_equal(epoch, id);
        assert_true(position == rows[i].position);
    }
}

static void refuses_what_is_no_id(void **state)
{
    static const char *const rows[] = {
        "",
        "0",
        "-",
        "0123456789az-000000000000000",   /* short */
        "0123456789az-00000000000000000", /* long */
        "0123456789az_0000000000000000",
        "0123456789a--0000000000000000",
        "0123456789aZ-0000000000000000",
        "0123456789a\xC3-0000000000000000",
        "0123456789az--000000000000001",
        "0123456789az-+000000000000001",
        "0123456789az-000000000000000a",
        "0123456789az- 000000000000001",
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        const char *epoch = "untouched";
        uint64_t position = 4711;

        if (sse_parse_id(rows[i], strlen(rows[i]), &epoch, &position))
            fail_msg("'%s' is no id", rows[i]);
        assert_string_equal(epoch, "untouched");
        assert_int_equal(position, 4711);
    }
}

static void checks_names(void **state)
{
    static const struct {
        const char *name;
        bool allowed;
    } rows[] = {
        {"", true},
        {"message", true},
        {"order created", true},
        {"a:b", true},
        {"gr\xC3\xBC\xC3\x9F", true},
        {"resets", true},
        {"Reset", true},
        {"reset", false},
        {"checkpoint", false},
        {"expired", false},
        {"open", false},
        {"error", false},
        {"ping", false},
        {"close", false},
        {" a", false},
        {" ", false},
        {"a\nb", false},
        {"a\r", false},
        {"a\tb", false},
        {"a\x7F", false},
        {"a\xFF", false},
        {"a\xE2\x80\x8B", false},
    };
    char name[SSE_NAME_BYTES_MAX + 1];
    const char *why;

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        why = NULL;
        if (sse_check_name(rows[i].name, strlen(rows[i].name), &why) != rows[i].allowed)
            fail_msg("'%s'", rows[i].name);
        assert_true((why == NULL) == rows[i].allowed);
    }
    memset(name, 'x', sizeof name);
    assert_true(sse_check_name(name, SSE_NAME_BYTES_MAX, &why));
    assert_false(sse_check_name(name, SSE_NAME_BYTES_MAX + 1, &why));
    assert_false(sse_check_name("a\0b", 3, &why));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_data),  cmocka_unit_test(frames_fields_in_their_order),
        cmocka_unit_test(writes_ids),   cmocka_unit_test(refuses_what_is_no_id),
        cmocka_unit_test(checks_names),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
