/* SPDX-License-Identifier: MIT */
/* The scripts that run inside the server.  See redis_script.h. */
#include "config.h"
#include "cluster/redis_script.h"

#include <assert.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BEFORE_N 3 /* EVALSHA, the script, the number of keys */
#define TEXTS_MAX 24

void redis_scripts_forget(struct redis_scripts *scripts)
{
    memset(scripts->is_known, 0, sizeof(scripts->is_known));
}

/* Returns the SHA-1 of a text in hex, or NULL: none here (FIPS), and the text goes each time. */
static const char *script_sha(struct redis_scripts *scripts, enum redis_script script)
{
    const char *text = redis_script_texts[script];
    char *sha = scripts->shas[script];
    unsigned char digest[20];

    if (sha[0] != '\0')
        return sha;
    if (gnutls_hash_fast(GNUTLS_DIG_SHA1, text, strlen(text), digest) != 0)
        return NULL;
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(sha + 2 * i, 3, "%02x", digest[i]);
    return sha;
}

int redis_script_call(struct redis_link *link, struct redis_scripts *scripts,
                      const struct redis_call *call, redis_link_done *done, void *arg)
{
    const char *sha = scripts->is_known[call->script] ? script_sha(scripts, call->script) : NULL;
    unsigned words_n = call->words_n + BEFORE_N;
    const char **words = malloc(words_n * sizeof(*words));
    size_t *bytes = malloc(words_n * sizeof(*bytes));
    char keys_n[12];
    int result = -ENOMEM;

    if (words != NULL && bytes != NULL) {
        snprintf(keys_n, sizeof(keys_n), "%u", call->keys_n);
        words[0] = sha != NULL ? "EVALSHA" : "EVAL";
        words[1] = sha != NULL ? sha : redis_script_texts[call->script];
        words[2] = keys_n;
        for (size_t i = 0; i < BEFORE_N; i++)
            bytes[i] = strlen(words[i]);
        memcpy(words + BEFORE_N, call->words, call->words_n * sizeof(*words));
        memcpy(bytes + BEFORE_N, call->bytes, call->words_n * sizeof(*bytes));
        result = redis_link_send(link, (int)words_n, words, bytes, call->timeout_ms, done, arg);
        scripts->is_known[call->script] = result == 0;
    }
    free(words);
    free(bytes);
    return result;
}

int redis_script_call_texts(struct redis_link *link, struct redis_scripts *scripts,
                            enum redis_script script, unsigned keys_n, int64_t timeout_ms,
                            redis_link_done *done, void *arg, ...)
{
    const char *words[TEXTS_MAX];
    size_t bytes[TEXTS_MAX];
    struct redis_call call = {script, keys_n, 0, words, bytes, timeout_ms};
    va_list args;

    va_start(args, arg);
    while ((words[call.words_n] = va_arg(args, const char *)) != NULL) {
        bytes[call.words_n] = strlen(words[call.words_n]);
        call.words_n++;
        assert(call.words_n < TEXTS_MAX);
    }
    va_end(args);
    return redis_script_call(link, scripts, &call, done, arg);
}
