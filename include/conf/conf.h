/* SPDX-License-Identifier: MIT */
/*
 * The settings: one table row for each, from which come the INI loader, the BUGLE_SECTION_KEY
 * environment variables, --set, --help-config and the checks of the manual.  Values live in a
 * struct that is handed down; there are no globals.  Later sources win: built-in default, file,
 * environment, --set and the other flags of the command line.  One thread builds a struct conf.
 * Once the gateway serves with it, it is immutable and counted: any thread may read it.
 */
#ifndef BUGLE_CONF_H
#define BUGLE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A list setting: given several times or separated by commas. */
struct conf_list {
    char **items;
    size_t items_n;
    bool inherited; /* from an earlier source: the next value replaces all items */
};

/* Whether an item is in a list, and whether all items of another are. */
bool conf_list_has(const struct conf_list *list, const char *wanted);
bool conf_list_has_all(const struct conf_list *list, const struct conf_list *wanted);

struct conf {
    _Atomic unsigned more_refs; /* without the first */
    struct {
        struct conf_list listen;          /* ADDR:PORT, [ADDR6]:PORT, unix:PATH */
        uint64_t workers;                 /* 0: one a core */
        char *www;                        /* folder of the page; empty: none */
        struct conf_list trusted_proxies; /* ADDR, ADDR/BITS or "unix" */
        int forwarded_header;             /* enum conf_forwarded_header */
        struct conf_list proxy_protocol;  /* items of `listen` */
        struct conf_list hosts; /* names it answers to; empty: conf_serves_any_host() says */
        char *socket_mode;      /* of unix listeners, octal; empty: as the umask has it */
        char *handover;         /* socket for the process that takes over; empty: none */
        uint64_t handover_timeout_ms;
    } server;
    struct {
        uint64_t heartbeat_ms;
        uint64_t stall_timeout_ms;
        uint64_t vanish_timeout_ms;
        uint64_t retry_ms; /* centre; sent jittered by a factor of 2/3 to 2 */
        uint64_t flush_tick_ms;
        uint64_t ring_events;  /* of one worker */
        uint64_t ring_bytes;   /* 0: conf_ring_bytes() */
        uint64_t replay_pages; /* of one worker, 32 KiB each */
    } stream;
    struct {
        int publish;           /* 0: off, 1: on; so for deflate */
        int deflate;           /* permessage-deflate */
        uint64_t deflate_from; /* bytes of a message */
    } websocket;
    struct {
        char *store; /* "memory:", "sqlite:" or "sqlite:PATH": see history/store_path.h */
        uint64_t max_age_ms;
        uint64_t max_events;
        uint64_t max_bytes; /* 0: conf_history_bytes() */
        uint64_t disk_reserve;
        uint64_t idempotency_window_ms;
        uint64_t idempotency_keys;
    } history;
    struct {
        uint64_t memory;                  /* 0: conf_memory_bytes() */
        uint64_t connections;             /* 0: what the descriptors allow; so for streams */
        uint64_t connections_per_address; /* 0: no limit, like the next three */
        uint64_t accept_rate;             /* a second */
        uint64_t streams_per_address;
        uint64_t streams_per_user;
        uint64_t streams;
        uint64_t event_bytes;
        uint64_t body_bytes;
        uint64_t message_bytes; /* from a WebSocket client */
        uint64_t message_rate;  /* a second, of one WebSocket; 0: any */
        uint64_t header_bytes;
        uint64_t header_count;
        uint64_t url_bytes;
        uint64_t json_depth;
        uint64_t header_timeout_ms;
        uint64_t body_timeout_ms;
        uint64_t body_rate;   /* bytes a second; 0: any */
        uint64_t answer_rate; /* the same */
        uint64_t keepalive_timeout_ms;
        uint64_t queue_bytes;
        uint64_t queue_age_ms;
        uint64_t queue_wait_ms;
        uint64_t tickets;
        uint64_t tickets_per_user; /* 0: any */
        uint64_t tickets_per_key;  /* 0: any */
        uint64_t forged_tokens;    /* a second, of an address; 0: any */
        uint64_t history_requests; /* GET /api/history under way */
        uint64_t evictions;        /* remembered */
    } limits;
    struct {
        uint64_t window_ms;
    } drain;
    struct {
        int mode;                       /* enum conf_auth_mode */
        bool mode_written;              /* by an operator, not the default */
        struct conf_list origins;       /* scheme://host[:port], or "loopback": those of any port */
        struct conf_list allow_headers; /* of requests of their pages */
        struct conf_list jwt_key;       /* ALG:SECRET or ALG:@FILE */
        struct conf_list api_key;       /* NAME:RIGHTS:HASH */
        struct conf_list anonymous;     /* patterns */
        struct conf_list private;       /* patterns that those of `anonymous` do not reach */
        char *jwks;                     /* a file, a URL, or empty */
        uint64_t jwks_refresh_ms;
        char *audience;         /* empty: none */
        char *issuer;           /* empty: any */
        char *cookie;           /* its name, or empty */
        int query_token;        /* 0: off, 1: on */
        uint64_t cached_tokens; /* of one worker */
        uint64_t ticket_life_ms;
        struct conf_list ticket_key; /* conf_ticket_key(); the first seals, all open */
    } auth;
    struct {
        struct conf_list listen;      /* as server.listen, but for unix sockets */
        struct conf_list certificate; /* files */
        struct conf_list key;         /* files, in the same order */
        char *priority;               /* for GnuTLS */
        uint64_t handshake_timeout_ms;
    } tls;
    struct {
        char
            *log; /* redis:// and so on, see cluster/redis_url.h; empty: none, and nothing counts */
        char *user; /* empty: that of the URL, or none; so for the password */
        char *password;
        char *prefix;
        char *node;        /* with a log never empty once the settings are read */
        int promise;       /* enum conf_promise */
        uint64_t replicas; /* that WAIT counts */
        uint64_t log_bytes;
        uint64_t log_age_ms;
        uint64_t timeout_ms;        /* of a command */
        uint64_t answer_timeout_ms; /* until it is known what became of a group */
        uint64_t lease_ms;
        uint64_t ask_timeout_ms; /* of a question to other nodes */
        int assume;              /* 0: nothing, 1: that the server keeps cluster.promise=disk */
        char *ca;                /* a file; empty: the system's certificates */
    } cluster;
    struct {
        int level;  /* enum log_level */
        int format; /* enum log_format */
    } log;
};

enum conf_auth_mode { CONF_AUTH_NONE, CONF_AUTH_TOKEN };

/* As enum history_durability. */
enum conf_promise { CONF_PROMISE_MEMORY, CONF_PROMISE_DISK, CONF_PROMISE_REPLICATED };

#define CONF_NODE_BYTES 65 /* of cluster.node, with a NUL */
#define CONF_TICKET_KEY_BYTES 32

/* By which header trusted proxies name their client. */
enum conf_forwarded_header { CONF_X_FORWARDED_FOR, CONF_FORWARDED };

/* Where and why a setting was refused, as one line for the operator. */
struct conf_error {
    char text[512];
};

/* Write the line for the operator and return `error`.  Any thread. */
int conf_refuse(struct conf_error *ret_error, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* All defaults, and one reference.  NULL when out of memory. */
struct conf *conf_new(void);

/* Another reference, and the end of one; the last frees the settings.  Hold one for as long as a
 * pointer to them, or to a string in them, is kept beyond a turn of the loop: a reload replaces
 * them. Both accept NULL.  Any thread; constant time. */
const struct conf *conf_ref(const struct conf *conf);
void conf_unref(const struct conf *conf);

/*
 * Apply an INI file: `[section]`, `key = value`, comments with # or ;.
 * Returns 0, or -errno with `ret_error` naming the file, the line and what is wrong: an unknown
 * section or key is an error, with the nearest known name when one is near.  On error `conf` may
 * hold part of the file: build a new one for each try.  Begins a source.
 */
int conf_load_file(struct conf *conf, const char *path, struct conf_error *ret_error);

/*
 * Apply every BUGLE_SECTION_KEY of the environment.  A BUGLE_ name that no row has is an error, but
 * for BUGLE_CONFIG, BUGLE_URL, BUGLE_TOKEN and BUGLE_CA, and for names of others: those that
 * Kubernetes and Docker set for a service called bugle (BUGLE_SERVICE_HOST, BUGLE_PORT_8080_TCP and
 * so on), and those that begin like no section at all (BUGLE_VERSION).  Begins a source.
 */
int conf_load_environment(struct conf *conf, struct conf_error *ret_error);

/* Write the names of others' variables with our prefix, as many as fit, with commas between them.
 * Returns how many there are. */
size_t conf_foreign_variables(char *to, size_t to_n);

/* Apply `section.key=value`, as --set gives it.  A list is replaced by the first value each
 * source gives and grown by the others of that source: call conf_begin_source() between. */
int conf_set(struct conf *conf, const char *assignment, struct conf_error *ret_error);
void conf_begin_source(struct conf *conf);

/* The same for a flag of its own; `source`, such as "--listen", is what an error names.
 * Returns 0, -EINVAL or -ENOMEM. */
int conf_set_as(struct conf *conf, const char *source, const char *name, const char *value,
                struct conf_error *ret_error);

/*
 * Read what settings leave to others: the file of a secret that is `@FILE`, so that it is read once
 * and is text from then on, and with cluster.log the host's name, made fit, where cluster.node is
 * empty.  Once, with all sources applied.  Returns 0, -EINVAL with a line that has no secret in it,
 * or -ENOMEM.  Reads files; blocks.
 */
int conf_read_secrets(struct conf *conf, struct conf_error *ret_error);

/* The bytes of an item of auth.ticket_key, which conf_read_secrets() has read.  False: it is none.
 * Pure; any thread. */
bool conf_ticket_key(const char *item, unsigned char to[CONF_TICKET_KEY_BYTES]);

/* What no single row can tell: open listeners need auth or a written-out `none`, an event must
 * fit where events are kept, and so on.  Returns 0 or -EINVAL. */
int conf_check(const struct conf *conf, struct conf_error *ret_error);

/* Bytes of events that the history keeps: history.max_bytes, or what 0 means for the store. */
uint64_t conf_history_bytes(const struct conf *conf);

/* Bytes of events in the ring of a worker: stream.ring_bytes, or what 0 means. */
uint64_t conf_ring_bytes(const struct conf *conf);

/* Bytes that the process may use: limits.memory, or half of what there is.  Reads files of the
 * kernel. */
uint64_t conf_memory_bytes(const struct conf *conf);

/* Bytes of events that rings and, in memory, the store may hold.  The rings of all workers hold the
 * same events, so one counts. */
uint64_t conf_shared_bytes(const struct conf *conf);

/* Whether every listener, of both kinds, is a loopback address or a unix socket. */
bool conf_is_loopback_only(const struct conf *conf);

/* Without server.hosts: whether any name will do.  Not where the only protection is that the
 * gateway is on a loopback address: every page in a browser on this machine could be made to reach
 * it. */
bool conf_serves_any_host(const struct conf *conf);

/* `--help-config`: every row with its default, range, unit, whether it reloads, one sentence. */
void conf_print_help(FILE *to);

/* `check-config`: every setting as `section.key = value`, in the order of the table. */
void conf_print(const struct conf *conf, FILE *to);

/* Write a URL with "(not shown)" for its password, if it has one; cut off where there is no room.
 * Returns `to`. */
char *conf_hide_password(const char *url, char *to, size_t to_n);

/* The rows by index, for the manual's check: NULL past the last. */
const char *conf_name_at(size_t index);

/* The first setting whose name begins so, such as "cluster.", and that is not at its default; NULL
 * when all are, or out of memory. */
const char *conf_first_changed(const struct conf *conf, const char *prefix);

/* For a reload: the name of the next setting from row `*index` on that differs between the two
 * but takes effect only at a restart, and `*index` moved past it.  NULL when there are no more. */
const char *conf_next_restart(const struct conf *before, const struct conf *after, size_t *index);

/* Give `after` the values of `before` wherever a restart is needed to change them, so that it can
 * take its place in a running gateway.  Returns 0 or -ENOMEM. */
int conf_keep_restart(struct conf *after, const struct conf *before);

/* Durations: `10` (seconds), `500ms`, `30s`, `10m`, `24h`, `7d`.  Sizes: `4096`, `64K`, `1M`, `2G`.
 * Whole numbers with one unit; false for anything else or beyond 2^53. */
bool conf_parse_duration_ms(const char *text, uint64_t *ret_ms);
bool conf_parse_bytes(const char *text, uint64_t *ret_bytes);

#endif
