/* SPDX-License-Identifier: MIT */
/* What the two files of the fixture share. */
#ifndef BUGLE_FIXTURE_INTERNAL_H
#define BUGLE_FIXTURE_INTERNAL_H

#include "fixture.h"

#define WAIT_MS 10000

/* What no test asks for, and yet must be so. */
#define must(what) ((what) ? (void)0 : fixture_broken(__FILE__, __LINE__, #what))
void fixture_broken(const char *file, int line, const char *what) __attribute__((noreturn));

/* Look at what has come for a client. */
void fixture_see_answer(struct client *client);

/* Of a connection that is closed. */
void fixture_free_client(struct client *client);

#endif
