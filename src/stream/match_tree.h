/* SPDX-License-Identifier: MIT */
/*
 * The topic patterns: match.c hangs listeners on their nodes.
 *
 * A topic goes down from the root, at each node to the child of that name and to the child `*`.
 * With free choice of the places of 4 wildcards in 32 segments it could visit 270,000 nodes.  So
 * the tree has only patterns of such shapes as are usual.  A shape is how many segments there are,
 * and which of them are `*`; a `**` at the end does not belong to it.  At one depth a topic reaches
 * at most one node of each shape, and usual are
 *
 *     without a wildcard                                       one for each of 32 depths
 *     of up to MATCH_PLAIN_WILDCARDS in MATCH_PLAIN_SEGMENTS   56
 *
 * Any other pattern is one node below the root, found by the hash of the segments that are no `*`.
 * A topic looks once for each shape that these have, of which there are MATCH_RARE_SHAPES at a
 * time.
 *
 * One thread, no lock.
 */
#ifndef BUGLE_MATCH_TREE_H
#define BUGLE_MATCH_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/topic.h"

#define MATCH_PLAIN_WILDCARDS 2
#define MATCH_PLAIN_SEGMENTS 6
#define MATCH_RARE_SHAPES 128
/* The `shape` of a node that is in the tree. */
#define MATCH_PLAIN UINT8_MAX
/* Nodes and shapes that a topic can look at: those, and the root. */
#define MATCH_VISITS_MAX (1 + TOPIC_SEGMENTS_MAX + 56 + MATCH_RARE_SHAPES)

struct match_entry;

/* Entries that hang together, in an array: an event goes through all of them, and a list of fifteen
 * thousand that are in no cache is waited for one by one. */
struct match_entries {
    struct match_entry **at;
    uint32_t n;
    uint32_t room;
    uint64_t seen; /* the last event that came by: it looks at them once */
};

struct match_node {
    struct match_node *next; /* in its bucket */
    struct match_node *parent;
    struct match_node *star;    /* its child `*`; NULL: it has none */
    struct match_entries exact; /* patterns that end here */
    struct match_entries rest;  /* patterns that go on with "**" */
    uint64_t hash;              /* of all segments down to here */
    uint32_t uses;              /* children and entries */
    uint32_t named_n;           /* children but for `*` */
    uint32_t stars;             /* of a rare pattern, bit n: its segment n is `*` */
    uint8_t depth;
    uint8_t shape; /* of a rare pattern, in the tree's `shapes`; or MATCH_PLAIN */
    uint16_t segment_n;
    char segment[]; /* of a rare pattern all of them */
};

/* A shape of rare patterns, and how many nodes have it; a free place has none. */
struct match_shape {
    uint32_t stars;
    uint32_t depth;
    size_t nodes_n;
};

struct match_tree {
    struct match_node *root;
    struct match_node **buckets;
    size_t buckets_n;   /* a power of two */
    size_t nodes_n;     /* without the root */
    size_t nodes_bytes; /* of the nodes themselves */
    size_t bytes;       /* and of buckets and arrays, where who fills an array counts its growth */
    size_t shapes_n; /* behind the last place that is taken */
    struct match_shape shapes[MATCH_RARE_SHAPES];
};

/* Hashes of a topic's segments at their places, and of all before each place. */
struct match_sums {
    uint64_t place[TOPIC_SEGMENTS_MAX];
    uint64_t upto[TOPIC_SEGMENTS_MAX + 1];
};

/* Returns 0 or -ENOMEM. */
int match_tree_init(struct match_tree *tree);

/* All nodes but the root must be gone.  Harmless on a zeroed tree. */
void match_tree_free(struct match_tree *tree);

/*
 * Find the node at which these segments of a pattern end, and make it if need be.  Whoever hangs
 * something on it counts in `uses`, and calls match_tree_prune() when that is gone.
 *
 * ret_node  given on success
 *
 * Returns 0, -ENOMEM, or -E2BIG: it would need one more shape than there may be.
 */
int match_tree_add(struct match_tree *tree, const char *pattern,
                   const struct topic_segment *segments, size_t segments_n,
                   struct match_node **ret_node);

/* Let go of a node that nothing uses, and of the parents that only led to it. */
void match_tree_prune(struct match_tree *tree, struct match_node *node);

/* The child for a segment that has this topic_hash(); not for `*`.  NULL: there is none. */
struct match_node *match_tree_child(const struct match_tree *tree, const struct match_node *node,
                                    const char *segment, size_t segment_n, uint64_t hash);

/* For match_tree_rare(), from the topic_hash() of each segment. */
void match_tree_sum(struct match_sums *sums, const uint64_t *hashes, size_t segments_n);

/* The pattern of a shape that is taken, and no deeper than the topic, whose segments the topic
 * begins with.  NULL: there is none. */
struct match_node *match_tree_rare(const struct match_tree *tree, size_t shape, const char *topic,
                                   const struct topic_segment *segments,
                                   const struct match_sums *sums);

#endif
