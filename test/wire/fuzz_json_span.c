/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for spans of JSON, with jansson as the judge: what a span says must be what jansson
 * read.  Text that jansson refuses must at least be walked without leaving it.  Of any text the
 * parser takes no more memory than was counted.
 */
#include "wire/json_alloc.h"
#include "wire/json_span.h"

#include <assert.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FLAGS (JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct json_span text, struct json_span value)
{
    assert(!value.at ||
           (value.at >= text.at && value.at + value.bytes_n <= text.at + text.bytes_n));
}

/* Of any text: nothing is read outside (a sanitizer tells), every walk ends. */
static void check_walks(struct json_span text)
{
    struct json_span value = json_span_member(text, "data");
    char *to = malloc(text.bytes_n + 1);
    size_t line, column;

    assert(to);
    check_inside(text, value);
    for (value = json_span_first(text); value.at; value = json_span_next(text, value))
        check_inside(text, value);
    assert(json_span_depth(text) <= text.bytes_n);
    assert(json_span_compact(to, text) <= text.bytes_n);
    json_span_place(text.at, text.bytes_n, &line, &column);
    assert(line >= 1 && column >= 1 && line + column <= text.bytes_n + 2);
    free(to);
}

static json_t *parse(struct json_span span)
{
    return json_loadb(span.at, span.bytes_n, FLAGS | JSON_DECODE_ANY, NULL);
}

/* A span is a whole value, equal to jansson's, with no white space around it. */
static void check_value(struct json_span span, json_t *want)
{
    json_t *got;

    assert(span.at && span.bytes_n > 0);
    assert(!strchr(" \t\r\n", span.at[0]) && !strchr(" \t\r\n", span.at[span.bytes_n - 1]));
    got = parse(span);
    assert(got && json_equal(got, want));
    json_decref(got);
}

static void check_members(struct json_span text, json_t *object)
{
    const char *key;
    json_t *value;

    json_object_foreach(object, key, value)
    {
        size_t key_n = strlen(key);
        char *longer = malloc(key_n + 2);

        check_value(json_span_member(text, key), value);
        assert(longer);
        memcpy(longer, key, key_n);
        memcpy(longer + key_n, "x", 2);
        if (!json_object_get(object, longer))
            assert(!json_span_member(text, longer).at);
        free(longer);
    }
    if (!json_object_get(object, "data"))
        assert(!json_span_member(text, "data").at);
}

static void check_elements(struct json_span text, json_t *array)
{
    struct json_span element = json_span_first(text);
    json_t *value;
    size_t i;

    json_array_foreach(array, i, value)
    {
        check_value(element, value);
        element = json_span_next(text, element);
    }
    assert(!element.at);
}

static size_t depth_of(json_t *value)
{
    size_t deepest = 0, depth, i;
    const char *key;
    json_t *inner;

    if (!json_is_array(value) && !json_is_object(value))
        return 0;
    json_array_foreach(value, i, inner)
    {
        depth = depth_of(inner);
        deepest = depth > deepest ? depth : deepest;
    }
    json_object_foreach(value, key, inner)
    {
        depth = depth_of(inner);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + 1;
}

static void check_compact(struct json_span text, json_t *want)
{
    struct json_span compact = {NULL, 0};
    char *to = malloc(text.bytes_n + 1);
    json_t *got;

    assert(to);
    compact.at = to;
    compact.bytes_n = json_span_compact(to, text);
    got = parse(compact);
    assert(got && json_equal(got, want));
    json_decref(got);
    assert(json_span_compact(to, compact) == compact.bytes_n);
    /* in place */
    memcpy(to, text.at, text.bytes_n);
    text.at = to;
    assert(json_span_compact(to, text) == compact.bytes_n);
    got = parse(compact);
    assert(got && json_equal(got, want));
    json_decref(got);
    free(to);
}

static void check_memory(struct json_span text)
{
    struct json_alloc *parsed;

    if (json_alloc_load(text.at, text.bytes_n, FLAGS | JSON_DECODE_ANY, NULL, &parsed) == 0)
        assert(!json_alloc_was_short(parsed));
    json_alloc_free(parsed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_span text = {size > 0 ? (const char *)data : "", size};
    json_t *value;

    check_walks(text);
    check_memory(text);
    value = json_loadb(text.at, text.bytes_n, FLAGS, NULL);
    if (!value)
        return 0;
    if (json_is_object(value))
        check_members(text, value);
    else
        check_elements(text, value);
    assert(json_span_depth(text) == depth_of(value));
    check_compact(text, value);
    json_decref(value);
    return 0;
}
