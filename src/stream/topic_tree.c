/* SPDX-License-Identifier: MIT */
/* Patterns by segment.  See topic_tree.h. */
#include "config.h"
#include "stream/topic_tree.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define BUCKETS_MIN 64

static_assert(TOPIC_TREE_RARE_SHAPES < TOPIC_TREE_PLAIN, "a node has its shape in a byte");

/* ---- shapes ---- */

static bool is_plain(uint32_t stars, uint32_t depth)
{
    return stars == 0 || (depth <= TOPIC_TREE_PLAIN_SEGMENTS &&
                          __builtin_popcount(stars) <= TOPIC_TREE_PLAIN_WILDCARDS);
}

/* The place of a shape, or else the first free one; NULL: all are taken by others. */
static struct topic_tree_shape *find_shape(struct topic_tree *tree, uint32_t stars, uint32_t depth)
{
    struct topic_tree_shape *unused = NULL;

    for (size_t i = 0; i < TOPIC_TREE_RARE_SHAPES; i++) {
        struct topic_tree_shape *shape = &tree->shapes[i];

        if (shape->nodes_n == 0)
            unused = unused != NULL ? unused : shape;
        else if (shape->stars == stars && shape->depth == depth)
            return shape;
    }
    return unused;
}

static int take_shape(struct topic_tree *tree, struct topic_tree_node *node)
{
    struct topic_tree_shape *shape = find_shape(tree, node->stars, node->depth);

    if (shape == NULL)
        return -E2BIG;
    shape->stars = node->stars;
    shape->depth = node->depth;
    shape->nodes_n++;
    node->shape = (uint8_t)(shape - tree->shapes);
    if (node->shape >= tree->shapes_n)
        tree->shapes_n = node->shape + 1U;
    return 0;
}

static void leave_shape(struct topic_tree *tree, const struct topic_tree_node *node)
{
    if (node->shape == TOPIC_TREE_PLAIN)
        return;
    tree->shapes[node->shape].nodes_n--;
    while (tree->shapes_n > 0 && tree->shapes[tree->shapes_n - 1].nodes_n == 0)
        tree->shapes_n--;
}

/* ---- nodes ---- */

/* Segments have hashes with a secret seed, so nobody outside can choose ones that meet here. */
static uint64_t hash_below(const struct topic_tree_node *parent, uint64_t hash)
{
    uint64_t mixed = (parent->hash ^ hash) * UINT64_C(0x9E3779B97F4A7C15);

    return mixed ^ mixed >> 32;
}

static struct topic_tree_node **bucket_of(const struct topic_tree *tree, uint64_t hash)
{
    return &tree->buckets[hash & (tree->buckets_n - 1)];
}

struct topic_tree_node *topic_tree_child(const struct topic_tree *tree,
                                         const struct topic_tree_node *node, const char *segment,
                                         size_t segment_n, uint64_t hash)
{
    struct topic_tree_node *child;

    if (node->named_n == 0)
        return NULL;
    hash = hash_below(node, hash);
    for (child = *bucket_of(tree, hash); child != NULL; child = child->next)
        if (child->hash == hash && child->parent == node && child->segment_n == segment_n &&
            memcmp(child->segment, segment, segment_n) == 0)
            return child;
    return NULL;
}

static size_t node_bytes(const struct topic_tree_node *node)
{
    return sizeof(*node) + node->segment_n;
}

/* Longer rows where there is no memory for more buckets. */
static void grow_buckets(struct topic_tree *tree)
{
    size_t buckets_n = tree->buckets_n * 2;
    struct topic_tree_node **old = tree->buckets, **buckets = calloc(buckets_n, sizeof(*buckets));

    if (buckets == NULL)
        return;
    tree->buckets = buckets;
    tree->buckets_n = buckets_n;
    tree->bytes += buckets_n / 2 * sizeof(*buckets);
    for (size_t i = 0; i < buckets_n / 2; i++)
        for (struct topic_tree_node *node = old[i], *next; node != NULL; node = next) {
            next = node->next;
            node->next = *bucket_of(tree, node->hash);
            *bucket_of(tree, node->hash) = node;
        }
    free(old);
}

static bool is_star(const char *segment, size_t segment_n)
{
    return segment_n == 1 && segment[0] == '*';
}

static struct topic_tree_node *allocate(const char *segment, size_t segment_n)
{
    struct topic_tree_node *node = calloc(1, sizeof(*node) + segment_n);

    if (node == NULL)
        return NULL;
    node->segment_n = (uint16_t)segment_n;
    memcpy(node->segment, segment, segment_n);
    return node;
}

/* A child `*` is found by its parent alone. */
static void enter_shape(struct topic_tree *tree, struct topic_tree_node *node)
{
    struct topic_tree_node *parent = node->parent;

    if (is_star(node->segment, node->segment_n)) {
        parent->star = node;
    } else {
        if (tree->nodes_n >= tree->buckets_n)
            grow_buckets(tree);
        node->next = *bucket_of(tree, node->hash);
        *bucket_of(tree, node->hash) = node;
        parent->named_n++;
    }
    parent->uses++;
    tree->nodes_n++;
    tree->nodes_bytes += node_bytes(node);
    tree->bytes += node_bytes(node);
}

static void leave(struct topic_tree *tree, struct topic_tree_node *node)
{
    struct topic_tree_node *parent = node->parent, **at;

    if (parent->star == node) {
        parent->star = NULL;
    } else {
        for (at = bucket_of(tree, node->hash); *at != node; at = &(*at)->next)
            ;
        *at = node->next;
        parent->named_n--;
    }
    parent->uses--;
    tree->nodes_n--;
    tree->nodes_bytes -= node_bytes(node);
    tree->bytes -= node_bytes(node);
}

static int add_child(struct topic_tree *tree, struct topic_tree_node *parent, const char *segment,
                     size_t segment_n, uint64_t hash, struct topic_tree_node **ret_node)
{
    struct topic_tree_node *node = allocate(segment, segment_n);

    if (node == NULL)
        return -ENOMEM;
    node->parent = parent;
    node->hash = hash_below(parent, hash);
    node->shape = TOPIC_TREE_PLAIN;
    node->depth = (uint8_t)(parent->depth + 1);
    enter_shape(tree, node);
    *ret_node = node;
    return 0;
}

static int find_or_add(struct topic_tree *tree, struct topic_tree_node *parent, const char *segment,
                       size_t segment_n, struct topic_tree_node **ret_node)
{
    uint64_t hash = hash_bytes(segment, segment_n);

    *ret_node = is_star(segment, segment_n)
                    ? parent->star
                    : topic_tree_child(tree, parent, segment, segment_n, hash);
    return *ret_node != NULL ? 0 : add_child(tree, parent, segment, segment_n, hash, ret_node);
}

static int add_plain(struct topic_tree *tree, const char *pattern,
                     const struct topic_segment *segments, size_t segments_n,
                     struct topic_tree_node **ret_node)
{
    struct topic_tree_node *node = tree->root;

    for (size_t i = 0; i < segments_n; i++) {
        struct topic_tree_node *next;
        int result =
            find_or_add(tree, node, pattern + segments[i].offset, segments[i].bytes_n, &next);

        if (result != 0) {
            topic_tree_prune(tree, node);
            return result;
        }
        node = next;
    }
    *ret_node = node;
    return 0;
}

/* ---- rare patterns ---- */

void topic_tree_sum(struct topic_tree_sums *sums, const uint64_t *hashes, size_t segments_n)
{
    sums->upto[0] = 0;
    for (size_t i = 0; i < segments_n; i++) {
        uint64_t mixed = (hashes[i] + i) * UINT64_C(0xD6E8FEB86659FD93);

        sums->place[i] = mixed ^ mixed >> 32;
        sums->upto[i + 1] = sums->upto[i] + sums->place[i];
    }
}

/* Of the segments that are no `*`, so that a topic has the hash of each pattern that it matches. */
static uint64_t hash_of_shape(const struct topic_tree_sums *sums, uint32_t stars, uint32_t depth)
{
    uint64_t sum = sums->upto[depth];

    for (uint32_t left = stars; left != 0; left &= left - 1)
        sum -= sums->place[__builtin_ctz(left)];
    sum = (sum ^ stars ^ (uint64_t)depth << 32) * UINT64_C(0x9E3779B97F4A7C15);
    return sum ^ sum >> 32;
}

/* Whether a topic begins with the segments of a rare pattern: what is between two `*` is compared
 * at once. */
static bool begins_with(const struct topic_tree_node *node, const char *topic,
                        const struct topic_segment *segments)
{
    const char *pattern = node->segment, *end = pattern + node->segment_n;
    size_t at = 0, topic_n = segments[node->depth - 1].offset + segments[node->depth - 1].bytes_n;

    for (uint32_t left = node->stars; left != 0; left &= left - 1) {
        const struct topic_segment *star = &segments[__builtin_ctz(left)];
        size_t bytes_n = star->offset - at;

        if ((size_t)(end - pattern) <= bytes_n || memcmp(pattern, topic + at, bytes_n) != 0)
            return false;
        pattern += bytes_n + 1; /* and the `*` */
        at = star->offset + star->bytes_n;
    }
    return (size_t)(end - pattern) == topic_n - at &&
           memcmp(pattern, topic + at, topic_n - at) == 0;
}

struct topic_tree_node *topic_tree_rare(const struct topic_tree *tree, size_t shape,
                                        const char *topic, const struct topic_segment *segments,
                                        const struct topic_tree_sums *sums)
{
    uint32_t stars = tree->shapes[shape].stars, depth = tree->shapes[shape].depth;
    uint64_t hash = hash_of_shape(sums, stars, depth);
    struct topic_tree_node *node;

    for (node = *bucket_of(tree, hash); node != NULL; node = node->next)
        if (node->hash == hash && node->shape == shape && begins_with(node, topic, segments))
            return node;
    return NULL;
}

static struct topic_tree_node *find_rare(const struct topic_tree *tree, uint64_t hash,
                                         const char *pattern, size_t pattern_n)
{
    struct topic_tree_node *node;

    for (node = *bucket_of(tree, hash); node != NULL; node = node->next)
        if (node->hash == hash && node->shape != TOPIC_TREE_PLAIN && node->segment_n == pattern_n &&
            memcmp(node->segment, pattern, pattern_n) == 0)
            return node;
    return NULL;
}

static int add_rare(struct topic_tree *tree, const struct topic_tree_node *like,
                    const char *pattern, size_t pattern_n, struct topic_tree_node **ret_node)
{
    struct topic_tree_node *node = find_rare(tree, like->hash, pattern, pattern_n);
    int result;

    *ret_node = node;
    if (node != NULL)
        return 0;
    node = allocate(pattern, pattern_n);
    if (node == NULL)
        return -ENOMEM;
    node->parent = tree->root;
    node->hash = like->hash;
    node->stars = like->stars;
    node->depth = like->depth;
    result = take_shape(tree, node);
    if (result != 0) {
        free(node);
        return result;
    }
    enter_shape(tree, node);
    *ret_node = node;
    return 0;
}

int topic_tree_add(struct topic_tree *tree, const char *pattern,
                   const struct topic_segment *segments, size_t segments_n,
                   struct topic_tree_node **ret_node)
{
    uint64_t hashes[TOPIC_SEGMENTS_MAX];
    struct topic_tree_node like = {.depth = (uint8_t)segments_n};
    struct topic_tree_sums sums;

    for (size_t i = 0; i < segments_n; i++)
        like.stars |= (uint32_t)is_star(pattern + segments[i].offset, segments[i].bytes_n) << i;
    if (is_plain(like.stars, like.depth))
        return add_plain(tree, pattern, segments, segments_n, ret_node);
    for (size_t i = 0; i < segments_n; i++)
        hashes[i] = hash_bytes(pattern + segments[i].offset, segments[i].bytes_n);
    topic_tree_sum(&sums, hashes, segments_n);
    like.hash = hash_of_shape(&sums, like.stars, like.depth);
    return add_rare(tree, &like, pattern,
                    segments[segments_n - 1].offset + segments[segments_n - 1].bytes_n, ret_node);
}

static void free_node(struct topic_tree_node *node)
{
    assert(node->exact.n == 0 && node->rest.n == 0);
    free(node->exact.at);
    free(node->rest.at);
    free(node);
}

void topic_tree_prune(struct topic_tree *tree, struct topic_tree_node *node)
{
    while (node != tree->root && node->uses == 0) {
        struct topic_tree_node *parent = node->parent;

        leave(tree, node);
        leave_shape(tree, node);
        tree->bytes -= (node->exact.room + node->rest.room) * sizeof(node->exact.at[0]);
        free_node(node);
        node = parent;
    }
}

/* ---- life ---- */

int topic_tree_init(struct topic_tree *tree)
{
    memset(tree, 0, sizeof(*tree));
    tree->root = allocate("", 0);
    tree->buckets = calloc(BUCKETS_MIN, sizeof(*tree->buckets));
    if (tree->root == NULL || tree->buckets == NULL) {
        topic_tree_free(tree);
        return -ENOMEM;
    }
    tree->buckets_n = BUCKETS_MIN;
    return 0;
}

void topic_tree_free(struct topic_tree *tree)
{
    assert(tree->nodes_n == 0);
    if (tree->root != NULL)
        free_node(tree->root);
    free(tree->buckets);
    memset(tree, 0, sizeof(*tree));
}
