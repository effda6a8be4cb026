/* SPDX-License-Identifier: MIT */
/* The index from topics and users to listeners.  See match.h. */
#include "config.h"
#include "match.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "topic.h"

/* Names come from outside, so the table's hash has a secret seed; and running out of memory is an
 * answer to one client, not the end of the process. */
#define HASH_FUNCTION(key, key_n, hash)                                                            \
    ((hash) = (unsigned)topic_hash((const char *)(key), (key_n)))
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* Entries that hang together, in an array: an event goes through all of them, and a list of fifteen
 * thousand that are in no cache is waited for one by one. */
struct entry_array {
    struct match_entry **at;
    uint32_t n;
    uint32_t room;
};

LIST_HEAD(listener_list, match_listener);

/* An edge of the tree and the node it leads to; the key is the parent's address and the segment. */
struct match_node {
    UT_hash_handle hh;
    struct match_node *parent;
    struct entry_array exact; /* patterns that end here */
    struct entry_array rest;  /* patterns that go on with "**" */
    size_t uses;              /* children and entries */
    size_t key_n;
    char key[];
};

struct match_user {
    UT_hash_handle hh;
    struct listener_list listeners;
    size_t name_n;
    char name[];
};

struct match {
    struct match_node *nodes; /* hash table of all edges */
    struct match_user *users;
    struct match_node *root;
    struct listener_list everyone;
    struct entry_array all_topics; /* listeners without patterns */
    struct match_listener **found;
    size_t found_n;
    size_t found_room;
    size_t listeners_n;
    uint64_t serial;
    size_t cost;
};

#define ENTRIES_MIN 2
/* How many are asked for ahead. */
#define AHEAD 16

#define KEY_BYTES_MAX (sizeof(struct match_node *) + TOPIC_BYTES_MAX)

static size_t make_key(char *to, struct match_node *parent, const char *segment, size_t segment_n)
{
    memcpy(to, &parent, sizeof(parent));
    memcpy(to + sizeof(parent), segment, segment_n);
    return sizeof(parent) + segment_n;
}

static struct match_node *find_node(struct match *match, struct match_node *parent,
                                    const char *segment, size_t segment_n)
{
    char key[KEY_BYTES_MAX];
    size_t key_n = make_key(key, parent, segment, segment_n);
    struct match_node *node;

    HASH_FIND(hh, match->nodes, key, key_n, node);
    return node;
}

static struct match_node *allocate_node(struct match_node *parent, const char *segment,
                                        size_t segment_n)
{
    struct match_node *node = calloc(1, sizeof(*node) + sizeof(parent) + segment_n);

    if (node == NULL)
        return NULL;
    node->parent = parent;
    node->key_n = make_key(node->key, parent, segment, segment_n);
    return node;
}

static struct match_node *add_node(struct match *match, struct match_node *parent,
                                   const char *segment, size_t segment_n)
{
    struct match_node *node = allocate_node(parent, segment, segment_n);

    if (node == NULL)
        return NULL;
    HASH_ADD_KEYPTR(hh, match->nodes, node->key, node->key_n, node);
    if (node->hh.tbl == NULL) {
        free(node);
        return NULL;
    }
    parent->uses++;
    return node;
}

static void free_node(struct match_node *node)
{
    assert(node->exact.n == 0 && node->rest.n == 0);
    free(node->exact.at);
    free(node->rest.at);
    free(node);
}

/* Let go of a node that nothing uses, and of the parents that only led to it. */
static void prune(struct match *match, struct match_node *node)
{
    while (node != match->root && node->uses == 0) {
        struct match_node *parent = node->parent;

        HASH_DELETE(hh, match->nodes, node);
        free_node(node);
        parent->uses--;
        node = parent;
    }
}

static bool is_rest(const char *pattern, const struct topic_segment *segment)
{
    return segment->bytes_n == 2 && memcmp(pattern + segment->offset, "**", 2) == 0;
}

/* The node a pattern ends at, made if need be; NULL when out of memory. */
static struct match_node *node_of(struct match *match, const char *pattern,
                                  const struct topic_segment *segments, size_t segments_n)
{
    struct match_node *node = match->root;

    for (size_t i = 0; i < segments_n; i++) {
        const char *segment = pattern + segments[i].offset;
        struct match_node *next = find_node(match, node, segment, segments[i].bytes_n);

        if (next == NULL)
            next = add_node(match, node, segment, segments[i].bytes_n);
        if (next == NULL) {
            prune(match, node);
            return NULL;
        }
        node = next;
    }
    return node;
}

static struct entry_array *array_of(struct match *match, const struct match_entry *entry)
{
    if (entry->node == NULL)
        return &match->all_topics;
    return entry->is_rest ? &entry->node->rest : &entry->node->exact;
}

/* To the array in which it belongs.  Returns 0 or -ENOMEM. */
static int add_to_array(struct match *match, struct match_entry *entry)
{
    struct entry_array *array = array_of(match, entry);

    if (array->n == array->room) {
        uint32_t room = array->room > 0 ? array->room * 2 : ENTRIES_MIN;
        struct match_entry **at = realloc(array->at, room * sizeof(*at));

        if (at == NULL)
            return -ENOMEM;
        array->at = at;
        array->room = room;
    }
    entry->place = array->n;
    array->at[array->n++] = entry;
    return 0;
}

/* A crowd has left, and its place is to be of use to others; if that fails nothing is lost. */
static void shrink(struct entry_array *array)
{
    struct match_entry **at = realloc(array->at, array->room / 2 * sizeof(*at));

    if (at == NULL)
        return;
    array->at = at;
    array->room /= 2;
}

static void remove_from_array(struct match *match, struct match_entry *entry)
{
    struct entry_array *array = array_of(match, entry);
    struct match_entry *last = array->at[--array->n];

    array->at[entry->place] = last;
    last->place = entry->place;
    if (array->room > ENTRIES_MIN && array->n <= array->room / 4)
        shrink(array);
}

static int hang_entry(struct match *match, struct match_entry *entry, const char *pattern,
                      size_t pattern_n)
{
    struct topic_segment segments[TOPIC_SEGMENTS_MAX];
    size_t segments_n = topic_split(pattern, pattern_n, segments);

    entry->is_rest = is_rest(pattern, &segments[segments_n - 1]);
    entry->node = node_of(match, pattern, segments, entry->is_rest ? segments_n - 1 : segments_n);
    if (entry->node == NULL)
        return -ENOMEM;
    if (add_to_array(match, entry) != 0) {
        prune(match, entry->node);
        return -ENOMEM;
    }
    entry->node->uses++;
    return 0;
}

static void unhang_entry(struct match *match, struct match_entry *entry)
{
    remove_from_array(match, entry);
    if (entry->node == NULL)
        return;
    entry->node->uses--;
    prune(match, entry->node);
}

static int add_user(struct match *match, struct match_listener *listener)
{
    const struct message_name *name = &listener->filter->user;
    struct match_user *user;

    if (name->bytes == NULL)
        return 0;
    HASH_FIND(hh, match->users, name->bytes, name->bytes_n, user);
    if (user == NULL) {
        user = calloc(1, sizeof(*user) + name->bytes_n);
        if (user == NULL)
            return -ENOMEM;
        user->name_n = name->bytes_n;
        memcpy(user->name, name->bytes, name->bytes_n);
        HASH_ADD_KEYPTR(hh, match->users, user->name, user->name_n, user);
        if (user->hh.tbl == NULL) {
            free(user);
            return -ENOMEM;
        }
    }
    LIST_INSERT_HEAD(&user->listeners, listener, same_user);
    listener->user = user;
    return 0;
}

static void remove_user(struct match *match, struct match_listener *listener)
{
    struct match_user *user = listener->user;

    if (user == NULL)
        return;
    LIST_REMOVE(listener, same_user);
    if (LIST_EMPTY(&user->listeners)) {
        HASH_DELETE(hh, match->users, user);
        free(user);
    }
}

static int add_entries(struct match *match, struct match_listener *listener)
{
    const struct filter *filter = listener->filter;
    size_t entries_n = filter->patterns_n > 0 ? filter->patterns_n : 1;

    listener->entries = &listener->one;
    if (entries_n > 1)
        listener->entries = calloc(entries_n, sizeof(*listener->entries));
    if (listener->entries == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < entries_n; i++)
        listener->entries[i].listener = listener;
    if (filter->patterns_n == 0)
        return add_to_array(match, &listener->one);
    for (size_t i = 0; i < filter->patterns_n; i++) {
        const struct message_name *name = &filter->patterns[i].name;

        if (hang_entry(match, &listener->entries[i], name->bytes, name->bytes_n) == 0)
            continue;
        while (i-- > 0)
            unhang_entry(match, &listener->entries[i]);
        if (listener->entries != &listener->one)
            free(listener->entries);
        return -ENOMEM;
    }
    return 0;
}

static void remove_entries(struct match *match, struct match_listener *listener)
{
    size_t entries_n = listener->filter->patterns_n > 0 ? listener->filter->patterns_n : 1;

    for (size_t i = 0; i < entries_n; i++)
        unhang_entry(match, &listener->entries[i]);
    if (listener->entries != &listener->one)
        free(listener->entries);
}

/* match_message() must not fail, so the array has room for every listener beforehand. */
static int make_room(struct match *match)
{
    if (match->listeners_n < match->found_room)
        return 0;
    size_t room = match->found_room > 0 ? match->found_room * 2 : 64;
    struct match_listener **found = realloc(match->found, room * sizeof(struct match_listener *));
    if (found == NULL)
        return -ENOMEM;
    match->found = found;
    match->found_room = room;
    return 0;
}

struct match *match_new(void)
{
    struct match *match = calloc(1, sizeof(*match));

    if (match == NULL)
        return NULL;
    match->root = allocate_node(NULL, "", 0);
    if (match->root == NULL) {
        free(match);
        return NULL;
    }
    LIST_INIT(&match->everyone);
    return match;
}

void match_free(struct match *match)
{
    if (match == NULL)
        return;
    assert(match->listeners_n == 0);
    free_node(match->root);
    free(match->all_topics.at);
    free(match->found);
    free(match);
}

int match_add(struct match *match, struct match_listener *listener, struct filter *filter)
{
    if (make_room(match) != 0)
        return -ENOMEM;
    listener->filter = filter_ref(filter);
    if (add_entries(match, listener) != 0)
        goto fail;
    if (add_user(match, listener) != 0) {
        remove_entries(match, listener);
        goto fail;
    }
    LIST_INSERT_HEAD(&match->everyone, listener, everyone);
    match->listeners_n++;
    return 0;
fail:
    filter_unref(filter);
    memset(listener, 0, sizeof(*listener));
    return -ENOMEM;
}

void match_remove(struct match *match, struct match_listener *listener)
{
    if (listener->filter == NULL)
        return;
    LIST_REMOVE(listener, everyone);
    remove_entries(match, listener);
    remove_user(match, listener);
    filter_unref(listener->filter);
    memset(listener, 0, sizeof(*listener));
    match->listeners_n--;
}

static void found(struct match *match, struct match_listener *listener)
{
    match->cost++;
    if (listener->seen == match->serial)
        return;
    listener->seen = match->serial;
    match->found[match->found_n++] = listener;
}

static void found_entries(struct match *match, const struct entry_array *entries)
{
    for (uint32_t i = 0; i < entries->n; i++) {
        if (i + AHEAD < entries->n)
            __builtin_prefetch(entries->at[i + AHEAD], 1);
        found(match, entries->at[i]->listener);
    }
}

/* What remains of a topic while it goes down the tree. */
struct walk {
    struct match *match;
    const char *topic;
    struct topic_segment segments[TOPIC_SEGMENTS_MAX];
    size_t segments_n;
};

/* As deep as a topic has segments; patterns have few wildcards, so few branches. */
static void visit(struct walk *walk, struct match_node *node, size_t depth)
{
    struct match *match = walk->match;

    match->cost++;
    if (depth == walk->segments_n) {
        found_entries(match, &node->exact);
        return;
    }
    found_entries(match, &node->rest);
    const struct topic_segment *segment = &walk->segments[depth];
    struct match_node *next =
        find_node(match, node, walk->topic + segment->offset, segment->bytes_n);
    if (next != NULL)
        visit(walk, next, depth + 1);
    next = find_node(match, node, "*", 1);
    if (next != NULL)
        visit(walk, next, depth + 1);
}

static void match_topics(struct match *match, const struct message *message)
{
    found_entries(match, &match->all_topics);
    for (size_t i = 0; i < message->topics_n; i++) {
        const struct message_name *topic = &message_topics(message)[i];
        struct walk walk = {.match = match, .topic = topic->bytes};

        walk.segments_n = topic_split(topic->bytes, topic->bytes_n, walk.segments);
        visit(&walk, match->root, 0);
    }
}

static void match_users(struct match *match, const struct message *message)
{
    for (size_t i = 0; i < message->users_n; i++) {
        const struct message_name *name = &message_users(message)[i];
        struct match_listener *listener;
        struct match_user *user;

        HASH_FIND(hh, match->users, name->bytes, name->bytes_n, user);
        if (user == NULL)
            continue;
        LIST_FOREACH (listener, &user->listeners, same_user)
            if (filter_accepts_topics(listener->filter, message))
                found(match, listener);
    }
}

size_t match_message(struct match *match, const struct message *message,
                     struct match_listener ***ret_found)
{
    struct match_listener *listener;

    match->serial++;
    match->found_n = 0;
    match->cost = 0;
    if (message->users_n > 0)
        match_users(match, message);
    else if (message->topics_n > 0)
        match_topics(match, message);
    else
        LIST_FOREACH (listener, &match->everyone, everyone)
            found(match, listener);
    *ret_found = match->found;
    return match->found_n;
}

size_t match_listeners(const struct match *match)
{
    return match->listeners_n;
}

size_t match_nodes(const struct match *match)
{
    return HASH_CNT(hh, match->nodes);
}

size_t match_last_cost(const struct match *match)
{
    return match->cost;
}
