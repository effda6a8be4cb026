/* SPDX-License-Identifier: MIT */
/* Responses that are used again.  See response_cache.h. */
#include "config.h"
#include "http/response_cache.h"

#include <assert.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

/* As many as publishers that have an answer under way at a time, within reason. */
#define SPARE_MAX 128

static void free_answer(struct cached_response *answer)
{
    MHD_destroy_response(answer->response);
    free(answer);
}

static struct cached_response *new_answer(const char *bytes, size_t bytes_n)
{
    struct cached_response *answer = malloc(sizeof(*answer));

    if (answer == NULL)
        return NULL;
    memcpy(answer->bytes, bytes, bytes_n);
    answer->response =
        MHD_create_response_from_buffer(bytes_n, answer->bytes, MHD_RESPMEM_PERSISTENT);
    answer->is_new = true;
    answer->bytes_n = bytes_n;
    if (answer->response != NULL)
        return answer;
    free(answer);
    return NULL;
}

static struct cached_response *pop(struct response_cache *answers)
{
    struct cached_response *answer = SLIST_FIRST(&answers->spare);

    if (answer == NULL)
        return NULL;
    SLIST_REMOVE_HEAD(&answers->spare, link);
    answers->spare_n--;
    return answer;
}

struct cached_response *response_cache_take(struct response_cache *answers, const char *bytes,
                                            size_t bytes_n)
{
    struct cached_response *answer = pop(answers);

    assert(bytes_n <= RESPONSE_CACHE_BYTES_MAX);
    /* nearly all are of one length, so others are not searched for */
    if (answer != NULL && answer->bytes_n != bytes_n) {
        free_answer(answer);
        answer = NULL;
    }
    if (answer == NULL)
        return new_answer(bytes, bytes_n);
    memcpy(answer->bytes, bytes, bytes_n);
    return answer;
}

void response_cache_give_back(struct response_cache *answers, struct cached_response *answer)
{
    if (!answers->reuses || answers->spare_n == SPARE_MAX) {
        free_answer(answer);
        return;
    }
    SLIST_INSERT_HEAD(&answers->spare, answer, link);
    answers->spare_n++;
}

void response_cache_clear(struct response_cache *answers)
{
    struct cached_response *answer;

    while ((answer = pop(answers)) != NULL)
        free_answer(answer);
}
