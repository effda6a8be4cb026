/* SPDX-License-Identifier: MIT */
/* Which server is the master.  See redis_find.h. */
#include "config.h"
#include "cluster/redis_find.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cluster/redis_link.h"

#define ROUND_MS 1000
#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 1000
/* An answer counts so long beside those of other sentinels. */
#define ANSWER_MS 3000
#define REPLY_BYTES_MAX 65536
#define WHY_BYTES 256

struct sentinel {
    struct redis_find *find;
    struct redis_link *link;
    const struct redis_place *place;
    bool is_open;
    bool is_asked;
    bool knows;
    struct redis_place named; /* of the answer that is under way */
    struct redis_place master;
    uint64_t epoch; /* of configuration, as sentinels count it */
    int64_t answered_ms;
};

struct redis_find {
    struct event_base *base;
    struct redis_find_conf conf;
    redis_find_found *found;
    void *arg;
    struct event *timer;
    bool is_wanted; /* by redis_find_again() */
    bool is_late;   /* and since the last round */
    int64_t pause_ms;
    bool has_moved, is_moved_tried;
    struct redis_place moved;
    bool has_told;
    struct redis_place told; /* to `found` */
    struct sentinel *sentinels;
    char why[WHY_BYTES];
};

static void find_wait(struct redis_find *find, int64_t wait_ms)
{
    struct timeval wait = {.tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000};

    event_add(find->timer, &wait);
}

static void find_tell(struct redis_find *find, const struct redis_place *place)
{
    find->is_wanted = find->is_late = false;
    find->has_told = true;
    find->told = *place;
    find->why[0] = '\0';
    find->found(find->arg, &find->told);
}

/* ---- sentinels ---- */

static const struct sentinel *find_best(const struct redis_find *find)
{
    int64_t now_ms = clock_mono_ms();
    const struct sentinel *best = NULL;

    for (size_t i = 0; i < find->conf.url->places_n; i++) {
        const struct sentinel *one = &find->sentinels[i];

        if (one->knows && now_ms - one->answered_ms <= ANSWER_MS &&
            (best == NULL || one->epoch > best->epoch))
            best = one;
    }
    return best;
}

/* Any answer may decide: if it was an old one, connecting fails, and a better one has come. */
static void find_decide(struct redis_find *find)
{
    const struct sentinel *best = find_best(find);

    if (best == NULL)
        return;
    if (find->is_wanted || !find->has_told || !redis_place_equal(&best->master, &find->told))
        find_tell(find, &best->master);
}

static void sentinel_trouble(struct sentinel *sentinel, const char *why)
{
    char place[REDIS_PLACE_TEXT_BYTES];

    snprintf(sentinel->find->why, WHY_BYTES, "sentinel %.120s: %.110s",
             redis_place_text(sentinel->place, place), why);
}

static const char *field_of(const redisReply *reply, const char *name)
{
    if (reply->type != REDIS_REPLY_ARRAY)
        return NULL;
    for (size_t i = 0; i + 1 < reply->elements; i += 2)
        if (reply->element[i]->type == REDIS_REPLY_STRING &&
            reply->element[i + 1]->type == REDIS_REPLY_STRING &&
            strcmp(reply->element[i]->str, name) == 0)
            return reply->element[i + 1]->str;
    return NULL;
}

/* The second answer completes the first. */
static void sentinel_told_master(void *arg, enum redis_fault fault, const redisReply *reply)
{
    struct sentinel *sentinel = arg;
    const char *epoch;

    sentinel->is_asked = false;
    if (reply == NULL || sentinel->named.port == 0)
        return;
    epoch = fault == REDIS_FINE ? field_of(reply, "config-epoch") : NULL;
    if (epoch == NULL) {
        sentinel_trouble(sentinel, "no config-epoch in what it says of the master");
        return;
    }
    sentinel->epoch = strtoull(epoch, NULL, 10);
    sentinel->master = sentinel->named;
    sentinel->knows = true;
    sentinel->answered_ms = clock_mono_ms();
    find_decide(sentinel->find);
}

static bool read_address(const redisReply *reply, struct redis_place *ret_place)
{
    unsigned long port;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_STRING ||
        reply->element[0]->len >= REDIS_HOST_BYTES || reply->element[0]->len == 0)
        return false;
    port = strtoul(reply->element[1]->str, NULL, 10);
    if (port == 0 || port > UINT16_MAX)
        return false;
    strcpy(ret_place->host, reply->element[0]->str);
    ret_place->port = (uint16_t)port;
    return true;
}

static void sentinel_told_address(void *arg, enum redis_fault fault, const redisReply *reply)
{
    struct sentinel *sentinel = arg;
    char why[WHY_BYTES];

    sentinel->named.port = 0;
    if (reply == NULL)
        return;
    if (fault != REDIS_FINE) {
        sentinel_trouble(sentinel, reply->str);
    } else if (reply->type == REDIS_REPLY_NIL) {
        snprintf(why, sizeof(why), "knows no master named %.100s",
                 sentinel->find->conf.url->master);
        sentinel_trouble(sentinel, why);
    } else if (!read_address(reply, &sentinel->named)) {
        sentinel_trouble(sentinel, "its answer is no address");
    }
}

static void sentinel_ask(struct sentinel *sentinel)
{
    struct redis_find *find = sentinel->find;

    if (sentinel->is_asked)
        return;
    if (!sentinel->is_open) {
        sentinel->is_open = true;
        redis_link_open(sentinel->link, sentinel->place);
    }
    if (!redis_link_is_up(sentinel->link))
        return;
    if (redis_link_ask(sentinel->link, find->conf.timeout_ms, sentinel_told_address, sentinel,
                       "SENTINEL GET-MASTER-ADDR-BY-NAME %s", find->conf.url->master) != 0)
        return;
    sentinel->is_asked =
        redis_link_ask(sentinel->link, find->conf.timeout_ms, sentinel_told_master, sentinel,
                       "SENTINEL MASTER %s", find->conf.url->master) == 0;
}

static void sentinel_up(void *arg)
{
    sentinel_ask(arg);
}

/* The password of the servers may be that of the sentinels; it is said to who asks for it. */
static void sentinel_down(void *arg, enum redis_fault fault, const char *why)
{
    struct sentinel *sentinel = arg;
    const struct redis_find_conf *conf = &sentinel->find->conf;

    sentinel->is_open = false;
    if (fault == REDIS_NOAUTH)
        redis_link_set_password(sentinel->link, conf->user, conf->password);
    sentinel_trouble(sentinel, why);
}

static bool find_begin_sentinel(struct redis_find *find, size_t i)
{
    struct sentinel *sentinel = &find->sentinels[i];
    struct redis_link_conf conf = {.timeout_ms = find->conf.timeout_ms,
                                   .reply_bytes_max = REPLY_BYTES_MAX};
    struct redis_link_hooks hooks = {.up = sentinel_up, .down = sentinel_down, .arg = sentinel};

    sentinel->find = find;
    sentinel->place = &find->conf.url->places[i];
    sentinel->link = redis_link_new(find->base, &conf, &hooks);
    return sentinel->link != NULL;
}

/* ---- */

/* A place to which we were sent is tried once; then the one that is named again. */
static void find_named(struct redis_find *find)
{
    bool is_moved = find->has_moved && !find->is_moved_tried;

    find->is_moved_tried = true;
    find_tell(find, is_moved ? &find->moved : &find->conf.url->places[0]);
}

static void find_ask(struct redis_find *find)
{
    for (size_t i = 0; i < find->conf.url->places_n; i++)
        sentinel_ask(&find->sentinels[i]);
}

static void find_on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct redis_find *find = arg;

    (void)fd, (void)what;
    if (!find->conf.url->is_sentinel) {
        find_named(find);
        return;
    }
    if (find->is_late && find->why[0] != '\0' && find->conf.lost != NULL)
        find->conf.lost(find->arg, find->why);
    find->is_late = find->is_wanted;
    find_wait(find, find->is_wanted ? find->pause_ms : ROUND_MS);
    find_ask(find);
}

void redis_find_look(struct redis_find *find)
{
    if (find->conf.url->is_sentinel)
        find_ask(find);
}

void redis_find_again(struct redis_find *find)
{
    find->is_wanted = true;
    find->is_late = false;
    find_wait(find, find->pause_ms);
    find->pause_ms *= 2;
    if (find->pause_ms < PAUSE_MIN_MS)
        find->pause_ms = PAUSE_MIN_MS;
    if (find->pause_ms > PAUSE_MAX_MS)
        find->pause_ms = PAUSE_MAX_MS;
}

void redis_find_moved(struct redis_find *find, const struct redis_place *place)
{
    find->has_moved = true;
    find->is_moved_tried = false;
    find->moved = *place;
}

void redis_find_works(struct redis_find *find)
{
    find->pause_ms = 0;
    find->is_moved_tried = false;
}

struct redis_find *redis_find_new(struct event_base *base, const struct redis_find_conf *conf,
                                  redis_find_found *found, void *arg)
{
    struct redis_find *find = calloc(1, sizeof(*find));
    bool is_sound = true;

    if (find == NULL)
        return NULL;
    *find = (struct redis_find){.base = base, .conf = *conf, .found = found, .arg = arg};
    find->timer = event_new(base, -1, 0, find_on_timer, find);
    find->sentinels = calloc(conf->url->places_n, sizeof(*find->sentinels));
    is_sound = find->timer != NULL && find->sentinels != NULL;
    for (size_t i = 0; is_sound && conf->url->is_sentinel && i < conf->url->places_n; i++)
        is_sound = find_begin_sentinel(find, i);
    if (is_sound)
        return find;
    redis_find_free(find);
    return NULL;
}

void redis_find_free(struct redis_find *find)
{
    if (find == NULL)
        return;
    if (find->timer != NULL)
        event_free(find->timer);
    for (size_t i = 0; find->sentinels != NULL && i < find->conf.url->places_n; i++)
        redis_link_free(find->sentinels[i].link);
    free(find->sentinels);
    free(find);
}
