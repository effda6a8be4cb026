/* SPDX-License-Identifier: MIT */
/*
 * Where libevent's records of descriptors lie.
 *
 * For each descriptor number that a loop has ever watched it keeps a record of 24 bytes for the
 * loop's life.  From malloc() it would come between what the first connection with that number
 * takes, and once a crowd of them is gone, each of its records would hold a piece of a page, and in
 * the middle of what could be given back to the kernel.  So small pieces come from a place of
 * their own, one after the other.
 */
#ifndef BUGLE_EVENT_ALLOC_H
#define BUGLE_EVENT_ALLOC_H

/* Before the first use of libevent, once; without room for it all stays with malloc(). */
void event_alloc_begin(void);

struct event;

void event_alloc_free(struct event *event); /* as event_free(); accepts NULL */

#endif
