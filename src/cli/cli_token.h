/* SPDX-License-Identifier: MIT */
/*
 * What the words of `bugle token` share: what the command line said, and one function for each.
 * Main thread; each returns an enum cli_exit and has told what went wrong.
 */
#ifndef BUGLE_CLI_TOKEN_H
#define BUGLE_CLI_TOKEN_H

#include "cli/cli_common.h"
#include "conf/conf.h"

#define CLI_TOKEN_TOOL "token"

/* Texts are borrowed from the command line; NULL: not given. */
struct cli_token {
    const char *word;
    struct cli_list keys;
    struct cli_list publish;
    struct cli_list subscribe;
    const char *user;
    const char *kid;
    const char *audience;
    const char *issuer;
    const char *name;
    const char *rights;
    const char *alg;
    const char *out;
    uint64_t ttl_ms;
    bool admin;
    bool ticket;
};

int cli_token_make(const struct cli_token *token);
int cli_token_inspect(const struct cli_token *token);
int cli_token_new(const struct cli_token *token);
int cli_token_hash(const struct cli_token *token);

#endif
