/* SPDX-License-Identifier: MIT */
/*
 * One publish, whoever asks for it: POST /api/push, or a message of a WebSocket.
 *
 *   admit    the hub counts the bytes; what is refused for overload is not even read
 *   reserve  the memory that reading takes
 *   read     the text, on the loop, or beside it where that takes long
 *   check    whether the caller may publish this
 *   submit   to the hub, whose answer comes after the commit
 *
 * Who asks embeds a publish_work, zeroed, and either is refused at once or has `done` called, once
 * and never within publish_work_begin().  Until then the work stays where it is, also when whoever
 * asked has gone; what then becomes of the answer is up to `done`.
 *
 * Worker's thread.
 */
#ifndef BUGLE_PUBLISH_WORK_H
#define BUGLE_PUBLISH_WORK_H

#include <stdbool.h>
#include <stddef.h>

#include "api/publish_body.h"
#include "auth/identity.h"
#include "hub/hub.h"
#include "wire/problem.h"

struct publish_work;
struct publish_work_aside;
struct service;

/* What is to be published.  Nothing is taken. */
struct publish_work_ask {
    struct identity *identity; /* who asks; NULL: anonymous */
    const char *text;          /* NULL: it is empty */
    size_t text_n;
    bool is_json;                       /* as publish_body_json() reads it; else it is the data, */
    const struct publish_field *fields; /* and these are its fields */
    size_t fields_n;
    const char *key; /* for publish_limits: an idempotency key beside the text; NULL: none */
    size_t key_n;

    /* Who asks may be gone before `done`: what is needed longer than publish_work_begin() is
     * copied.  Else all of this stays until `let_go` or `done`. */
    bool may_leave;
};

struct publish_work {
    struct hub_op op;
    struct service *service;
    void (*done)(struct publish_work *work);   /* see publish_work_result(); may free the work */
    void (*let_go)(struct publish_work *work); /* the text is read, and not needed while the hub has
                                                * the work; NULL: no matter */
    struct publish_body body;
    struct publish_work_aside *aside; /* NULL: the text was read on the loop */
    size_t admitted_bytes;            /* counted by the hub, and no operation has them yet */
    size_t parsing_bytes;             /* set aside for reading the text */
};

/*
 * Begin.
 *
 * work  `done` and `let_go` are set
 * ask   borrowed for the call, what it points to as it says
 *
 * Returns true, and `done` follows; or false with the problem, which is counted in the figures.
 */
bool publish_work_begin(struct publish_work *work, struct service *service,
                        const struct publish_work_ask *ask, struct problem *ret_problem);

/* A probe: the way of a publish through the hub, without events.  `done` follows, and `op.result`
 * is the answer. */
void publish_work_probe(struct publish_work *work, struct service *service);

/* The hub's answer to an operation that is a work's: the hook of its worker. */
void publish_work_answered(struct hub_op *op);

/* Whether all of it was stored.  Once, in `done` or later.  Returns false with the problem, which
 * is counted in the figures. */
bool publish_work_result(const struct publish_work *work, struct problem *ret_problem);

/*
 * Write what became of a publish that was stored, as members of a JSON object without its braces:
 * `id`, `durability` and `duplicate`, or where an array was given `ids`, `duplicates` and
 * `durability`.
 *
 * to  room for publish_work_answer_bytes()
 *
 * Returns the end of what was written.
 */
char *publish_work_put_answer(char *to, const struct publish_work *work);
size_t publish_work_answer_bytes(const struct publish_work *work);

/* Free what is in the work.  Before publish_work_begin(), or after it has refused, or in `done` or
 * later. */
void publish_work_end(struct publish_work *work);

/* 503: too many events wait, of which none could be read.  Counts it.  Returns false. */
bool publish_work_set_overload(struct service *service, struct problem *ret_problem);

#endif
