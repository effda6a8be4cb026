/* SPDX-License-Identifier: MIT */
/*
 * A hash of bytes under a seed that is secret and drawn once per process, so that a client cannot
 * choose names that collide.  Equal bytes have equal hashes within a process and never across
 * processes: do not store it.  Any thread.
 */
#ifndef BUGLE_HASH_H
#define BUGLE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(const char *bytes, size_t bytes_n);

#endif
