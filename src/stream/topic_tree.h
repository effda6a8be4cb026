/* SPDX-License-Identifier: MIT */
/*
 * The topic patterns: topic_index.c hangs listeners on their nodes.
 *
 * A topic goes down from the root, at each node to the child of that name and to the child `*`.
 * With free choice of the places of 4 wildcards in 32 segments it could visit 270,000 nodes.  So
 * the tree has only patterns of such shapes as are usual.  A shape is how many segments there are,
 * and which of them are `*`; a `**` at the end does not belong to it.  At one depth a topic reaches
 * at most one node of each shape, and usual are
 *
 *     without a wildcard                                       one for each of 32 depths
 *     of up to TOPIC_TREE_PLAIN_WILDCARDS in TOPIC_TREE_PLAIN_SEGMENTS   56
 *
 * Any other pattern is one node below the root, found by the hash of the segments that are no `*`.
 * A topic looks once for each shape that these have, of which there are TOPIC_TREE_RARE_SHAPES at a
 * time.
 *
 * One thread, no lock.
 */
#ifndef BUGLE_TOPIC_TREE_H
#define BUGLE_TOPIC_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/topic.h"

#define TOPIC_TREE_PLAIN_WILDCARDS 2
#define TOPIC_TREE_PLAIN_SEGMENTS 6
#define TOPIC_TREE_RARE_SHAPES 128
/* The `shape` of a node that is in the tree. */
#define TOPIC_TREE_PLAIN UINT8_MAX
/* Nodes and shapes that a topic can look at: those, and the root. */
#define TOPIC_TREE_VISITS_MAX (1 + TOPIC_SEGMENTS_MAX + 56 + TOPIC_TREE_RARE_SHAPES)

struct topic_index_entry;

/* Entries that hang together, in an array: an event goes through all of them, and a list of fifteen
 * thousand that are in no cache is waited for one by one. */
struct topic_tree_entries {
    struct topic_index_entry **at;
    uint32_t n;
    uint32_t room;
    uint64_t seen; /* the last event that came by: it looks at them once */
};

struct topic_tree_node {
    struct topic_tree_node *next; /* in its bucket */
    struct topic_tree_node *parent;
    struct topic_tree_node *star;    /* its child `*`; NULL: it has none */
    struct topic_tree_entries exact; /* patterns that end here */
    struct topic_tree_entries rest;  /* patterns that go on with "**" */
    uint64_t hash;                   /* of all segments down to here */
    uint32_t uses;                   /* children and entries */
    uint32_t named_n;                /* children but for `*` */
    uint32_t stars;                  /* of a rare pattern, bit n: its segment n is `*` */
    uint8_t depth;
    uint8_t shape; /* of a rare pattern, in the tree's `shapes`; or TOPIC_TREE_PLAIN */
    uint16_t segment_n;
    char segment[]; /* of a rare pattern all of them */
};

/* A shape of rare patterns, and how many nodes have it; a free place has none. */
struct topic_tree_shape {
    uint32_t stars;
    uint32_t depth;
    size_t nodes_n;
};

struct topic_tree {
    struct topic_tree_node *root;
    struct topic_tree_node **buckets;
    size_t buckets_n;   /* a power of two */
    size_t nodes_n;     /* without the root */
    size_t nodes_bytes; /* of the nodes themselves */
    size_t bytes;       /* and of buckets and arrays, where who fills an array counts its growth */
    size_t shapes_n;    /* behind the last place that is taken */
    struct topic_tree_shape shapes[TOPIC_TREE_RARE_SHAPES];
};

/* Hashes of a topic's segments at their places, and of all before each place. */
struct topic_tree_sums {
    uint64_t place[TOPIC_SEGMENTS_MAX];
    uint64_t upto[TOPIC_SEGMENTS_MAX + 1];
};

/* Returns 0 or -ENOMEM. */
int topic_tree_init(struct topic_tree *tree);

/* All nodes but the root must be gone.  Harmless on a zeroed tree. */
void topic_tree_free(struct topic_tree *tree);

/*
 * Find the node at which these segments of a pattern end, and make it if need be.  The caller
 * counts what it adds to the node in `uses`, and calls topic_tree_prune() when that is removed.
 *
 * ret_node  given on success
 *
 * Returns 0, -ENOMEM, or -E2BIG: it would need one more shape than there may be.
 */
int topic_tree_add(struct topic_tree *tree, const char *pattern,
                   const struct topic_segment *segments, size_t segments_n,
                   struct topic_tree_node **ret_node);

/* Let go of a node that nothing uses, and of the parents that only led to it. */
void topic_tree_prune(struct topic_tree *tree, struct topic_tree_node *node);

/* The child for a segment that has this hash_bytes(); not for `*`.  NULL: there is none. */
struct topic_tree_node *topic_tree_child(const struct topic_tree *tree,
                                         const struct topic_tree_node *node, const char *segment,
                                         size_t segment_n, uint64_t hash);

/* For topic_tree_rare(), from the hash_bytes() of each segment. */
void topic_tree_sum(struct topic_tree_sums *sums, const uint64_t *hashes, size_t segments_n);

/* The pattern of a shape that is taken, and no deeper than the topic, whose segments the topic
 * begins with.  NULL: there is none. */
struct topic_tree_node *topic_tree_rare(const struct topic_tree *tree, size_t shape,
                                        const char *topic, const struct topic_segment *segments,
                                        const struct topic_tree_sums *sums);

#endif
