/* SPDX-License-Identifier: MIT */
/*
 * The tree of topic patterns by segment: match.c hangs listeners on its nodes.
 *
 * A topic goes down from the root, at each node to the child of that name and to the child `*`.
 * With free choice of the places of 4 wildcards in 32 segments it could visit 270,000 nodes.  What
 * bounds it is the shape of a node: how deep it is, and at which of its segments stands a `*`.  At
 * one depth a topic reaches at most one node of each shape, so it visits no more nodes than there
 * are shapes.  Of these are always taken
 *
 *     without a wildcard                                       one for each of 32 depths
 *     of up to MATCH_PLAIN_WILDCARDS in MATCH_PLAIN_SEGMENTS   56
 *
 * and of all others MATCH_RARE_SHAPES at a time.
 *
 * One thread, no lock.
 */
#ifndef BUGLE_MATCH_TREE_H
#define BUGLE_MATCH_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "topic.h"

#define MATCH_PLAIN_WILDCARDS 2
#define MATCH_PLAIN_SEGMENTS 6
#define MATCH_RARE_SHAPES 128
/* Nodes that a topic can visit: those shapes, and the root. */
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
    uint32_t stars;             /* bit n: its segment n is `*` */
    uint8_t depth;
    uint8_t shape; /* in the tree's `shapes`; UINT8_MAX: always taken */
    uint16_t segment_n;
    char segment[];
};

/* A shape that is counted, and how many nodes have it; a free place has none. */
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
    struct match_shape shapes[MATCH_RARE_SHAPES];
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

#endif
