/* SPDX-License-Identifier: MIT */
/* Patterns by segment.  See match_tree.h. */
#include "config.h"
#include "match_tree.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN 64
#define SHAPE_PLAIN UINT8_MAX

static_assert(MATCH_RARE_SHAPES < SHAPE_PLAIN, "a node has its shape in a byte");

/* ---- shapes ---- */

static bool is_plain(uint32_t stars, uint32_t depth)
{
    return stars == 0 ||
           (depth <= MATCH_PLAIN_SEGMENTS && __builtin_popcount(stars) <= MATCH_PLAIN_WILDCARDS);
}

/* The place of a shape, or else a free one; NULL: all are taken by others. */
static struct match_shape *find_shape(struct match_tree *tree, uint32_t stars, uint32_t depth)
{
    struct match_shape *unused = NULL;

    for (size_t i = 0; i < MATCH_RARE_SHAPES; i++) {
        struct match_shape *shape = &tree->shapes[i];

        if (shape->nodes_n == 0)
            unused = shape;
        else if (shape->stars == stars && shape->depth == depth)
            return shape;
    }
    return unused;
}

static int take_shape(struct match_tree *tree, struct match_node *node)
{
    struct match_shape *shape;

    node->shape = SHAPE_PLAIN;
    if (is_plain(node->stars, node->depth))
        return 0;
    shape = find_shape(tree, node->stars, node->depth);
    if (shape == NULL)
        return -E2BIG;
    shape->stars = node->stars;
    shape->depth = node->depth;
    shape->nodes_n++;
    node->shape = (uint8_t)(shape - tree->shapes);
    return 0;
}

static void leave_shape(struct match_tree *tree, const struct match_node *node)
{
    if (node->shape != SHAPE_PLAIN)
        tree->shapes[node->shape].nodes_n--;
}

/* ---- nodes ---- */

/* Segments have hashes with a secret seed, so nobody outside can choose ones that meet here. */
static uint64_t hash_below(const struct match_node *parent, uint64_t hash)
{
    uint64_t mixed = (parent->hash ^ hash) * UINT64_C(0x9E3779B97F4A7C15);

    return mixed ^ mixed >> 32;
}

static struct match_node **bucket_of(const struct match_tree *tree, uint64_t hash)
{
    return &tree->buckets[hash & (tree->buckets_n - 1)];
}

struct match_node *match_tree_child(const struct match_tree *tree, const struct match_node *node,
                                    const char *segment, size_t segment_n, uint64_t hash)
{
    struct match_node *child;

    if (node->named_n == 0)
        return NULL;
    hash = hash_below(node, hash);
    for (child = *bucket_of(tree, hash); child != NULL; child = child->next)
        if (child->hash == hash && child->parent == node && child->segment_n == segment_n &&
            memcmp(child->segment, segment, segment_n) == 0)
            return child;
    return NULL;
}

static size_t node_bytes(const struct match_node *node)
{
    return sizeof(*node) + node->segment_n;
}

/* Longer rows where there is no memory for more buckets. */
static void grow_buckets(struct match_tree *tree)
{
    size_t buckets_n = tree->buckets_n * 2;
    struct match_node **old = tree->buckets, **buckets = calloc(buckets_n, sizeof(*buckets));

    if (buckets == NULL)
        return;
    tree->buckets = buckets;
    tree->buckets_n = buckets_n;
    tree->bytes += buckets_n / 2 * sizeof(*buckets);
    for (size_t i = 0; i < buckets_n / 2; i++)
        for (struct match_node *node = old[i], *next; node != NULL; node = next) {
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

static struct match_node *allocate(const char *segment, size_t segment_n)
{
    struct match_node *node = calloc(1, sizeof(*node) + segment_n);

    if (node == NULL)
        return NULL;
    node->segment_n = (uint16_t)segment_n;
    memcpy(node->segment, segment, segment_n);
    return node;
}

/* A child `*` is found by its parent alone. */
static void enter(struct match_tree *tree, struct match_node *node)
{
    struct match_node *parent = node->parent;

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

static void leave(struct match_tree *tree, struct match_node *node)
{
    struct match_node *parent = node->parent, **at;

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

static int add_child(struct match_tree *tree, struct match_node *parent, const char *segment,
                     size_t segment_n, uint64_t hash, struct match_node **ret_node)
{
    struct match_node *node = allocate(segment, segment_n);
    int result;

    if (node == NULL)
        return -ENOMEM;
    node->parent = parent;
    node->hash = hash_below(parent, hash);
    node->stars = parent->stars | (uint32_t)is_star(segment, segment_n) << parent->depth;
    node->depth = (uint8_t)(parent->depth + 1);
    result = take_shape(tree, node);
    if (result != 0) {
        free(node);
        return result;
    }
    enter(tree, node);
    *ret_node = node;
    return 0;
}

static int find_or_add(struct match_tree *tree, struct match_node *parent, const char *segment,
                       size_t segment_n, struct match_node **ret_node)
{
    uint64_t hash = topic_hash(segment, segment_n);

    *ret_node = is_star(segment, segment_n)
                    ? parent->star
                    : match_tree_child(tree, parent, segment, segment_n, hash);
    return *ret_node != NULL ? 0 : add_child(tree, parent, segment, segment_n, hash, ret_node);
}

int match_tree_add(struct match_tree *tree, const char *pattern,
                   const struct topic_segment *segments, size_t segments_n,
                   struct match_node **ret_node)
{
    struct match_node *node = tree->root;

    for (size_t i = 0; i < segments_n; i++) {
        struct match_node *next;
        int result =
            find_or_add(tree, node, pattern + segments[i].offset, segments[i].bytes_n, &next);

        if (result != 0) {
            match_tree_prune(tree, node);
            return result;
        }
        node = next;
    }
    *ret_node = node;
    return 0;
}

static void free_node(struct match_node *node)
{
    assert(node->exact.n == 0 && node->rest.n == 0);
    free(node->exact.at);
    free(node->rest.at);
    free(node);
}

void match_tree_prune(struct match_tree *tree, struct match_node *node)
{
    while (node != tree->root && node->uses == 0) {
        struct match_node *parent = node->parent;

        leave(tree, node);
        leave_shape(tree, node);
        tree->bytes -= (node->exact.room + node->rest.room) * sizeof(node->exact.at[0]);
        free_node(node);
        node = parent;
    }
}

/* ---- life ---- */

int match_tree_init(struct match_tree *tree)
{
    memset(tree, 0, sizeof(*tree));
    tree->root = allocate("", 0);
    tree->buckets = calloc(BUCKETS_MIN, sizeof(*tree->buckets));
    if (tree->root == NULL || tree->buckets == NULL) {
        match_tree_free(tree);
        return -ENOMEM;
    }
    tree->buckets_n = BUCKETS_MIN;
    return 0;
}

void match_tree_free(struct match_tree *tree)
{
    assert(tree->nodes_n == 0);
    if (tree->root != NULL)
        free_node(tree->root);
    free(tree->buckets);
    memset(tree, 0, sizeof(*tree));
}
