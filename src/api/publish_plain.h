/* SPDX-License-Identifier: MIT */
/*
 * The body that nearly all publishers send, one flat object of strings or an array of such, without
 * a JSON library's tree: a tenth of the work.  Any thread.
 */
#ifndef BUGLE_PUBLISH_PLAIN_H
#define BUGLE_PUBLISH_PLAIN_H

#include <stdbool.h>
#include <stddef.h>

#include "api/publish_body.h"

/*
 * Read a body that is plainly (json_flat.h) one good event, or an array of good events.
 *
 * body      borrowed
 * ret_body  set when it was taken
 *
 * Returns whether it was, and then it is what publish_body_json() makes of the same bytes.  False
 * says nothing of what is wrong, or whether anything is: publish_body_json() does.
 */
bool publish_plain(const char *body, size_t body_n, const struct publish_limits *limits,
                   struct publish_body *ret_body);

#endif
