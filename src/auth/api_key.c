/* SPDX-License-Identifier: MIT */
/* Keys for backends.  See api_key.h. */
#include "config.h"
#include "auth/api_key.h"

#include <assert.h>
#include <gnutls/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64url.h"
#include "base/bytes.h"
#include "event/topic.h"

#define HASH_PREFIX "sha256."
#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

static void digest_of(unsigned char to[API_KEY_DIGEST_BYTES],
                      const unsigned char salt[API_KEY_SALT_BYTES], const char *text, size_t text_n)
{
    unsigned char input[API_KEY_SALT_BYTES + API_KEY_BYTES_MAX];

    assert(text_n <= API_KEY_BYTES_MAX);
    memcpy(input, salt, API_KEY_SALT_BYTES);
    memcpy(input + API_KEY_SALT_BYTES, text, text_n);
    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, input, API_KEY_SALT_BYTES + text_n, to) < 0)
        abort(); /* a hash that is not there: nothing could be told apart */
    explicit_bzero(input, sizeof(input));
}

void api_key_hash(char to[API_KEY_HASH_ROOM], const unsigned char salt[API_KEY_SALT_BYTES],
                  const char *text, size_t text_n)
{
    unsigned char digest[API_KEY_DIGEST_BYTES];
    char *end = stpcpy(to, HASH_PREFIX);

    digest_of(digest, salt, text, text_n);
    end += base64url_encode(end, salt, API_KEY_SALT_BYTES);
    *end++ = '.';
    base64url_encode(end, digest, API_KEY_DIGEST_BYTES);
}

/* ---- reading an item ---- */

struct reading {
    char *why;
    size_t place; /* of the item, from 1 */
};

static bool __attribute__((format(printf, 2, 3)))
refuse(const struct reading *reading, const char *format, ...)
{
    va_list args;
    int n = snprintf(reading->why, API_KEY_WHY_BYTES, "item %zu ", reading->place);

    va_start(args, format);
    vsnprintf(reading->why + n, API_KEY_WHY_BYTES - (size_t)n, format, args);
    va_end(args);
    return false;
}

static bool decode_exactly(const char *text, size_t text_n, unsigned char *to, size_t bytes_n)
{
    unsigned char bytes[BASE64URL_BYTES_ROOM(API_KEY_HASH_ROOM)];
    size_t n;

    if (text_n >= API_KEY_HASH_ROOM || !base64url_decode(text, text_n, bytes, &n) || n != bytes_n)
        return false;
    memcpy(to, bytes, bytes_n);
    return true;
}

static bool read_hash(const char *text, struct api_key *key)
{
    size_t prefix_n = strlen(HASH_PREFIX);
    const char *salt = text + prefix_n;

    if (strncmp(text, HASH_PREFIX, prefix_n) != 0)
        return false;
    size_t salt_n = strcspn(salt, ".");
    return salt[salt_n] == '.' && decode_exactly(salt, salt_n, key->salt, API_KEY_SALT_BYTES) &&
           decode_exactly(salt + salt_n + 1, strlen(salt + salt_n + 1), key->digest,
                          API_KEY_DIGEST_BYTES);
}

struct grants {
    struct grants_pattern publish[GRANTS_PATTERNS_MAX], subscribe[GRANTS_PATTERNS_MAX];
    struct identity_draft draft;
};

static bool api_key_add_grant(struct grants_list *list, struct grants_pattern *patterns,
                              const char *bytes, size_t bytes_n)
{
    if (list->patterns_n == GRANTS_PATTERNS_MAX || topic_check_pattern(bytes, bytes_n) != TOPIC_OK)
        return false;
    patterns[list->patterns_n++] = (struct grants_pattern){bytes, bytes_n};
    list->patterns = patterns;
    return true;
}

static bool word_begins(const char *word, size_t word_n, const char *text)
{
    return word_n > strlen(text) && memcmp(word, text, strlen(text)) == 0;
}

static bool api_key_read_word(struct grants *grants, const char *word, size_t word_n)
{
    struct identity_draft *draft = &grants->draft;

    if (bytes_are(word, word_n, "admin"))
        return draft->admin = true;
    if (bytes_are(word, word_n, "ticket"))
        return draft->ticket = true;
    if (bytes_are(word, word_n, "publish"))
        return api_key_add_grant(&draft->publish, grants->publish, "**", 2);
    if (bytes_are(word, word_n, "subscribe"))
        return api_key_add_grant(&draft->subscribe, grants->subscribe, "**", 2);
    if (word_begins(word, word_n, "publish="))
        return api_key_add_grant(&draft->publish, grants->publish, word + 8, word_n - 8);
    if (word_begins(word, word_n, "subscribe="))
        return api_key_add_grant(&draft->subscribe, grants->subscribe, word + 10, word_n - 10);
    return false;
}

static bool api_key_read_rights(struct grants *grants, const char *text, size_t text_n)
{
    const char *end = text + text_n;
    size_t words_n = 0;

    while (text < end) {
        const char *blank = memchr(text, ' ', (size_t)(end - text));
        size_t word_n = (size_t)((blank != NULL ? blank : end) - text);

        if (word_n > 0 && !api_key_read_word(grants, text, word_n))
            return false;
        words_n += word_n > 0;
        text += word_n + 1;
    }
    return words_n > 0;
}

/* The fingerprint of a key is that of its item: with other rights it is another key. */
static bool make_identity(const struct reading *reading, const char *item, struct grants *grants,
                          struct api_key *key)
{
    struct identity_piece piece = {item, strlen(item)};
    struct grants_pattern name = {key->name, strlen(key->name)};
    struct identity_piece scope = {name.bytes, name.bytes_n};

    grants->draft.kind = IDENTITY_API_KEY;
    grants->draft.until_ms = IDENTITY_FOREVER;
    identity_fingerprint(grants->draft.key_fingerprint, &piece, 1);
    key->identity = identity_new(&grants->draft);
    if (key->identity == NULL)
        return refuse(reading, "needs more memory than there is");
    identity_fingerprint(key->identity->scope, &scope, 1);
    return true;
}

static bool api_key_read_item(const struct reading *reading, const char *item, struct api_key *key)
{
    struct grants grants = {.draft = {.admin = false}};
    size_t name_n = strspn(item, NAME_CHARACTERS);
    const char *hash = strrchr(item, ':');

    if (name_n == 0 || name_n >= sizeof(key->name) || item[name_n] != ':' || hash == item + name_n)
        return refuse(reading, "is not NAME:RIGHTS:HASH");
    memcpy(key->name, item, name_n);
    if (!api_key_read_rights(&grants, item + name_n + 1, (size_t)(hash - item) - name_n - 1))
        return refuse(reading,
                      "(%s) has rights that are not publish=PATTERN, subscribe=PATTERN, "
                      "ticket or admin",
                      key->name);
    if (!read_hash(hash + 1, key))
        return refuse(reading, "(%s) has no hash of `bugle token hash` at its end", key->name);
    return make_identity(reading, item, &grants, key);
}

struct api_keys *api_keys_new(char *const *items, size_t items_n, char why[API_KEY_WHY_BYTES])
{
    struct api_keys *keys = calloc(1, sizeof(*keys) + items_n * sizeof(struct api_key));
    struct reading reading = {.why = why};

    snprintf(why, API_KEY_WHY_BYTES, "out of memory");
    for (size_t i = 0; keys != NULL && i < items_n; i++) {
        reading.place = i + 1;
        bool good = i < API_KEYS_MAX ? api_key_read_item(&reading, items[i], &keys->list[i])
                                     : refuse(&reading, "is one more than %d", API_KEYS_MAX);
        if (i < API_KEYS_MAX)
            keys->n++;
        if (!good) {
            api_keys_free(keys);
            return NULL;
        }
    }
    return keys;
}

void api_keys_free(struct api_keys *keys)
{
    if (keys == NULL)
        return;
    for (size_t i = 0; i < keys->n; i++)
        identity_unref(keys->list[i].identity);
    free(keys);
}

/* ---- asking ---- */

struct identity *api_keys_find(const struct api_keys *keys, const char *text, size_t text_n)
{
    unsigned char digest[API_KEY_DIGEST_BYTES];
    struct identity *found = NULL;

    if (text_n == 0 || text_n > API_KEY_BYTES_MAX)
        return NULL;
    for (size_t i = 0; i < keys->n; i++) {
        digest_of(digest, keys->list[i].salt, text, text_n);
        if (gnutls_memcmp(digest, keys->list[i].digest, sizeof(digest)) == 0)
            found = keys->list[i].identity;
    }
    explicit_bzero(digest, sizeof(digest));
    return identity_ref(found);
}

bool api_keys_have(const struct api_keys *keys,
                   const unsigned char mark[IDENTITY_FINGERPRINT_BYTES])
{
    for (size_t i = 0; i < keys->n; i++)
        if (memcmp(keys->list[i].identity->key_fingerprint, mark, IDENTITY_FINGERPRINT_BYTES) == 0)
            return true;
    return false;
}
