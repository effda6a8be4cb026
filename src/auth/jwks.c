/* SPDX-License-Identifier: MIT */
/* Fetching a key set.  See jwks.h. */
#include "config.h"
#include "auth/jwks.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "auth/jwt_keys.h"
#include "base/clock.h"
#include "base/file_read.h"
#include "base/log.h"

#define TEXT_MAX 65536
#define HEADER_BYTES_MAX 65536
#define FETCH_SECONDS 10L
#define RETRY_MIN_MS 1000
#define RETRY_MAX_MS 60000
#define WISH_MS 10000

struct jwks {
    struct jwks_listener listener;
    pthread_mutex_t lock;
    pthread_cond_t told; /* the thread has something to do, or has done it */
    pthread_t thread;
    bool running;
    bool stopping;
    char *source;
    uint64_t source_n; /* counts the sources, to notice a change while one is fetched */
    int64_t refresh_ms;
    int64_t due_ms;     /* monotonic; INT64_MAX: never */
    int64_t fetched_ms; /* when the last try began */
    bool tried;         /* this source, at least once */
    unsigned failures;
    char *text;
    size_t text_n;
    int64_t fetched_n, failed_n;
};

/* ---- fetching ---- */

/* A text while it grows. */
struct fetched {
    char *text;
    size_t text_n;
    size_t header_n; /* bytes of headers and trailers */
    bool too_long;
};

static size_t jwks_take(char *bytes, size_t one, size_t bytes_n, void *arg)
{
    struct fetched *fetched = arg;

    (void)one;
    if (fetched->text_n + bytes_n > TEXT_MAX) {
        fetched->too_long = true;
        return 0;
    }
    memcpy(fetched->text + fetched->text_n, bytes, bytes_n);
    fetched->text_n += bytes_n;
    return bytes_n;
}

/* libcurl keeps all headers, and takes as many interim answers and trailers as are sent. */
static size_t jwks_count_header(char *bytes, size_t one, size_t bytes_n, void *arg)
{
    struct fetched *fetched = arg;

    (void)bytes, (void)one;
    fetched->header_n += bytes_n;
    return fetched->header_n <= HEADER_BYTES_MAX ? bytes_n : 0;
}

static const char *jwks_read_file(const char *path, struct fetched *fetched)
{
    char *text;
    int result = file_read(path, TEXT_MAX, &text, &fetched->text_n);

    if (result != 0)
        return result == -EFBIG ? "it has more than 64 KiB" : file_read_text(result);
    free(fetched->text);
    fetched->text = text;
    return NULL;
}

/* No redirects: the operator named the one place that is trusted. */
static void jwks_set_options(CURL *easy, const char *url, struct fetched *fetched)
{
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, FETCH_SECONDS);
    curl_easy_setopt(easy, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, jwks_take);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, fetched);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, jwks_count_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, fetched);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "bugle/" PACKAGE_VERSION);
    if (strncmp(url, "http://", strlen("http://")) ==
        0) /* only loopback: conf_value_is_key_set() */
        curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
}

static const char *read_url(const char *url, struct fetched *fetched)
{
    CURL *easy = curl_easy_init();
    long status = 0;

    if (easy == NULL)
        return "out of memory";
    jwks_set_options(easy, url, fetched);
    CURLcode code = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(easy);
    if (fetched->too_long)
        return "it has more than 64 KiB";
    if (fetched->header_n > HEADER_BYTES_MAX)
        return "its headers and trailers have more than 64 KiB";
    if (code != CURLE_OK)
        return curl_easy_strerror(code);
    return status == 200 ? NULL : "the answer is not 200";
}

/* Whether there are keys in it; each user makes the keys itself. */
static const char *check_text(const struct fetched *fetched, char why[JWT_KEY_WHY_BYTES])
{
    struct jwt_keys *keys = jwt_keys_new();
    int result =
        keys != NULL ? jwt_keys_add_set(keys, fetched->text, fetched->text_n, why) : -ENOMEM;

    jwt_keys_free(keys);
    if (result == -ENOMEM)
        return "out of memory";
    return result == 0 ? NULL : why;
}

/* NULL, or why not. */
static const char *fetch(const char *source, struct fetched *fetched, char why[JWT_KEY_WHY_BYTES])
{
    const char *wrong;

    *fetched = (struct fetched){.text = malloc(TEXT_MAX + 1)};
    if (fetched->text == NULL)
        return "out of memory";
    wrong = source[0] == '/' ? jwks_read_file(source, fetched) : read_url(source, fetched);
    return wrong != NULL ? wrong : check_text(fetched, why);
}

/* ---- the thread ---- */

static int64_t retry_ms(unsigned failures)
{
    int64_t ms = RETRY_MIN_MS;

    while (failures-- > 1 && ms < RETRY_MAX_MS)
        ms *= 2;
    return ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
}

/* Returns whether the text is another one than before.  Takes it. */
static bool keep_text(struct jwks *jwks, struct fetched *fetched)
{
    bool same = jwks->text != NULL && jwks->text_n == fetched->text_n &&
                memcmp(jwks->text, fetched->text, fetched->text_n) == 0;

    free(jwks->text);
    jwks->text = fetched->text;
    jwks->text_n = fetched->text_n;
    return !same;
}

/* With the lock, which is given up while the source is read. */
static void fetch_now(struct jwks *jwks)
{
    char why[JWT_KEY_WHY_BYTES], *source = strdup(jwks->source);
    uint64_t source_n = jwks->source_n;
    struct fetched fetched = {.text = NULL};
    bool changed = false;

    jwks->fetched_ms = clock_mono_ms();
    pthread_mutex_unlock(&jwks->lock);
    const char *wrong = source != NULL ? fetch(source, &fetched, why) : "out of memory";
    if (wrong != NULL)
        log_warning("auth.jwks cannot be read: %s", wrong);
    pthread_mutex_lock(&jwks->lock);
    if (source_n != jwks->source_n) {
        free(fetched.text);
    } else {
        jwks->tried = true;
        jwks->failures = wrong != NULL ? jwks->failures + 1 : 0;
        jwks->due_ms =
            clock_mono_ms() + (wrong != NULL ? retry_ms(jwks->failures) : jwks->refresh_ms);
        *(wrong != NULL ? &jwks->failed_n : &jwks->fetched_n) += 1;
        if (wrong == NULL)
            changed = keep_text(jwks, &fetched);
        else
            free(fetched.text);
    }
    free(source);
    pthread_cond_broadcast(&jwks->told);
    pthread_mutex_unlock(&jwks->lock);
    jwks->listener.tried(jwks->listener.arg, changed);
    pthread_mutex_lock(&jwks->lock);
}

static void wait_until(struct jwks *jwks, int64_t until_ms)
{
    struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};

    if (until_ms == INT64_MAX)
        pthread_cond_wait(&jwks->told, &jwks->lock);
    else
        pthread_cond_timedwait(&jwks->told, &jwks->lock, &until);
}

static void *jwks_run(void *arg)
{
    struct jwks *jwks = arg;

    pthread_setname_np(pthread_self(), "bugle-jwks");
    pthread_mutex_lock(&jwks->lock);
    while (!jwks->stopping) {
        if (jwks->due_ms > clock_mono_ms())
            wait_until(jwks, jwks->due_ms);
        else
            fetch_now(jwks);
    }
    pthread_mutex_unlock(&jwks->lock);
    return NULL;
}

/* ---- from outside ---- */

struct jwks *jwks_new(const struct jwks_listener *listener)
{
    struct jwks *jwks = calloc(1, sizeof(*jwks));
    pthread_condattr_t monotonic;

    if (jwks == NULL)
        return NULL;
    jwks->listener = *listener;
    jwks->source = strdup("");
    jwks->due_ms = INT64_MAX;
    pthread_mutex_init(&jwks->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&jwks->told, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (jwks->source != NULL)
        return jwks;
    jwks_free(jwks);
    return NULL;
}

int jwks_start(struct jwks *jwks)
{
    int error = pthread_create(&jwks->thread, NULL, jwks_run, jwks);

    jwks->running = error == 0;
    return -error;
}

void jwks_free(struct jwks *jwks)
{
    if (jwks == NULL)
        return;
    pthread_mutex_lock(&jwks->lock);
    jwks->stopping = true;
    pthread_cond_broadcast(&jwks->told);
    pthread_mutex_unlock(&jwks->lock);
    if (jwks->running)
        pthread_join(jwks->thread, NULL);
    pthread_cond_destroy(&jwks->told);
    pthread_mutex_destroy(&jwks->lock);
    free(jwks->source);
    free(jwks->text);
    free(jwks);
}

/* With the lock.  Takes `source`. */
static void change_source(struct jwks *jwks, char *source)
{
    free(jwks->source);
    jwks->source = source;
    jwks->source_n++;
    jwks->tried = false;
    jwks->failures = 0;
    if (source[0] != '\0')
        return; /* what it had stays until the new one has answered */
    free(jwks->text);
    jwks->text = NULL;
}

int jwks_set_source(struct jwks *jwks, const char *source, int64_t refresh_ms)
{
    char *copy = strdup(source);

    if (copy == NULL)
        return -ENOMEM;
    pthread_mutex_lock(&jwks->lock);
    if (strcmp(jwks->source, copy) != 0)
        change_source(jwks, copy);
    else
        free(copy);
    jwks->refresh_ms = refresh_ms;
    jwks->due_ms = jwks->source[0] != '\0' ? clock_mono_ms() : INT64_MAX;
    pthread_cond_broadcast(&jwks->told);
    pthread_mutex_unlock(&jwks->lock);
    return 0;
}

void jwks_wait(struct jwks *jwks, int64_t max_ms)
{
    int64_t until_ms = clock_mono_ms() + max_ms;

    pthread_mutex_lock(&jwks->lock);
    while (jwks->source[0] != '\0' && !jwks->tried && clock_mono_ms() < until_ms)
        wait_until(jwks, until_ms);
    pthread_mutex_unlock(&jwks->lock);
}

void jwks_wish(struct jwks *jwks)
{
    pthread_mutex_lock(&jwks->lock);
    int64_t soonest_ms = jwks->fetched_ms + WISH_MS;
    if (jwks->source[0] != '\0' && jwks->due_ms > soonest_ms) {
        jwks->due_ms = soonest_ms;
        pthread_cond_broadcast(&jwks->told);
    }
    pthread_mutex_unlock(&jwks->lock);
}

char *jwks_text(struct jwks *jwks, size_t *ret_n)
{
    char *copy = NULL;

    pthread_mutex_lock(&jwks->lock);
    if (jwks->text != NULL && (copy = malloc(jwks->text_n + 1)) != NULL) {
        memcpy(copy, jwks->text, jwks->text_n);
        *ret_n = jwks->text_n;
    }
    pthread_mutex_unlock(&jwks->lock);
    return copy;
}

void jwks_counts(struct jwks *jwks, int64_t *ret_fetched, int64_t *ret_failed)
{
    pthread_mutex_lock(&jwks->lock);
    *ret_fetched = jwks->fetched_n;
    *ret_failed = jwks->failed_n;
    pthread_mutex_unlock(&jwks->lock);
}
