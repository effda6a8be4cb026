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

/* New keys on their way to a worker. */
struct key_update {
    struct service *service;
    struct auth_set *set; /* NULL: none, but its streams are to be judged */
};

static bool stream_may_stay(void *arg, const struct conf *conf, const struct stream_grant *grant,
                            const struct filter *filter)
{
    const struct auth *auth = arg;

    return (grant->identity == NULL || auth_key_is_current(auth, conf, grant->identity)) &&
           access_read_still_may(conf, grant, filter);
}

/* After a reload the worker has the new settings by now: they were posted before. */
static void apply_update(void *arg)
{
    struct key_update *update = arg;
    struct service *service = update->service;
    struct stream_expiry_judge judge = {.is_good = stream_may_stay, .arg = service->auth};

    auth_take(service->auth, update->set);
    stream_expiry_recheck(service->streams, &judge);
    free(update);
}

/* ---- main thread ---- */

static void send_update(struct service *service, struct auth_set *set)
{
    struct key_update *update = malloc(sizeof(*update));

    if (update != NULL)
        *update = (struct key_update){service, set};
    if (update == NULL || worker_post(service->worker, apply_update, update) != 0)
        log_abort_without_memory("keys"); /* a key that was removed would stay good */
}

/* A set for each worker, or none at all.  Settings were checked when they were loaded, but a file
 * may have changed since. */
static bool make_sets(const struct key_rollout *rollout, struct auth_set **sets)
{
    struct conf_error error;
    size_t text_n = 0;
    char *text = jwks_text(rollout->jwks, &text_n);
    unsigned n = 0;

    while (n < rollout->shared->services_n &&
           (sets[n] = auth_set_new(rollout->conf, text, text_n, &error)) != NULL)
        n++;
    free(text);
    if (n == rollout->shared->services_n)
        return true;
    log_error("the old keys stay: %s", error.text);
    while (n > 0)
        auth_set_free(sets[--n]);
    return false;
}

/* Without new keys too the streams are judged anew, since settings may have changed. */
static void distribute(struct key_rollout *rollout)
{
    unsigned n = rollout->shared->services_n;
    struct auth_set **sets = calloc(n, sizeof(struct auth_set *));

    if (sets == NULL)
        log_abort_without_memory("keys");
    bool are_made = make_sets(rollout, sets);
    for (unsigned i = 0; i < n; i++)
        send_update(&rollout->shared->services[i], are_made ? sets[i] : NULL);
    free(sets);
}

static void count_fetches(struct key_rollout *rollout)
{
    int64_t fetched, failed;

    jwks_counts(rollout->jwks, &fetched, &failed);
    stats_set(rollout->stats, STATS_JWKS_FETCHED, fetched);
    stats_set(rollout->stats, STATS_JWKS_FAILED, failed);
}

static void on_bell(evutil_socket_t fd, short what, void *arg)
{
    struct key_rollout *rollout = arg;
    uint64_t rings;

    (void)what;
    if (read(fd, &rings, sizeof(rings)) != sizeof(rings))
        return;
    count_fetches(rollout);
    if (!atomic_exchange(&rollout->changed, false))
        return;
    log_info("auth.jwks has other keys than before");
    distribute(rollout);
}

/* On the thread that fetches. */
static void on_try(void *arg, bool changed)
{
    struct key_rollout *rollout = arg;
    uint64_t one = 1;

    if (changed)
        rollout->changed = true;
    if (write(rollout->bell_fd, &one, sizeof(one)) != sizeof(one))
        log_error("the main loop cannot be told of new keys");
}

static int build_rollout(struct key_rollout *rollout, struct event_base *base)
{
    struct jwks_listener listener = {.tried = on_try, .arg = rollout};

    rollout->bell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (rollout->bell_fd < 0)
        return -1;
    rollout->bell = event_new(base, rollout->bell_fd, EV_READ | EV_PERSIST, on_bell, rollout);
    rollout->jwks = jwks_new(&listener);
    if (rollout->bell == NULL || rollout->jwks == NULL || event_add(rollout->bell, NULL) != 0)
        return -1;
    return 0;
}

struct key_rollout *key_rollout_new(struct event_base *base, struct service_shared *shared,
                                    struct stats *stats)
{
    struct key_rollout *rollout = calloc(1, sizeof(*rollout));

    if (rollout == NULL)
        return NULL;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    rollout->shared = shared;
    rollout->stats = stats;
    rollout->bell_fd = -1;
    if (build_rollout(rollout, base) == 0) {
        shared->jwks = rollout->jwks;
        return rollout;
    }
    key_rollout_free(rollout);
    return NULL;
}

static void read_source(struct key_rollout *rollout, const struct conf *conf)
{
    rollout->conf = conf;
    if (jwks_set_source(rollout->jwks, conf->auth.jwks, (int64_t)conf->auth.jwks_refresh_ms) != 0)
        log_error("auth.jwks is not read: out of memory");
}

void key_rollout_start(struct key_rollout *rollout, const struct conf *conf)
{
    read_source(rollout, conf);
    if (jwks_start(rollout->jwks) != 0)
        log_error("auth.jwks is not read: no thread");
    else
        jwks_wait(rollout->jwks, FIRST_FETCH_MS);
    count_fetches(rollout);
    distribute(rollout);
}

void key_rollout_reload(struct key_rollout *rollout, const struct conf *conf)
{
    read_source(rollout, conf);
    distribute(rollout);
}

void key_rollout_free(struct key_rollout *rollout)
{
    if (rollout == NULL)
        return;
    jwks_free(rollout->jwks);
    if (rollout->bell != NULL)
        event_free(rollout->bell);
    if (rollout->bell_fd >= 0)
        close(rollout->bell_fd);
    free(rollout);
}
