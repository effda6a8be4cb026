/* SPDX-License-Identifier: MIT */
/*
 * POST /api/backup: a copy of the store as the answer.  The request is suspended while the hub
 * makes the copy, and gives it up when its client leaves.  One copy exists at a time, over all
 * workers, until it has been sent.
 */
#ifndef BUGLE_BACKUP_POST_H
#define BUGLE_BACKUP_POST_H

#include "http/request.h"

int backup_post_handle(struct request *request);

#endif
