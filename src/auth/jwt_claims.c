/* SPDX-License-Identifier: MIT */
/* What claims grant.  See jwt_claims.h. */
#include "config.h"
#include "auth/jwt_claims.h"

#include <stdio.h>
#include <string.h>

#include "event/topic.h"

#define NUMBER_TEXT_BYTES 24

/* A list while it grows, with room for the patterns that are rewritten. */
struct grants {
    struct grants_pattern patterns[GRANTS_PATTERNS_MAX];
    size_t patterns_n;
    char room[GRANTS_PATTERNS_MAX][TOPIC_BYTES_MAX];
};

static bool claims_add_grant(struct grants *grants, const char *bytes, size_t bytes_n)
{
    if (grants->patterns_n == GRANTS_PATTERNS_MAX ||
        topic_check_pattern(bytes, bytes_n) != TOPIC_OK)
        return false;
    grants->patterns[grants->patterns_n++] = (struct grants_pattern){bytes, bytes_n};
    return true;
}

/* "{x}", without braces or stars inside. */
static bool is_variable(const char *segment, size_t segment_n)
{
    return segment_n >= 3 && segment[0] == '{' && segment[segment_n - 1] == '}' &&
           memchr(segment + 1, '{', segment_n - 2) == NULL &&
           memchr(segment + 1, '}', segment_n - 2) == NULL;
}

/* Mercure's templates, as far as they are patterns of ours: whole segments.  Anything else in
 * braces could mean more or less than it seems to, so it is refused. */
static bool claims_rewrite_template(const char *bytes, size_t bytes_n, char *to, size_t *ret_n)
{
    struct topic_segment segments[TOPIC_SEGMENTS_MAX];

    if (topic_check_name(bytes, bytes_n) != TOPIC_OK)
        return false;
    size_t segments_n = topic_split(bytes, bytes_n, segments), n = 0;
    for (size_t i = 0; i < segments_n; i++) {
        const char *segment = bytes + segments[i].offset;
        size_t segment_n = segments[i].bytes_n;
        bool variable = is_variable(segment, segment_n);

        if (!variable && memchr(segment, '{', segment_n) != NULL)
            return false;
        if (i > 0)
            to[n++] = '/';
        memcpy(to + n, variable ? "*" : segment, variable ? 1 : segment_n);
        n += variable ? 1 : segment_n;
    }
    *ret_n = n;
    return true;
}

static bool claims_add_template(struct grants *grants, const char *bytes, size_t bytes_n)
{
    size_t n;

    if (bytes_n == 1 && bytes[0] == '*')
        return claims_add_grant(grants, "**", 2);
    if (grants->patterns_n == GRANTS_PATTERNS_MAX ||
        !claims_rewrite_template(bytes, bytes_n, grants->room[grants->patterns_n], &n))
        return false;
    return claims_add_grant(grants, grants->room[grants->patterns_n], n);
}

static bool claims_read_list(const json_t *object, const char *name, bool is_mercure,
                             struct grants *grants)
{
    const json_t *list = json_object_get(object, name);

    if (list == NULL)
        return true;
    if (!json_is_array(list))
        return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        const char *bytes = json_string_value(item);

        if (bytes == NULL || !(is_mercure ? claims_add_template : claims_add_grant)(
                                 grants, bytes, json_string_length(item)))
            return false;
    }
    return true;
}

/* A right that is there or is not. */
static bool claims_read_flag(const json_t *rights, const char *name, bool *ret_flag)
{
    const json_t *flag = json_object_get(rights, name);

    *ret_flag = json_is_true(flag);
    return flag == NULL || json_is_boolean(flag);
}

/* One of the two claims. */
static bool claims_read_rights(const json_t *claims, const char *name, struct grants *publish,
                               struct grants *subscribe, struct identity_draft *draft)
{
    const json_t *rights = json_object_get(claims, name);
    bool is_mercure = strcmp(name, "mercure") == 0;

    if (rights == NULL)
        return true;
    if (!json_is_object(rights))
        return false;
    if (!is_mercure && (!claims_read_flag(rights, "admin", &draft->admin) ||
                        !claims_read_flag(rights, "ticket", &draft->ticket)))
        return false;
    return claims_read_list(rights, "publish", is_mercure, publish) &&
           claims_read_list(rights, "subscribe", is_mercure, subscribe);
}

static bool claims_read_user(const json_t *claims, char number[NUMBER_TEXT_BYTES],
                             struct grants_pattern *ret_user)
{
    const json_t *sub = json_object_get(claims, "sub");

    if (sub == NULL)
        return true;
    if (json_is_integer(sub)) {
        int n =
            snprintf(number, NUMBER_TEXT_BYTES, "%" JSON_INTEGER_FORMAT, json_integer_value(sub));

        *ret_user = (struct grants_pattern){number, (size_t)n};
        return true;
    }
    *ret_user = (struct grants_pattern){json_string_value(sub), json_string_length(sub)};
    return json_is_string(sub) && topic_check_user(ret_user->bytes, ret_user->bytes_n) == TOPIC_OK;
}

enum jwt_error jwt_claims_identity(const json_t *claims, int64_t until_ms,
                                   const unsigned char key_fingerprint[IDENTITY_FINGERPRINT_BYTES],
                                   const char *audience, struct identity **ret_identity)
{
    struct grants publish, subscribe;
    struct identity_draft draft = {.kind = IDENTITY_TOKEN, .until_ms = until_ms};
    const json_t *issuer = json_object_get(claims, "iss");
    char number[NUMBER_TEXT_BYTES];

    publish.patterns_n = subscribe.patterns_n = 0;
    if (!claims_read_user(claims, number, &draft.user) ||
        !claims_read_rights(claims, "bugle", &publish, &subscribe, &draft) ||
        !claims_read_rights(claims, "mercure", &publish, &subscribe, &draft))
        return JWT_CLAIMS;
    draft.issuer = (struct grants_pattern){json_string_value(issuer), json_string_length(issuer)};
    draft.publish = (struct grants_list){publish.patterns, publish.patterns_n};
    draft.subscribe = (struct grants_list){subscribe.patterns, subscribe.patterns_n};
    identity_claim(&draft.claims, audience, &draft.issuer);
    memcpy(draft.key_fingerprint, key_fingerprint, IDENTITY_FINGERPRINT_BYTES);
    *ret_identity = identity_new(&draft);
    return *ret_identity != NULL ? JWT_OK : JWT_NO_MEMORY;
}
