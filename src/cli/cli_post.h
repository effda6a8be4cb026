/* SPDX-License-Identifier: MIT */
/*
 * Publishing as `bugle publish` does it: events are gathered into a batch, posted, and their ids
 * printed.  A request is repeated only where that cannot publish anything twice.  A batch that is
 * refused for what is in it (400, 413, 422) was not published at all; if one refused event is not
 * the end, its events are posted one by one.
 */
#ifndef BUGLE_CLI_POST_H
#define BUGLE_CLI_POST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/cli_common.h"
#include "cli/cli_http.h"

#define CLI_POST_UNSET UINT64_MAX

/* What all events have in common.  All texts are borrowed. */
struct cli_post_options {
    struct cli_list topics;
    struct cli_list users;
    const char *event; /* NULL: message */
    const char *key;   /* idempotency key; NULL: none */
    uint64_t retry_ms; /* or CLI_POST_UNSET, as the next */
    uint64_t ttl_s;
    uint64_t batch_n;   /* most events of a request */
    uint64_t timeout_s; /* for a request and its answer, whole */
    bool ephemeral;
    bool json; /* data is JSON, to be sent as it is written */
    bool quiet;
    bool goes_on; /* a refused event is told and counted, and the next ones are published */
};

/* An event of the batch. */
struct cli_post_event {
    size_t at;       /* where it begins in the body */
    uint64_t number; /* for messages */
};

/* What one request sends: one event or all. */
struct cli_post_part {
    const struct cli_post_event *events;
    uint64_t events_n;
    const char *body;
    size_t body_n;
};

struct cli_post {
    const struct cli_post_options *options;
    const char *tool;
    const char *unit; /* what events are counted in, for messages; NULL: there is only one */
    struct cli_http http;
    char *address;      /* the members that all events share */
    uint64_t refused_n; /* events that were told to be refused */
    unsigned sent_n;    /* times the request at hand went out */

    /* the batch */
    FILE *pending; /* '[' and its events, kept in `body` */
    char *body;
    size_t body_n;
    struct cli_post_event *events;
    uint64_t pending_n;
};

/* Returns an enum cli_exit; what is not CLI_FINE has been told.  To be given to cli_post_close()
 * whatever is returned.  Everything is borrowed until then. */
int cli_post_open(struct cli_post *post, const char *tool, const struct cli_http_target *target,
                  const struct cli_post_options *options);
void cli_post_close(struct cli_post *post);

/* Why data cannot be published: it is no JSON, or no UTF-8.  Gives a text for free(), NULL when
 * all is well.  `number` is that of the event, from 1, in units of `unit`. */
char *cli_post_check(const struct cli_post *post, uint64_t number, const char *data, size_t data_n);

/* Add checked data as an event, first sending what was added before when the batch is full.
 * Returns an enum cli_exit; what is not CLI_FINE has been told. */
int cli_post_add(struct cli_post *post, uint64_t number, const char *data, size_t data_n);

/* Send the batch, wait for its answer, print the ids.  Returns as cli_post_add(). */
int cli_post_flush(struct cli_post *post);

/* Tell why an event is not published and count it.  Takes the text.  Returns CLI_FINE if the next
 * ones are to be published all the same. */
int cli_post_refuse(struct cli_post *post, char *why);

#endif
