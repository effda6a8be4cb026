/* SPDX-License-Identifier: MIT */
/* What the two files of the stand-in for libmicrohttpd share. */
#ifndef BUGLE_FAKE_MHD_INTERNAL_H
#define BUGLE_FAKE_MHD_INTERNAL_H

#include "fake_mhd.h"

/* Memory that a test always has: aborts without. */
void *fake_mhd_must(void *memory);

/* Copies what it is given; `value` NULL: none. */
void fake_mhd_add_pair(struct fake_mhd_pairs *pairs, const char *name, size_t name_n,
                       const char *value, size_t value_n);
void fake_mhd_free_pair(struct fake_mhd_pair *pair);
void fake_mhd_free_pairs(struct fake_mhd_pairs *pairs);

/* The first of this name, in any case; NULL: none. */
const struct fake_mhd_pair *fake_mhd_find_pair(const struct fake_mhd_pairs *pairs, const char *name,
                                               size_t name_n);

/* Take a head apart as the library does. */
void fake_mhd_read_head(struct MHD_Connection *connection, const char *head);

#endif
