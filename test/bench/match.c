/* SPDX-License-Identifier: MIT */
/*
 * What matching an event can cost at most: a search over what the streams of one address may ask
 * for and what an event may say.
 *
 *   match [SECONDS [SEED]]
 *
 * begins with cases made by hand and goes on from each by small random changes, of which it keeps
 * those that cost more (hill climbing), for so long in all.  What it raises is the number of steps
 * beyond what the streams that the event reaches are allowed; that is a count, so a run is the same
 * on every machine.  Of each case it prints the steps and what they take, in caches that have just
 * been driven out and in warm ones, and for a turn of the worker's loop: as many of the events as
 * WORKER_WORK_A_TURN lets pass.  Fails when a topic visits more nodes than TOPIC_TREE_VISITS_MAX.
 */
#include "config.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/make.h"
#include "api/publish_body.h"
#include "api/query_params.h"
#include "base/clock.h"
#include "event/topic.h"
#include "loop/worker.h"
#include "stream/topic_index.h"
#include "stream/topic_tree.h"

#define STREAMS 256 /* limits.streams_per_address */
#define TOPICS PUBLISH_TOPICS_MAX
#define SEGMENTS TOPIC_SEGMENTS_MAX
#define STEPS_A_STREAM 100 /* 2 us */
#define CACHE_BYTES ((size_t)64 << 20)
#define EVENT_WORK 16 /* as streams.c counts */

/* A segment is a letter, '*' or '+' for a last "**"; no letter ends a name. */
struct name {
    char segments[SEGMENTS + 1];
};

struct wish {
    struct name patterns[QUERY_PARAMS_TOPICS_MAX];
    size_t patterns_n;
    bool has_user;
};

struct genes {
    struct wish wishes[STREAMS];
    struct name topics[TOPICS];
    size_t topics_n;
    size_t users_n; /* of the event; the streams have the first */
};

struct scene {
    struct genes genes;
    struct topic_index *match;
    struct topic_index_listener listeners[STREAMS];
};

static char *cache;

static size_t pick(size_t n)
{
    return (size_t)random() % n;
}

/* ---- from genes to streams and events ---- */

static size_t spell(const struct name *name, char *to)
{
    char *end = to;

    for (size_t i = 0; name->segments[i] != '\0'; i++) {
        if (i > 0)
            *end++ = '/';
        *end++ = name->segments[i] == '+' ? '*' : name->segments[i];
        if (name->segments[i] == '+')
            *end++ = '*';
    }
    return (size_t)(end - to);
}

/* Whether the gateway would let it pass. */
static struct filter *make_wish(const struct wish *wish)
{
    static char texts[QUERY_PARAMS_TOPICS_MAX][TOPIC_BYTES_MAX];
    struct message_name names[QUERY_PARAMS_TOPICS_MAX], user = {.bytes = "user0", .bytes_n = 5};
    size_t segments_n = 0;

    for (size_t i = 0; i < wish->patterns_n; i++) {
        names[i].bytes = texts[i];
        names[i].bytes_n = spell(&wish->patterns[i], texts[i]);
        segments_n += strlen(wish->patterns[i].segments);
        if (topic_check_pattern(texts[i], names[i].bytes_n) != TOPIC_OK)
            return NULL;
    }
    if (segments_n > QUERY_PARAMS_SEGMENTS_MAX)
        return NULL;
    return filter_new(names, wish->patterns_n, wish->has_user ? &user : NULL);
}

static bool enter(struct scene *scene, size_t index)
{
    struct filter *filter = make_wish(&scene->genes.wishes[index]);
    int result = -1;

    if (filter != NULL)
        result = topic_index_add(scene->match, &scene->listeners[index], filter, NULL);
    filter_unref(filter);
    return result == 0;
}

static struct message *make_body(const struct genes *genes)
{
    static char texts[TOPICS][TOPIC_BYTES_MAX], users[PUBLISH_USERS_MAX][16];
    struct message_name topics[TOPICS], names[PUBLISH_USERS_MAX];
    struct message_draft draft = {.fields = {.data = "x", .data_n = 1},
                                  .topics = topics,
                                  .topics_n = genes->topics_n,
                                  .users = names,
                                  .users_n = genes->users_n};

    for (size_t i = 0; i < genes->topics_n; i++)
        topics[i] =
            (struct message_name){.bytes = texts[i], .bytes_n = spell(&genes->topics[i], texts[i])};
    for (size_t i = 0; i < genes->users_n; i++) {
        int n = snprintf(users[i], sizeof(users[i]), "user%zu", i);

        names[i] = (struct message_name){.bytes = users[i], .bytes_n = (size_t)n};
    }
    struct message *message = message_new(&draft);
    assert(message != NULL);
    return message;
}

/* ---- what it costs ---- */

static int64_t steps_beyond(struct scene *scene, const struct message *message)
{
    struct topic_index_listener **found;
    size_t found_n = topic_index_message(scene->match, message, &found);

    return (int64_t)topic_index_last_cost(scene->match) - (int64_t)(found_n * STEPS_A_STREAM);
}

static int64_t cpu_ns(void)
{
    return clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
}

static int64_t time_one(struct scene *scene, const struct message *message, bool is_cold)
{
    int64_t best_ns = INT64_MAX;

    for (int i = 0; i < (is_cold ? 9 : 99); i++) {
        struct topic_index_listener **found;

        for (size_t at = 0; is_cold && at < CACHE_BYTES; at += 64)
            cache[at]++;
        int64_t began_ns = cpu_ns();
        topic_index_message(scene->match, message, &found);
        int64_t took_ns = cpu_ns() - began_ns;
        best_ns = took_ns < best_ns ? took_ns : best_ns;
    }
    return best_ns;
}

static int64_t time_turn(struct scene *scene, const struct message *message)
{
    int64_t began_ns = cpu_ns();
    struct topic_index_listener **found;

    for (size_t work = 0; work < WORKER_WORK_A_TURN;)
        work += EVENT_WORK + topic_index_message(scene->match, message, &found) +
                topic_index_last_cost(scene->match);
    return cpu_ns() - began_ns;
}

static bool report(struct scene *scene, const char *name)
{
    struct message *message = make_body(&scene->genes);
    struct topic_index_listener **found;
    size_t found_n = topic_index_message(scene->match, message, &found);
    size_t steps = topic_index_last_cost(scene->match);
    int64_t warm_ns = time_one(scene, message, false), cold_ns = time_one(scene, message, true);

    printf("%-22s %6zu steps %4zu reached %7.1f us %7.1f us cold %6.2f ms a turn %5zu KB\n", name,
           steps, found_n, (double)warm_ns / 1e3, (double)cold_ns / 1e3,
           (double)time_turn(scene, message) / 1e6, topic_index_bytes(scene->match) / 1024);
    message_unref(message);
    size_t most =
        TOPICS * TOPIC_TREE_VISITS_MAX + PUBLISH_USERS_MAX +
        STREAMS * (QUERY_PARAMS_TOPICS_MAX + 1) * (scene->genes.users_n > 0 || found_n > 0);
    return steps <= most;
}

/* ---- small changes ---- */

static char random_letter(void)
{
    return "aaaabc"[pick(6)];
}

static void change_topic(struct genes *genes)
{
    struct name *topic;

    if (pick(8) == 0)
        genes->topics_n = 1 + pick(TOPICS);
    topic = &genes->topics[pick(genes->topics_n)];
    size_t n = strlen(topic->segments);
    if (pick(4) == 0)
        *topic = genes->topics[pick(genes->topics_n)];
    else if (n < SEGMENTS && pick(3) == 0)
        topic->segments[n] = 'a';
    else if (n > 1 && pick(8) == 0)
        topic->segments[n - 1] = '\0';
    else
        topic->segments[pick(n)] = random_letter();
}

static size_t stars_of(const struct name *name)
{
    size_t stars_n = 0;

    for (size_t i = 0; name->segments[i] != '\0'; i++)
        stars_n += name->segments[i] == '*' || name->segments[i] == '+';
    return stars_n;
}

/* A prefix of a topic with wildcards here and there, or a pattern with one change. */
static void change_pattern(const struct genes *genes, struct name *pattern)
{
    size_t n;

    if (pattern->segments[0] == '\0' || pick(3) == 0) {
        *pattern = genes->topics[pick(genes->topics_n)];
        pattern->segments[1 + pick(strlen(pattern->segments))] = '\0';
    }
    n = strlen(pattern->segments);
    pattern->segments[pick(n)] = pick(2) ? '*' : random_letter();
    while (stars_of(pattern) < TOPIC_WILDCARDS_MAX && pick(3) > 0)
        pattern->segments[pick(n)] = '*';
    if (pick(3) == 0)
        pattern->segments[n - 1] = 'z'; /* and reaches nobody */
}

static void change_wish(const struct genes *genes, struct wish *wish)
{
    size_t changes_n = 1 + pick(8);

    if (pick(16) == 0)
        wish->has_user = !wish->has_user;
    if (pick(4) == 0) {
        size_t n = 1 + pick(QUERY_PARAMS_TOPICS_MAX);

        for (size_t i = wish->patterns_n; i < n; i++)
            wish->patterns[i] = wish->patterns[pick(wish->patterns_n)];
        wish->patterns_n = n;
    }
    while (changes_n-- > 0)
        change_pattern(genes, &wish->patterns[pick(wish->patterns_n)]);
}

/* Change a stream or the event; what costs no more is taken back. */
static int64_t climb(struct scene *scene, int64_t steps)
{
    struct genes *genes = &scene->genes;
    size_t index = pick(STREAMS);
    bool is_event = pick(4) == 0;
    struct genes *before = malloc(sizeof(*before));

    *before = *genes;
    if (is_event) {
        change_topic(genes);
        if (pick(64) == 0)
            genes->users_n = pick(2) * (1 + pick(PUBLISH_USERS_MAX));
    } else {
        topic_index_remove(scene->match, &scene->listeners[index], NULL);
        change_wish(genes, &genes->wishes[index]);
    }
    bool is_good = is_event || enter(scene, index);
    struct message *message = make_body(genes);
    int64_t now = is_good ? steps_beyond(scene, message) : INT64_MIN;
    message_unref(message);
    if (now < steps) {
        if (!is_event)
            topic_index_remove(scene->match, &scene->listeners[index], NULL);
        *genes = *before;
        if (!is_event && !enter(scene, index))
            abort(); /* it was there */
        now = steps;
    }
    free(before);
    return now;
}

/* ---- cases to begin with ---- */

static void fill(struct name *name, size_t segments_n)
{
    memset(name->segments, 'a', segments_n);
    name->segments[segments_n] = '\0';
}

/* Topics of so many segments that differ in the last. */
static void give_topics(struct genes *genes, size_t segments_n)
{
    genes->topics_n = TOPICS;
    for (size_t i = 0; i < TOPICS; i++) {
        fill(&genes->topics[i], segments_n);
        genes->topics[i].segments[segments_n - 1] = (char)('d' + i);
    }
}

/* Each pattern has its wildcards at random places among so many segments, and fits no topic. */
static void give_patterns(struct genes *genes, size_t patterns_n, size_t segments_n, size_t stars_n)
{
    for (size_t i = 0; i < STREAMS; i++) {
        genes->wishes[i].patterns_n = patterns_n;
        for (size_t j = 0; j < patterns_n; j++) {
            struct name *pattern = &genes->wishes[i].patterns[j];

            fill(pattern, segments_n);
            for (size_t n = 0; n < stars_n; n++)
                pattern->segments[pick(segments_n - 1)] = '*';
            pattern->segments[segments_n - 1] = 'z';
        }
    }
}

/* A user whose streams have many patterns that are all looked at. */
static void user_with_many_patterns(struct genes *genes)
{
    give_topics(genes, 32);
    give_patterns(genes, 48, 10, 1);
    genes->users_n = PUBLISH_USERS_MAX;
    for (size_t i = 0; i < STREAMS; i++)
        genes->wishes[i].has_user = true;
}

static void wildcards_in_deep_topics(struct genes *genes)
{
    give_topics(genes, 32);
    give_patterns(genes, 16, 32, 4);
}

static void wildcards_in_front(struct genes *genes)
{
    give_topics(genes, 32);
    give_patterns(genes, 51, 10, 4);
}

/* All of its wildcards at the few first places: what goes on below each is a row of shapes. */
static void long_rows(struct genes *genes)
{
    give_topics(genes, 32);
    give_patterns(genes, 16, 32, 4);
    for (size_t i = 0; i < STREAMS; i++)
        for (size_t j = 0; j < 16; j++)
            for (size_t at = 3; at < 31; at++)
                genes->wishes[i].patterns[j].segments[at] = 'a';
}

static void few_wildcards(struct genes *genes)
{
    give_topics(genes, 6);
    give_patterns(genes, 64, 6, 2);
}

static void all_reached(struct genes *genes)
{
    give_topics(genes, 32);
    give_patterns(genes, 64, 4, 2);
    for (size_t i = 0; i < STREAMS; i++)
        for (size_t j = 0; j < 64; j++)
            genes->wishes[i].patterns[j].segments[3] = '+';
}

/* Patterns that are refused are left out: those that bring shapes beyond what there may be. */
static void enter_in_part(struct scene *scene, size_t index)
{
    struct wish *wish = &scene->genes.wishes[index];

    while (!enter(scene, index))
        if (wish->patterns_n > 1)
            wish->patterns_n--;
        else
            fill(&wish->patterns[0], 31);
}

static struct scene *build(void (*make)(struct genes *genes))
{
    struct scene *scene = calloc(1, sizeof(*scene));

    scene->match = topic_index_new();
    make(&scene->genes);
    for (size_t i = 0; i < STREAMS; i++)
        enter_in_part(scene, i);
    return scene;
}

static void tear_down(struct scene *scene)
{
    for (size_t i = 0; i < STREAMS; i++)
        topic_index_remove(scene->match, &scene->listeners[i], NULL);
    topic_index_free(scene->match);
    free(scene);
}

static bool search(const char *name, void (*make)(struct genes *genes), double seconds)
{
    struct scene *scene = build(make);
    int64_t until_ns = cpu_ns() + (int64_t)(seconds * 1e9);
    struct message *message = make_body(&scene->genes);
    int64_t steps = steps_beyond(scene, message);
    size_t tries_n = 0;
    char label[64];

    message_unref(message);
    bool good = report(scene, name);
    for (; cpu_ns() < until_ns; tries_n++)
        steps = climb(scene, steps);
    snprintf(label, sizeof(label), "  after %zu", tries_n);
    good &= report(scene, label);
    tear_down(scene);
    return good;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*make)(struct genes *genes);
    } cases[] = {
        {"user, many patterns", user_with_many_patterns},
        {"wildcards, deep", wildcards_in_deep_topics},
        {"wildcards, in front", wildcards_in_front},
        {"wildcards, long rows", long_rows},
        {"few wildcards", few_wildcards},
        {"all reached", all_reached},
    };
    double seconds = argc > 1 ? atof(argv[1]) : 20;
    bool good = true;

    srandom(argc > 2 ? (unsigned)atoi(argv[2]) : 1);
    cache = calloc(1, CACHE_BYTES);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        good &= search(cases[i].name, cases[i].make, seconds / (sizeof(cases) / sizeof(cases[0])));
    free(cache);
    return good ? 0 : 1;
}
