/* SPDX-License-Identifier: MIT */
/*
 * The gateway as the shell tools reach it over HTTP: where it is, how one introduces oneself,
 * what its answers mean to a person, and when to try again.  libcurl speaks; one thread.
 */
#ifndef BUGLE_CLI_HTTP_H
#define BUGLE_CLI_HTTP_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/cli_common.h"

/* What the options --url, --token, --ca and --header say.  All texts are borrowed. */
struct cli_http_target {
    const char *url; /* http://HOST:PORT, with a path where the gateway sits under one */
    const char *token;
    const char *ca;          /* file of certificates to trust; NULL: the system's */
    struct cli_list headers; /* "Name: value" */
};

/* The rows of these options in the table of a tool. */
#define CLI_HTTP_OPTIONS(target)                                                                   \
    CLI_TEXT("ca", &(target)->ca), CLI_WORD("header", &(target)->headers),                         \
        CLI_TEXT("token", &(target)->token), CLI_TEXT("url", &(target)->url)

/* One resource of the gateway, asked once or many times over kept connections. */
struct cli_http {
    CURL *easy;
    char *url;   /* of the resource, with its query */
    char *shown; /* the gateway's, for messages: no password, no query */
    const struct cli_http_target *target;
    struct curl_slist *headers;
    char *moved;          /* where redirects led; NULL: nowhere, `url` is asked */
    unsigned redirects_n; /* followed since cli_http_return() */
    bool is_foreign;      /* `moved` is of another origin */
    size_t header_n;      /* bytes of headers and trailers of the answer at hand */
    char error[CURL_ERROR_SIZE];
    char *answer; /* body, cut at 1 MiB; ends with NUL; NULL: none */
    size_t answer_n;
};

/* The defaults: $BUGLE_URL or http://127.0.0.1:8080, $BUGLE_TOKEN or none, $BUGLE_CA
 * or the certificates of the system. */
struct cli_http_target cli_http_target_default(void);

/*
 * Get ready to ask for a resource.  Loopback addresses are reached without a proxy, whatever the
 * environment says.
 *
 * http    filled; to be given to cli_http_clear() whatever is returned
 * target  borrowed until then
 * path    borrowed for the call; "/api/push"
 * query   borrowed for the call; without the '?', escaped; NULL: none
 *
 * Returns CLI_FINE, or CLI_USAGE when the target makes no sense, which has been told then.
 */
int cli_http_init(struct cli_http *http, const char *tool, const struct cli_http_target *target,
                  const char *path, const char *query);
void cli_http_clear(struct cli_http *http);

/* Whether a text may stand in a header: no line can be smuggled in. */
bool cli_http_is_header_text(const char *text);

/* Add `name=value` to a query under way, with the '&' it needs.  Names are plain words. */
void cli_http_add_query(FILE *query, const char *name, const char *value);

/*
 * Begin a request: forgets the last answer and sets the headers to those of the tool, the token
 * and those of the command line.  A header of the command line replaces one of the same name.
 *
 * lines  borrowed for the call; "Name: value"
 */
void cli_http_begin(struct cli_http *http, const char *const *lines, size_t lines_n);

/* Keep bytes of the answer's body.  False when it has more than 1 MiB: the transfer should end. */
bool cli_http_keep(struct cli_http *http, const char *bytes, size_t bytes_n);

/*
 * Count bytes of headers and trailers, those of interim answers and redirects too: libcurl keeps
 * them all and takes as many trailers as are sent.  False when they are more than 64 KiB: the
 * transfer must end.  Done for a tool unless it sets a CURLOPT_HEADERFUNCTION of its own.
 */
bool cli_http_count_header(struct cli_http *http, size_t bytes_n);

/*
 * Go where the last answer redirects to: the next cli_http_begin() asks there.  Another origin
 * (scheme, host and port) gets neither the token nor headers of the command line.  False when the
 * answer is no redirect, or the sixth in a row.
 */
bool cli_http_redirect(struct cli_http *http);

/* Back to the resource itself, in the next cli_http_begin(). */
void cli_http_return(struct cli_http *http);

long cli_http_status(const struct cli_http *http);

/* Why there was no complete answer.  Gives a text for free(). */
char *cli_http_trouble(const struct cli_http *http, CURLcode code);

/* What an answer that is no success says: status, the detail of a problem document (RFC 9457) and
 * the place it points at, on one line.  Gives a text for free(). */
char *cli_http_refusal(const struct cli_http *http);

/* Whether an answer of this status may be another one later: 408, 425, 429, 500, 502, 503, 504. */
bool cli_http_is_passing(long status);

/* How long to wait before a try: after `failures` (from 0) doubled from half a second up to 30 s
 * and spread over its upper half, and no less than Retry-After asks (at most an hour). */
uint64_t cli_http_wait_ms(const struct cli_http *http, unsigned failures);

#endif
