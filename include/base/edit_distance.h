/* SPDX-License-Identifier: MIT */
/* How far a name is from another: for "did you mean".  Any thread. */
#ifndef BUGLE_EDIT_DISTANCE_H
#define BUGLE_EDIT_DISTANCE_H

#include <stddef.h>

#define EDIT_DISTANCE_BYTES_MAX 64

/* How many characters must be added, dropped, changed or swapped with their neighbour to make one
 * name of the other (optimal string alignment).  The case of ASCII letters does not count.
 * SIZE_MAX when either has more than EDIT_DISTANCE_BYTES_MAX bytes: that is no slip.  Cost: the
 * product of both lengths. */
size_t edit_distance(const char *one, const char *other);

#endif
