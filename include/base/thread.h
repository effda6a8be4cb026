/* SPDX-License-Identifier: MIT */
/*
 * How threads share cores when there are fewer of them than threads: what is live goes before
 * what is past, and the hub's thread, on which everybody waits, goes before all.  Nothing here
 * needs a privilege, and where the kernel does not know it, it is done without.
 */
#ifndef BUGLE_THREAD_H
#define BUGLE_THREAD_H

enum thread_urgency {
    THREAD_AT_ONCE, /* works little, and others wait for it */
    THREAD_SOON,    /* delivers */
    THREAD_BESIDE,  /* works long for what is live: its share of the core, but a loop goes first */
    THREAD_ACCEPTS, /* brings new work: those who are served already go first */
    THREAD_LATER,   /* reads what is past */
};

/* Name the calling thread (15 bytes at most) and say how urgent it is. */
void thread_begin(const char *name, enum thread_urgency urgency);

/* Let threads that wait for this core have it first.  What works long and is not urgent calls this
 * every tenth of a millisecond or so, and never with a lock held.  Costs under a microsecond when
 * no thread waits. */
void thread_make_way(void);

#endif
