/* SPDX-License-Identifier: MIT */
/* The terms of a history.  See lineage.h. */
#include "config.h"
#include "history/lineage.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct lineage *with_terms(const char *epoch, const struct lineage_term *terms,
                                  size_t terms_n)
{
    struct lineage *lineage = malloc(sizeof(*lineage) + terms_n * sizeof(*terms));

    if (lineage == NULL)
        return NULL;
    lineage->former = NULL;
    memcpy(lineage->epoch, epoch, SSE_EPOCH_BYTES);
    lineage->epoch[SSE_EPOCH_BYTES] = '\0';
    lineage->terms_n = terms_n;
    if (terms_n > 0)
        memcpy(lineage->terms, terms, terms_n * sizeof(*terms));
    return lineage;
}

struct lineage *lineage_new(const char *epoch)
{
    return with_terms(epoch, NULL, 0);
}

struct lineage *lineage_copy(const struct lineage *lineage)
{
    return with_terms(lineage->epoch, lineage->terms, lineage->terms_n);
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

struct lineage *lineage_begin(const struct lineage *before, const char *epoch, uint64_t head)
{
    struct lineage_term terms[LINEAGE_TERMS_MAX];
    size_t forgotten_n = before->terms_n == LINEAGE_TERMS_MAX;
    size_t terms_n = before->terms_n - forgotten_n;

    for (size_t i = 0; i < terms_n; i++) {
        terms[i] = before->terms[i + forgotten_n];
        terms[i].end = smaller(terms[i].end, head);
    }
    memcpy(terms[terms_n].epoch, before->epoch, SSE_EPOCH_BYTES);
    terms[terms_n].end = head;
    return with_terms(epoch, terms, terms_n + 1);
}

bool lineage_find(const struct lineage *lineage, const char *epoch, uint64_t *ret_end)
{
    if (memcmp(epoch, lineage->epoch, SSE_EPOCH_BYTES) == 0) {
        *ret_end = UINT64_MAX;
        return true;
    }
    for (size_t i = lineage->terms_n; i-- > 0;)
        if (memcmp(epoch, lineage->terms[i].epoch, SSE_EPOCH_BYTES) == 0) {
            *ret_end = lineage->terms[i].end;
            return true;
        }
    return false;
}

/* The latest epoch that both know decides: what the two had of it is the same, up to where either
 * left it, and so is all before it. */
uint64_t lineage_common(const struct lineage *mine, uint64_t head, const struct lineage *other)
{
    uint64_t end;

    if (lineage_find(other, mine->epoch, &end))
        return smaller(head, end);
    for (size_t i = mine->terms_n; i-- > 0;)
        if (lineage_find(other, mine->terms[i].epoch, &end))
            return smaller(smaller(head, mine->terms[i].end), end);
    return 0;
}

/* ---- as text ---- */

size_t lineage_write(const struct lineage *lineage, char *to)
{
    char *at = to;

    *at = '\0';
    for (size_t i = 0; i < lineage->terms_n; i++)
        at += sprintf(at, "%s%.*s %" PRIu64, i > 0 ? " " : "", SSE_EPOCH_BYTES,
                      lineage->terms[i].epoch, lineage->terms[i].end);
    return (size_t)(at - to);
}

static bool is_epoch(const char *text, const char *end)
{
    if (end - text < SSE_EPOCH_BYTES)
        return false;
    for (size_t i = 0; i < SSE_EPOCH_BYTES; i++)
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'z')))
            return false;
    return true;
}

static bool read_end(const char **at, const char *end, uint64_t *ret_end)
{
    const char *begin = *at;

    *ret_end = 0;
    for (; *at < end && **at >= '0' && **at <= '9'; (*at)++)
        if (*ret_end > SSE_POSITION_MAX)
            return false;
        else
            *ret_end = *ret_end * 10 + (uint64_t)(**at - '0');
    return *at > begin && *ret_end <= SSE_POSITION_MAX;
}

/* One term, behind what is in `lineage` already. */
static bool read_term(struct lineage *lineage, const char **at, const char *end)
{
    struct lineage_term *term = &lineage->terms[lineage->terms_n];
    uint64_t known;

    if (lineage->terms_n == LINEAGE_TERMS_MAX || !is_epoch(*at, end) ||
        lineage_find(lineage, *at, &known))
        return false;
    memcpy(term->epoch, *at, SSE_EPOCH_BYTES);
    *at += SSE_EPOCH_BYTES;
    if (*at == end || *(*at)++ != ' ' || !read_end(at, end, &term->end))
        return false;
    if (lineage->terms_n > 0 && term->end < term[-1].end)
        return false;
    lineage->terms_n++;
    return true;
}

static bool read_terms(struct lineage *lineage, const char *at, const char *end)
{
    while (at < end) {
        if (!read_term(lineage, &at, end) || (at < end && *at++ != ' ') ||
            (at == end && at[-1] == ' '))
            return false;
    }
    return true;
}

struct lineage *lineage_read(const char *epoch, const char *terms, size_t terms_n)
{
    size_t most = terms_n / (SSE_EPOCH_BYTES + 2) + 1;
    size_t room_n = most < LINEAGE_TERMS_MAX ? most : LINEAGE_TERMS_MAX;
    struct lineage *lineage = malloc(sizeof(*lineage) + room_n * sizeof(lineage->terms[0]));

    if (lineage == NULL)
        return NULL;
    lineage->former = NULL;
    memcpy(lineage->epoch, epoch, SSE_EPOCH_BYTES);
    lineage->epoch[SSE_EPOCH_BYTES] = '\0';
    lineage->terms_n = 0;
    if (read_terms(lineage, terms, terms + terms_n))
        return lineage;
    free(lineage);
    errno = EINVAL;
    return NULL;
}
