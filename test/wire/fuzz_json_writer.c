/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for JSON strings as they are written, with jansson as the judge: what is UTF-8 comes
 * back as it was, and what is not makes no other text of what stands around it.
 */
#include "wire/json_writer.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In pieces as the first byte has it, into `[…,…]`. */
static void put_list(struct json_writer *writer, const char *text, size_t text_n, size_t piece_n)
{
    json_writer_text(writer, "[");
    for (size_t at = 0; at < text_n; at += piece_n) {
        size_t n = text_n - at < piece_n ? text_n - at : piece_n;

        json_writer_text(writer, at > 0 ? "," : "");
        json_writer_string(writer, text + at, n);
    }
    json_writer_text(writer, "]");
}

static void check_list(const struct json_writer *writer, const char *text, size_t text_n,
                       size_t piece_n)
{
    json_t *list = json_loadb(writer->bytes, writer->n, JSON_ALLOW_NUL, NULL);

    if (list == NULL) {
        bool all_good = true;
        for (size_t at = 0; at < text_n; at += piece_n)
            all_good &= utf8_valid(text + at, text_n - at < piece_n ? text_n - at : piece_n, NULL);
        assert(!all_good);
        return;
    }
    assert(json_array_size(list) == (text_n + piece_n - 1) / piece_n);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *string = json_array_get(list, i);
        size_t at = i * piece_n, n = text_n - at < piece_n ? text_n - at : piece_n;

        assert(json_string_length(string) == n);
        assert(memcmp(json_string_value(string), text + at, n) == 0);
    }
    json_decref(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_writer grows, fixed;

    if (size == 0)
        return 0;
    const char *text = (const char *)data + 1;
    size_t text_n = size - 1, piece_n = (size_t)data[0] + 1;

    json_writer_init(&grows);
    put_list(&grows, text, text_n, piece_n);
    assert(!grows.failed);
    check_list(&grows, text, text_n, piece_n);
    /* a buffer of just its size takes it, and one that is a byte smaller does not */
    for (size_t less = 0; less < 2; less++) {
        char *to = malloc(grows.n - less + 1);
        json_writer_init_fixed(&fixed, to, grows.n - less);
        put_list(&fixed, text, text_n, piece_n);
        assert(fixed.failed == (less > 0));
        assert(less > 0 || memcmp(fixed.bytes, grows.bytes, grows.n) == 0);
        free(to);
    }
    json_writer_clear(&grows);
    return 0;
}
