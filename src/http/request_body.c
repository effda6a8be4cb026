/* SPDX-License-Identifier: MIT */
/* The body of a request.  See request_body.h. */
#include "config.h"
#include "http/request_body.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/service.h"

int request_body_append(struct request *request, const char *piece, size_t piece_n, size_t max)
{
    size_t needed = request->body_n + piece_n;

    if (needed > max)
        return -EMSGSIZE;
    if (needed > request->body_room) {
        size_t room = request->body_room * 2;

        if (room < needed)
            room = needed; /* nearly every body comes in one piece */
        size_t more = room - request->body_room;
        if (!memory_budget_admit(request->service->context->memory, MEMORY_BUDGET_BODIES, more,
                                 memory_budget_level_for(room)))
            return -ENOBUFS;
        char *body = realloc(request->body, room);
        if (body == NULL) {
            memory_budget_add(request->service->context->memory, MEMORY_BUDGET_BODIES,
                              -(int64_t)more);
            return -ENOMEM;
        }
        request->body = body;
        request->body_room = room;
    }
    memcpy(request->body + request->body_n, piece, piece_n);
    request->body_n = needed;
    return 0;
}

void request_body_drop(struct request *request)
{
    memory_budget_add(request->service->context->memory, MEMORY_BUDGET_BODIES,
                      -(int64_t)request->body_room);
    free(request->body);
    request->body = NULL;
    request->body_n = request->body_room = 0;
}
