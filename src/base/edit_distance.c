/* SPDX-License-Identifier: MIT */
/* Optimal string alignment.  See edit_distance.h. */
#include "config.h"
#include "base/edit_distance.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static size_t least(size_t one, size_t other)
{
    return one < other ? one : other;
}

static bool is_same(char one, char other)
{
    return tolower((unsigned char)one) == tolower((unsigned char)other);
}

size_t edit_distance(const char *one, const char *other)
{
    size_t one_n = strlen(one), other_n = strlen(other);
    size_t rows[3][EDIT_DISTANCE_BYTES_MAX + 1];

    if (one_n > EDIT_DISTANCE_BYTES_MAX || other_n > EDIT_DISTANCE_BYTES_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= other_n; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= one_n; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *over = rows[(i + 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= other_n; j++) {
            row[j] = least(above[j - 1] + !is_same(one[i - 1], other[j - 1]),
                           1 + least(above[j], row[j - 1]));
            if (i > 1 && j > 1 && is_same(one[i - 1], other[j - 2]) &&
                is_same(one[i - 2], other[j - 1]))
                row[j] = least(row[j], over[j - 2] + 1);
        }
    }
    return rows[one_n % 3][other_n];
}
