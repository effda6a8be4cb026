/* SPDX-License-Identifier: MIT */
/* JSON, a form or a text.  See publish_kind.h. */
#include "config.h"
#include "api/publish_kind.h"

#include <string.h>
#include <strings.h>

#include "base/bytes.h"

#define MARK "\xef\xbb\xbf"

bool publish_kind_is_json(const char *content_type)
{
    static const char suffix[] = "+json";
    const size_t suffix_n = sizeof(suffix) - 1;

    if (content_type == NULL)
        return false;
    const char *at = content_type + strspn(content_type, " \t");
    size_t n = strcspn(at, "; \t");
    if (n == 16 && strncasecmp(at, "application/json", n) == 0)
        return true;
    if (n == 9 && strncasecmp(at, "text/json", n) == 0)
        return true;
    return n > suffix_n && memchr(at, '/', n) != NULL &&
           strncasecmp(at + n - suffix_n, suffix, suffix_n) == 0;
}

/* ---- names ---- */

struct piece {
    const char *at;
    const char *end;
};

static bool kind_is_one_of(struct piece name, const char *const *names)
{
    for (; *names != NULL; names++)
        if (bytes_are(name.at, (size_t)(name.end - name.at), *names))
            return true;
    return false;
}

static const char *kind_skip_space(const char *at, const char *end)
{
    while (at < end && memchr(" \t\r\n", *at, 4) != NULL)
        at++;
    return at;
}

/* ---- JSON ---- */

/* Behind the quote that closes a string, or the end. */
static const char *kind_skip_string(const char *at, const char *end)
{
    for (; at < end && *at != '"'; at++)
        if (*at == '\\' && at + 1 < end)
            at++;
    return at < end ? at + 1 : end;
}

static bool kind_is_member(struct piece name, const char *behind, const char *end)
{
    static const char *const members[] = {"data",      "topic",           "topics", "user",
                                          "users",     "event",           "retry",  "ttl",
                                          "ephemeral", "idempotency_key", NULL};

    behind = kind_skip_space(behind, end);
    return behind < end && *behind == ':' && kind_is_one_of(name, members);
}

/* Look at the members of the objects at one depth: those of the body, or of its array. */
static bool kind_has_member(const char *at, const char *end)
{
    size_t depth = 0, wanted = *at == '[' ? 2 : 1;

    while (at < end) {
        char c = *at++;

        if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth -= depth > 0;
        } else if (c == '"') {
            const char *behind = kind_skip_string(at, end);

            if (depth == wanted && behind > at &&
                kind_is_member((struct piece){at, behind - 1}, behind, end))
                return true;
            at = behind;
        }
    }
    return false;
}

static bool looks_like_json(const char *at, const char *end)
{
    if (at < end && *at == '[') {
        const char *first = kind_skip_space(at + 1, end);

        return first < end && *first == '{' && kind_has_member(at, end);
    }
    return at < end && *at == '{' && kind_has_member(at, end);
}

/* ---- forms ---- */

/* `topic[]` and `topic[0]` are topics too. */
static struct piece kind_field_name(const char *at, const char *end)
{
    const char *equals = memchr(at, '=', (size_t)(end - at));
    const char *name_end = equals != NULL ? equals : at;
    const char *bracket = memchr(at, '[', (size_t)(name_end - at));

    return (struct piece){at, bracket != NULL ? bracket : name_end};
}

static bool looks_like_form(const char *at, const char *end)
{
    static const char *const fields[] = {"data", "topic", "topics", "user", "users", NULL};

    while (at < end) {
        const char *next = memchr(at, '&', (size_t)(end - at));
        const char *field_end = next != NULL ? next : end;

        if (kind_is_one_of(kind_field_name(at, field_end), fields))
            return true;
        at = next != NULL ? next + 1 : end;
    }
    return false;
}

enum publish_kind publish_kind_look(const char *body, size_t body_n)
{
    const char *end = body + body_n;
    bool is_marked = body_n >= sizeof(MARK) - 1 && memcmp(body, MARK, sizeof(MARK) - 1) == 0;
    const char *at = kind_skip_space(is_marked ? body + sizeof(MARK) - 1 : body, end);

    if (looks_like_json(at, end))
        return PUBLISH_KIND_JSON;
    return looks_like_form(at, end) ? PUBLISH_KIND_FORM : PUBLISH_KIND_TEXT;
}
