/* SPDX-License-Identifier: MIT */
/* Keys on their way to the workers.  See key_rollout.h. */
#include "config.h"
#include "server/key_rollout.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "api/access_read.h"
#include "base/log.h"
#include "stream/stream_expiry.h"

#define FIRST_FETCH_MS 5000

struct key_rollout {
    struct service_shared *shared;
    struct stats *stats;
    const struct conf *conf;
    struct jwks *jwks;
    _Atomic bool changed;
    int bell_fd; /* an eventfd: the key set was read, or could not be */
    struct event *bell;
};

/* ---- a worker's part ---- */

struct handover_old {
    struct service *service;
    struct auth_set *set;
};

static bool is_good(void *arg, const struct conf *conf, const struct stream_grant *grant,
                    const struct filter *filter)
{
    const struct auth *auth = arg;

    return (grant->identity == NULL || auth_key_is_current(auth, conf, grant->identity)) &&
           access_read_still_may(conf, grant, filter);
}

/* After a reload the worker has the new settings by now: they were posted before. */
static void take_set(void *arg)
{
    struct handover_old *handover = arg;
    struct service *service = handover->service;
    struct stream_expiry_judge judge = {.is_good = is_good, .arg = service->auth};

    auth_take(service->auth, handover->set);
    stream_expiry_recheck(service->streams, &judge);
    free(handover);
}

/* ---- main thread ---- */

static void hand_over(struct service *service, struct auth_set *set)
{
    struct handover_old *handover = malloc(sizeof(*handover));

    if (handover != NULL)
        *handover = (struct handover_old){service, set};
    if (handover == NULL || worker_post(service->worker, take_set, handover) != 0)
        log_abort_without_memory("keys"); /* a key that was removed would stay good */
}

/* A set for each worker, or none at all.  Settings were checked when they were loaded, but a file
 * may have changed since. */
static bool make_sets(const struct key_rollout *keys, struct auth_set **sets)
{
    struct conf_error error;
    size_t text_n = 0;
    char *text = jwks_text(keys->jwks, &text_n);
    unsigned n = 0;

    while (n < keys->shared->services_n &&
           (sets[n] = auth_set_new(keys->conf, text, text_n, &error)) != NULL)
        n++;
    free(text);
    if (n == keys->shared->services_n)
        return true;
    log_error("the old keys stay: %s", error.text);
    while (n > 0)
        auth_set_free(sets[--n]);
    return false;
}

/* Without new keys too the streams are judged anew, since settings may have changed. */
static void distribute(struct key_rollout *keys)
{
    unsigned n = keys->shared->services_n;
    struct auth_set **sets = calloc(n, sizeof(struct auth_set *));

    if (sets == NULL)
        log_abort_without_memory("keys");
    bool are_made = make_sets(keys, sets);
    for (unsigned i = 0; i < n; i++)
        hand_over(&keys->shared->services[i], are_made ? sets[i] : NULL);
    free(sets);
}

static void count(struct key_rollout *keys)
{
    int64_t fetched, failed;

    jwks_counts(keys->jwks, &fetched, &failed);
    stats_set(keys->stats, STATS_JWKS_FETCHED, fetched);
    stats_set(keys->stats, STATS_JWKS_FAILED, failed);
}

static void on_bell(evutil_socket_t fd, short what, void *arg)
{
    struct key_rollout *keys = arg;
    uint64_t rings;

    (void)what;
    if (read(fd, &rings, sizeof(rings)) != sizeof(rings))
        return;
    count(keys);
    if (!atomic_exchange(&keys->changed, false))
        return;
    log_info("auth.jwks has other keys than before");
    distribute(keys);
}

/* On the thread that fetches. */
static void on_try(void *arg, bool changed)
{
    struct key_rollout *keys = arg;
    uint64_t one = 1;

    if (changed)
        keys->changed = true;
    if (write(keys->bell_fd, &one, sizeof(one)) != sizeof(one))
        log_error("the main loop cannot be told of new keys");
}

static int build(struct key_rollout *keys, struct event_base *base)
{
    struct jwks_listener listener = {.tried = on_try, .arg = keys};

    keys->bell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (keys->bell_fd < 0)
        return -1;
    keys->bell = event_new(base, keys->bell_fd, EV_READ | EV_PERSIST, on_bell, keys);
    keys->jwks = jwks_new(&listener);
    if (keys->bell == NULL || keys->jwks == NULL || event_add(keys->bell, NULL) != 0)
        return -1;
    return 0;
}

struct key_rollout *key_rollout_new(struct event_base *base, struct service_shared *shared,
                                    struct stats *stats)
{
    struct key_rollout *keys = calloc(1, sizeof(*keys));

    if (keys == NULL)
        return NULL;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    keys->shared = shared;
    keys->stats = stats;
    keys->bell_fd = -1;
    if (build(keys, base) == 0) {
        shared->jwks = keys->jwks;
        return keys;
    }
    key_rollout_free(keys);
    return NULL;
}

static void read_source(struct key_rollout *keys, const struct conf *conf)
{
    keys->conf = conf;
    if (jwks_set_source(keys->jwks, conf->auth.jwks, (int64_t)conf->auth.jwks_refresh_ms) != 0)
        log_error("auth.jwks is not read: out of memory");
}

void key_rollout_start(struct key_rollout *keys, const struct conf *conf)
{
    read_source(keys, conf);
    if (jwks_start(keys->jwks) != 0)
        log_error("auth.jwks is not read: no thread");
    else
        jwks_wait(keys->jwks, FIRST_FETCH_MS);
    count(keys);
    distribute(keys);
}

void key_rollout_reload(struct key_rollout *keys, const struct conf *conf)
{
    read_source(keys, conf);
    distribute(keys);
}

void key_rollout_free(struct key_rollout *keys)
{
    if (keys == NULL)
        return;
    jwks_free(keys->jwks);
    if (keys->bell != NULL)
        event_free(keys->bell);
    if (keys->bell_fd >= 0)
        close(keys->bell_fd);
    free(keys);
}
