/* SPDX-License-Identifier: MIT */
/* What the parts of the log on a Redis share.  See redis_log.h. */
#ifndef BUGLE_REDIS_LOG_INTERNAL_H
#define BUGLE_REDIS_LOG_INTERNAL_H

#include "cluster/cluster_check.h"
#include "cluster/redis_find.h"
#include "cluster/redis_link.h"
#include "cluster/redis_log.h"
#include "cluster/redis_script.h"

#define REDIS_LOG_KEY_BYTES 400
#define REDIS_LOG_LINE_BYTES 512
/* Entries of one answer of the tail. */
#define REDIS_LOG_TAIL_COUNT 16

/* The group that is on its way. */
struct redis_log_append {
    bool is_busy;
    unsigned replies_n; /* still to come: of the script, of WAIT */
    unsigned tries_n;
    bool is_unconfirmed; /* WAIT came back short, or had nothing to wait for */
    struct shared_log_group group;
    struct shared_log_appended answer;
    struct shared_log_taken *taken;
    enum redis_fault fault; /* of the script */
    char line[200];
};

struct redis_log {
    struct shared_log shared;
    struct event_base *base;
    struct redis_log_conf conf;
    char log_key[REDIS_LOG_KEY_BYTES], meta_key[REDIS_LOG_KEY_BYTES];
    char terms_key[REDIS_LOG_KEY_BYTES], nodes_key[REDIS_LOG_KEY_BYTES];
    char lease_key[REDIS_LOG_KEY_BYTES];
    char live_channel[REDIS_LOG_KEY_BYTES], my_channel[REDIS_LOG_KEY_BYTES];
    char writer[SHARED_LOG_WRITER_BYTES];
    char lease[SHARED_LOG_WRITER_BYTES];
    char lease_text[24]; /* its length, ms */
    char abandoned[128]; /* the lease of a process before this one that is gone; or empty */

    struct redis_find *find;
    struct redis_link *append_link, *tail_link, *talk_link;
    struct redis_scripts scripts; /* what the server of append_link knows */
    struct cluster_check *check;
    struct event *tick;
    unsigned listens_n; /* channels, of two */
    bool is_closing;
    bool is_freed;
    bool is_up;
    bool is_attached;
    bool is_attaching;
    bool is_trimming;
    bool was_checked; /* a server was good, and its oddities were told */
    bool was_told;    /* down() was called since up(), with these */
    enum shared_log_outcome told;
    char told_line[REDIS_LOG_LINE_BYTES];

    struct redis_log_append append;
    char epoch[SSE_EPOCH_BYTES + 1]; /* that was attached */
    uint64_t after, after_sub;       /* the name of what the tail gave last */
    bool is_tailing;
    bool is_tail_asked;                    /* XREAD is under way, */
    uint64_t asked_after, asked_after_sub; /* for what stands behind this */

    struct event *soon;                  /* to answer these, */
    struct shared_log_question *unasked; /* which could not be asked */
};

/* The end of all three connections, unless they are ending; they come back.  From the loop only, as
 * the last thing. */
void redis_log_down(struct redis_log *log, enum shared_log_outcome why, const char *line);

/* What every answer is asked first.  Returns whether the connections stand: else the caller has
 * nothing more to do. */
bool redis_log_stands(struct redis_log *log, enum redis_fault fault, const redisReply *reply);

/* What a fault means to who wants to store something. */
enum shared_log_outcome redis_log_outcome_of(enum redis_fault fault);

/* Of shared_log_ops. */
int redis_log_attach(struct shared_log *shared, const struct shared_log_node *node);
int redis_log_tail(struct shared_log *shared, uint64_t after, uint64_t sub);
void redis_log_tail_end(struct shared_log *shared);
int redis_log_append(struct shared_log *shared, const struct shared_log_group *group);
int redis_log_say(struct shared_log *shared, const char *to, const char *bytes, size_t bytes_n);
void redis_log_ask(struct shared_log *shared, struct shared_log_question *question);

void redis_log_tail_ask(struct redis_log *log);
void redis_log_append_free(struct redis_log *log);
void redis_log_ask_begin(struct redis_log *log); /* makes `soon`; NULL when out of memory */
void redis_log_ask_end(struct redis_log *log);

/* Questions about tickets: as redis_script_call(), and whether an answer is one. */
int redis_log_ticket_send(struct redis_log *log, const struct shared_log_question *question,
                          redis_link_done *done, void *arg);
bool redis_log_ticket_read(struct shared_log_question *question, const redisReply *reply);

/* Element `i` of an answer as text; "" when it is none. */
const char *redis_log_word(const redisReply *reply, size_t i);
/* The same as a number.  Returns whether it is one. */
bool redis_log_number(const redisReply *reply, size_t i, uint64_t *ret_number);

#endif
