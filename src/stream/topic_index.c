/* SPDX-License-Identifier: MIT */
/* The index from topics and users to listeners.  See topic_index.h. */
#include "config.h"
#include "stream/topic_index.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "event/topic.h"
#include "stream/topic_share.h"
#include "stream/topic_tree.h"

/* Names come from outside, so the table's hash has a secret seed; and running out of memory is an
 * answer to one client, not the end of the process. */
#define HASH_FUNCTION(key, key_n, hash)                                                            \
    ((hash) = (unsigned)hash_bytes((const char *)(key), (key_n)))
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

LIST_HEAD(listener_list, topic_index_listener);

struct topic_index_user {
    UT_hash_handle hh;
    struct listener_list listeners;
    uint64_t seen; /* the last event that named it */
    size_t name_n;
    char name[];
};

struct topic_index {
    struct topic_tree tree;
    struct topic_shares shares;
    struct topic_index_user *users;
    struct listener_list everyone;
    struct topic_tree_entries all_topics; /* listeners without patterns */
    struct topic_index_listener **found;
    size_t found_n;
    size_t found_room;
    size_t listeners_n;
    size_t listeners_bytes; /* entries, users and filters */
    uint64_t serial;
    size_t cost;
    size_t last_bytes;
};

#define ENTRIES_MIN 2
/* How many are asked for ahead. */
#define AHEAD 16

static bool is_rest(const char *pattern, const struct topic_segment *segment)
{
    return segment->bytes_n == 2 && memcmp(pattern + segment->offset, "**", 2) == 0;
}

static struct topic_tree_entries *array_of(struct topic_index *match,
                                           const struct topic_index_entry *entry)
{
    if (entry->node == NULL)
        return &match->all_topics;
    return entry->is_rest ? &entry->node->rest : &entry->node->exact;
}

/* To the array in which it belongs.  Returns 0 or -ENOMEM. */
static int add_to_array(struct topic_index *match, struct topic_index_entry *entry)
{
    struct topic_tree_entries *array = array_of(match, entry);

    if (array->n == array->room) {
        uint32_t room = array->room > 0 ? array->room * 2 : ENTRIES_MIN;
        struct topic_index_entry **at = realloc(array->at, room * sizeof(*at));

        if (at == NULL)
            return -ENOMEM;
        match->tree.bytes += (room - array->room) * sizeof(*at);
        array->at = at;
        array->room = room;
    }
    entry->place = array->n;
    array->at[array->n++] = entry;
    return 0;
}

/* A crowd has left, and its place is to be of use to others; if that fails nothing is lost. */
static void shrink(struct topic_index *match, struct topic_tree_entries *array)
{
    struct topic_index_entry **at = realloc(array->at, array->room / 2 * sizeof(*at));

    if (at == NULL)
        return;
    array->at = at;
    match->tree.bytes -= (array->room - array->room / 2) * sizeof(*at);
    array->room /= 2;
}

static void remove_from_array(struct topic_index *match, struct topic_index_entry *entry)
{
    struct topic_tree_entries *array = array_of(match, entry);
    struct topic_index_entry *last = array->at[--array->n];

    array->at[entry->place] = last;
    last->place = entry->place;
    if (array->room > ENTRIES_MIN && array->n <= array->room / 4)
        shrink(match, array);
}

static void leave_share(struct topic_index *match, const struct topic_tree_node *node,
                        const void *const *owners)
{
    if (node->shape != TOPIC_TREE_PLAIN && owners != NULL)
        topic_share_leave(&match->shares, owners, node->shape);
}

static int hang_entry(struct topic_index *match, struct topic_index_entry *entry,
                      const struct message_name *name, const void *const *owners)
{
    struct topic_segment segments[TOPIC_SEGMENTS_MAX];
    size_t segments_n = topic_split(name->bytes, name->bytes_n, segments);
    int result;

    entry->is_rest = is_rest(name->bytes, &segments[segments_n - 1]);
    result = topic_tree_add(&match->tree, name->bytes, segments, segments_n - entry->is_rest,
                            &entry->node);
    if (result != 0)
        return result;
    if (entry->node->shape != TOPIC_TREE_PLAIN && owners != NULL)
        result = topic_share_take(&match->shares, owners, entry->node->shape);
    if (result == 0 && add_to_array(match, entry) != 0) {
        leave_share(match, entry->node, owners);
        result = -ENOMEM;
    }
    if (result != 0) {
        topic_tree_prune(&match->tree, entry->node);
        return result;
    }
    entry->node->uses++;
    return 0;
}

static void unhang_entry(struct topic_index *match, struct topic_index_entry *entry,
                         const void *const *owners)
{
    remove_from_array(match, entry);
    if (entry->node == NULL)
        return;
    leave_share(match, entry->node, owners);
    entry->node->uses--;
    topic_tree_prune(&match->tree, entry->node);
}

static int add_user(struct topic_index *match, struct topic_index_listener *listener)
{
    const struct message_name *name = &listener->filter->user;
    struct topic_index_user *user;

    if (name->bytes == NULL)
        return 0;
    HASH_FIND_BYHASHVALUE(hh, match->users, name->bytes, name->bytes_n, (unsigned)name->hash, user);
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

static void remove_user(struct topic_index *match, struct topic_index_listener *listener)
{
    struct topic_index_user *user = listener->user;

    if (user == NULL)
        return;
    LIST_REMOVE(listener, same_user);
    if (LIST_EMPTY(&user->listeners)) {
        HASH_DELETE(hh, match->users, user);
        free(user);
    }
}

static int add_entries(struct topic_index *match, struct topic_index_listener *listener,
                       const void *const *owners)
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
        int result = hang_entry(match, &listener->entries[i], &filter->patterns[i].name, owners);

        if (result == 0)
            continue;
        while (i-- > 0)
            unhang_entry(match, &listener->entries[i], owners);
        if (listener->entries != &listener->one)
            free(listener->entries);
        return result;
    }
    return 0;
}

static void remove_entries(struct topic_index *match, struct topic_index_listener *listener,
                           const void *const *owners)
{
    size_t entries_n = listener->filter->patterns_n > 0 ? listener->filter->patterns_n : 1;

    for (size_t i = 0; i < entries_n; i++)
        unhang_entry(match, &listener->entries[i], owners);
    if (listener->entries != &listener->one)
        free(listener->entries);
}

/* topic_index_message() must not fail, so the array has room for every listener beforehand. */
static int make_room(struct topic_index *match)
{
    if (match->listeners_n < match->found_room)
        return 0;
    size_t room = match->found_room > 0 ? match->found_room * 2 : 64;
    struct topic_index_listener **found =
        realloc(match->found, room * sizeof(struct topic_index_listener *));
    if (found == NULL)
        return -ENOMEM;
    match->found = found;
    match->found_room = room;
    return 0;
}

/* What a listener brings but for nodes: its filter, and a user though others may share it. */
static size_t listener_bytes(const struct topic_index_listener *listener)
{
    const struct filter *filter = listener->filter;
    size_t bytes = filter->bytes;

    if (filter->patterns_n > 1)
        bytes += filter->patterns_n * sizeof(*listener->entries);
    if (filter->user.bytes != NULL)
        bytes += sizeof(struct topic_index_user) + filter->user.bytes_n;
    return bytes;
}

struct topic_index *topic_index_new(void)
{
    struct topic_index *match = calloc(1, sizeof(*match));

    if (match == NULL)
        return NULL;
    if (topic_tree_init(&match->tree) != 0) {
        free(match);
        return NULL;
    }
    LIST_INIT(&match->everyone);
    return match;
}

void topic_index_free(struct topic_index *match)
{
    if (match == NULL)
        return;
    assert(match->listeners_n == 0);
    topic_tree_free(&match->tree);
    free(match->all_topics.at);
    free(match->found);
    free(match);
}

/* Under the filter that it has. */
static int list(struct topic_index *match, struct topic_index_listener *listener,
                const void *const *owners)
{
    int result = add_entries(match, listener, owners);

    if (result != 0)
        return result;
    if (add_user(match, listener) != 0) {
        remove_entries(match, listener, owners);
        return -ENOMEM;
    }
    LIST_INSERT_HEAD(&match->everyone, listener, everyone);
    match->listeners_n++;
    return 0;
}

int topic_index_add(struct topic_index *match, struct topic_index_listener *listener,
                    struct filter *filter, const void *const *owners)
{
    size_t nodes_bytes = match->tree.nodes_bytes;
    int result;

    if (make_room(match) != 0)
        return -ENOMEM;
    listener->filter = filter_ref(filter);
    result = list(match, listener, owners);
    if (result != 0) {
        filter_unref(filter);
        memset(listener, 0, sizeof(*listener));
        return result;
    }
    match->listeners_bytes += listener_bytes(listener);
    match->last_bytes = match->tree.nodes_bytes - nodes_bytes + listener_bytes(listener);
    return 0;
}

void topic_index_remove(struct topic_index *match, struct topic_index_listener *listener,
                        const void *const *owners)
{
    if (listener->filter == NULL)
        return;
    LIST_REMOVE(listener, everyone);
    match->listeners_bytes -= listener_bytes(listener);
    remove_entries(match, listener, owners);
    remove_user(match, listener);
    filter_unref(listener->filter);
    memset(listener, 0, sizeof(*listener));
    match->listeners_n--;
}

/* ---- events ---- */

static void found(struct topic_index *match, struct topic_index_listener *listener)
{
    match->cost++;
    if (listener->seen == match->serial)
        return;
    listener->seen = match->serial;
    match->found[match->found_n++] = listener;
}

/* What an event does with the entries it comes by. */
typedef void reach_call(struct topic_index *match, struct topic_tree_entries *entries);

/* Whether it has not come by them before. */
static bool is_new(struct topic_index *match, struct topic_tree_entries *entries)
{
    bool is_new = entries->n > 0 && entries->seen != match->serial;

    entries->seen = match->serial;
    return is_new;
}

static void find_all(struct topic_index *match, struct topic_tree_entries *entries)
{
    if (!is_new(match, entries))
        return;
    for (uint32_t i = 0; i < entries->n; i++) {
        if (i + AHEAD < entries->n)
            __builtin_prefetch(entries->at[i + AHEAD], 1);
        found(match, entries->at[i]->listener);
    }
}

static void mark(struct topic_index *match, struct topic_tree_entries *entries)
{
    entries->seen = match->serial;
}

/* What remains of a topic while it goes down the tree. */
struct walk {
    struct topic_index *match;
    reach_call *reach;
    const char *topic;
    struct topic_segment segments[TOPIC_SEGMENTS_MAX];
    uint64_t hashes[TOPIC_SEGMENTS_MAX];
    size_t segments_n;
};

/* As deep as a topic has segments, and at each depth once for each usual shape. */
static void visit(struct walk *walk, struct topic_tree_node *node)
{
    struct topic_index *match = walk->match;
    size_t depth = node->depth;

    match->cost++;
    if (depth == walk->segments_n) {
        walk->reach(match, &node->exact);
        return;
    }
    walk->reach(match, &node->rest);
    const struct topic_segment *segment = &walk->segments[depth];
    struct topic_tree_node *next = topic_tree_child(
        &match->tree, node, walk->topic + segment->offset, segment->bytes_n, walk->hashes[depth]);
    if (next != NULL)
        visit(walk, next);
    if (node->star != NULL)
        visit(walk, node->star);
}

/* The patterns that are not in the tree. */
static void visit_rare(struct walk *walk)
{
    struct topic_index *match = walk->match;
    const struct topic_tree *tree = &match->tree;
    struct topic_tree_sums sums;

    if (tree->shapes_n == 0)
        return;
    match->cost += tree->shapes_n;
    topic_tree_sum(&sums, walk->hashes, walk->segments_n);
    for (size_t i = 0; i < tree->shapes_n; i++) {
        const struct topic_tree_shape *shape = &tree->shapes[i];

        if (shape->nodes_n == 0 || shape->depth > walk->segments_n)
            continue;
        struct topic_tree_node *node = topic_tree_rare(tree, i, walk->topic, walk->segments, &sums);
        if (node != NULL)
            walk->reach(match, shape->depth == walk->segments_n ? &node->exact : &node->rest);
    }
}

static void walk_topics(struct topic_index *match, const struct message *message, reach_call *reach)
{
    for (size_t i = 0; i < message->topics_n; i++) {
        const struct message_name *topic = &message_topics(message)[i];
        struct walk walk;

        walk.match = match;
        walk.reach = reach;
        walk.topic = topic->bytes;
        walk.segments_n = topic_split(topic->bytes, topic->bytes_n, walk.segments);
        for (size_t at = 0; at < walk.segments_n; at++)
            walk.hashes[at] =
                hash_bytes(topic->bytes + walk.segments[at].offset, walk.segments[at].bytes_n);
        visit(&walk, match->tree.root);
        visit_rare(&walk);
    }
}

/* Whether the topics, which have marked what they came by, are for this listener. */
static bool is_marked(struct topic_index *match, const struct topic_index_listener *listener)
{
    size_t entries_n = listener->filter->patterns_n;

    for (size_t i = 0; i < entries_n; i++) {
        match->cost++;
        if (array_of(match, &listener->entries[i])->seen == match->serial)
            return true;
    }
    return entries_n == 0;
}

/* The topics go down the tree once, however many streams these users have. */
static void topic_index_users(struct topic_index *match, const struct message *message)
{
    walk_topics(match, message, mark);
    for (size_t i = 0; i < message->users_n; i++) {
        const struct message_name *name = &message_users(message)[i];
        struct topic_index_listener *listener;
        struct topic_index_user *user;

        match->cost++;
        HASH_FIND_BYHASHVALUE(hh, match->users, name->bytes, name->bytes_n, (unsigned)name->hash,
                              user);
        if (user == NULL || user->seen == match->serial)
            continue;
        user->seen = match->serial;
        LIST_FOREACH (listener, &user->listeners, same_user)
            if (message->topics_n == 0 || is_marked(match, listener))
                found(match, listener);
    }
}

size_t topic_index_message(struct topic_index *match, const struct message *message,
                           struct topic_index_listener ***ret_found)
{
    struct topic_index_listener *listener;

    match->serial++;
    match->found_n = 0;
    match->cost = 0;
    if (message->users_n > 0) {
        topic_index_users(match, message);
    } else if (message->topics_n > 0) {
        find_all(match, &match->all_topics);
        walk_topics(match, message, find_all);
    } else {
        LIST_FOREACH (listener, &match->everyone, everyone)
            found(match, listener);
    }
    *ret_found = match->found;
    return match->found_n;
}

size_t topic_index_listeners(const struct topic_index *match)
{
    return match->listeners_n;
}

size_t topic_index_nodes(const struct topic_index *match)
{
    return match->tree.nodes_n;
}

size_t topic_index_last_cost(const struct topic_index *match)
{
    return match->cost;
}

size_t topic_index_bytes(const struct topic_index *match)
{
    return sizeof(*match) + match->tree.bytes + match->shares.bytes + match->listeners_bytes +
           match->found_room * sizeof(struct topic_index_listener *);
}

size_t topic_index_last_bytes(const struct topic_index *match)
{
    return match->last_bytes;
}
