/* SPDX-License-Identifier: MIT */
/* What says that it is JSON, and what looks like JSON or a form without saying so. */
#include "api/publish_kind.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void knows_the_media_types_of_json(void **state)
{
    static const char *const json[] = {
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        "application/json ; charset=\"utf-8\"",
        " application/json",
        "text/json",
        "application/vnd.api+json",
        "application/ld+json; profile=\"x\"",
        "model/gltf+JSON",
    };
    static const char *const other[] = {
        "",
        "application/jsonx",
        "application/x-ndjson",
        "text/plain",
        "json",
        "application/json5",
        "+json",
        "text/plain;x=application/json",
        "text/html",
        "text/plain; a=b+json",
        "application/json-seq",
        "application/json,text/plain",
        "x+json",
        "application/octet-stream",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(json) / sizeof(json[0]); i++)
        if (!publish_kind_is_json(json[i]))
            fail_msg("not JSON: %s", json[i]);
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
        if (publish_kind_is_json(other[i]))
            fail_msg("JSON: %s", other[i]);
    assert_false(publish_kind_is_json(NULL));
}

struct look {
    const char *body;
    enum publish_kind kind;
};

static void assert_looks(const struct look *looks, size_t looks_n)
{
    for (size_t i = 0; i < looks_n; i++) {
        size_t n = strlen(looks[i].body);
        char *exact = malloc(n + 1); /* so that a sanitizer sees who reads further */

        memcpy(exact, looks[i].body, n);
        enum publish_kind kind = publish_kind_look(exact, n);
        char *cut = realloc(exact, n > 0 ? n : 1);
        if (cut == NULL || publish_kind_look(cut, n) != kind)
            fail_msg("not the same again: %s", looks[i].body);
        free(cut);
        if (kind != looks[i].kind)
            fail_msg("%s is %d", looks[i].body, kind);
    }
}

static void sees_events_in_json(void **state)
{
    static const struct look looks[] = {
        {"{\"topic\":\"orders/42\",\"user\":\"anna\",\"data\":\"x\"}", PUBLISH_KIND_JSON},
        {" \r\n\t{ \"a\" : [1,{\"b\":2}] , \"user\" : 1}", PUBLISH_KIND_JSON},
        {"\xef\xbb\xbf{\"data\":1}", PUBLISH_KIND_JSON},
        {"[{\"data\":1}]", PUBLISH_KIND_JSON},
        {"[ {\"a\":1}, {\"topics\":[]} ]", PUBLISH_KIND_JSON},
        {"{\"data\":1}\n{\"data\":2}\n", PUBLISH_KIND_JSON},
        {"{\"a\":1}\n{\"data\":2}\n", PUBLISH_KIND_JSON},
        {"{\"a\":\"\\\"}\",\"user\":1", PUBLISH_KIND_JSON},
        {"{\"data\":\"cut", PUBLISH_KIND_JSON},
        {"{\"topic\":'not JSON'}", PUBLISH_KIND_JSON},
        {"{}", PUBLISH_KIND_TEXT},
        {"{\"a\":1}", PUBLISH_KIND_TEXT},
        {"{\"a\":{\"data\":1}}", PUBLISH_KIND_TEXT},
        {"{\"a\":\"data\"}", PUBLISH_KIND_TEXT},
        {"{\"a\":\"\\\"data\\\":\"}", PUBLISH_KIND_TEXT},
        {"{\"Data\":1}", PUBLISH_KIND_TEXT},
        {"{\"data\"", PUBLISH_KIND_TEXT},
        {"{\"data", PUBLISH_KIND_TEXT},
        {"{\"\\", PUBLISH_KIND_TEXT},
        {"{", PUBLISH_KIND_TEXT},
        {"[", PUBLISH_KIND_TEXT},
        {"[[{\"data\":1}]]", PUBLISH_KIND_TEXT},
        {"[\"data\"]", PUBLISH_KIND_TEXT},
        {"}}}]]{\"data\":1}", PUBLISH_KIND_TEXT},
        {"hello {\"data\":1}", PUBLISH_KIND_TEXT},
        {"", PUBLISH_KIND_TEXT},
        {"\xef\xbb\xbf", PUBLISH_KIND_TEXT},
        {" \n", PUBLISH_KIND_TEXT},
    };

    (void)state;
    assert_looks(looks, sizeof(looks) / sizeof(looks[0]));
}

static void sees_forms(void **state)
{
    static const struct look looks[] = {
        {"topic=orders/42&data=x", PUBLISH_KIND_FORM},
        {"a=1&data=hello world", PUBLISH_KIND_FORM},
        {"\n user=anna&x=y", PUBLISH_KIND_FORM},
        {"topic[]=a&b", PUBLISH_KIND_FORM},
        {"topics[0]=a", PUBLISH_KIND_FORM},
        {"data=", PUBLISH_KIND_FORM},
        {"data", PUBLISH_KIND_TEXT},
        {"hello&data", PUBLISH_KIND_TEXT},
        {"the data=1", PUBLISH_KIND_TEXT},
        {"mydata=1&atopic=2", PUBLISH_KIND_TEXT},
        {"=", PUBLISH_KIND_TEXT},
        {"&&=&", PUBLISH_KIND_TEXT},
    };

    (void)state;
    assert_looks(looks, sizeof(looks) / sizeof(looks[0]));
}

static void sees_what_comes_late_and_deep(void **state)
{
    size_t n = 1 << 20;
    char *body = malloc(n);

    (void)state;
    memset(body, '[', n);
    body[0] = '{';
    assert_int_equal(publish_kind_look(body, n), PUBLISH_KIND_TEXT);
    memset(body, ' ', n);
    body[0] = '{';
    memcpy(body + n - 7, "\"data\":", 7);
    assert_int_equal(publish_kind_look(body, n), PUBLISH_KIND_JSON);
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_media_types_of_json),
        cmocka_unit_test(sees_events_in_json),
        cmocka_unit_test(sees_forms),
        cmocka_unit_test(sees_what_comes_late_and_deep),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
