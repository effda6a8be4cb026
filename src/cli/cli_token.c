/* SPDX-License-Identifier: MIT */
/* `bugle token`: its words and options.  What they do is in cli_token_make.c. */
#include "config.h"

#include "cli/cli_common.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli_token.h"

static const char help_text[] =
    "Usage: bugle token make --key ALG:KEY [OPTION]...\n"
    "       bugle token inspect [--key ALG:KEY]...     a token on standard input\n"
    "       bugle token new [--name NAME --rights RIGHTS] [--alg ALG --out FILE]\n"
    "       bugle token hash [--name NAME --rights RIGHTS]   a key on standard input\n"
    "\n"
    "Tokens and keys for a gateway with auth.mode=token.  The command works offline.\n"
    "\n"
    "  make      print a signed token\n"
    "  inspect   print the contents of a token, and with --key whether it is valid\n"
    "  new       print a new API key and its item of auth.api_key; with --alg a new key\n"
    "            that signs tokens\n"
    "  hash      print the hash of an API key, or with --name its item of auth.api_key\n"
    "\n"
    "  --key ALG:KEY        key to sign or verify with: ALG:SECRET, or ALG:@FILE with a\n"
    "                       secret, a private key in PEM (make) or a public one\n"
    "                       (inspect)\n"
    "  --user NAME          user of the token (sub)\n"
    "  --publish PATTERN    topics that it may publish to; may be repeated\n"
    "  --subscribe PATTERN  topics that it may read; may be repeated\n"
    "  --ticket             grant the right to make tickets for any user\n"
    "  --admin              grant the admin right\n"
    "  --ttl DURATION       how long the token is valid (1h)\n"
    "  --kid ID             name of the key, for key sets\n"
    "  --audience TEXT      aud: what make writes and inspect requires\n"
    "  --issuer TEXT        the same for iss\n"
    "  --name NAME          name of an API key, for the log\n"
    "  --rights RIGHTS      its rights, such as 'publish=orders/** admin'\n"
    "  --alg ALG            kind of a new signing key: HS256, ES256, EdDSA and so on\n"
    "  --out FILE           where to write a new private key; the public key goes to\n"
    "                       FILE.pub\n"
    "  -h, --help           print this\n"
    "\n"
    "Exit status: 0 success, and for inspect with --key: the token is valid; 1 it is not,\n"
    "or something failed; 2 wrong usage.\n"
    "\n"
    "Example:\n"
    "  bugle token make --key HS256:@secret --user anna --subscribe 'orders/*' --ttl 10m\n";

static bool token_take_ttl(const struct cli_option *option, const char *value)
{
    return conf_parse_duration_ms(value, option->to) && *(const uint64_t *)option->to >= 1000;
}

static int token_read_options(struct cli_token *token, int argc, char **argv)
{
    const struct cli_option known[] = {
        CLI_WORD("key", &token->keys),
        CLI_TEXT("user", &token->user),
        CLI_WORD("publish", &token->publish),
        CLI_WORD("subscribe", &token->subscribe),
        CLI_FLAG("admin", &token->admin),
        CLI_FLAG("ticket", &token->ticket),
        CLI_OTHER("ttl", token_take_ttl, &token->ttl_ms, "a duration from 1s on, such as 10m"),
        CLI_TEXT("kid", &token->kid),
        CLI_TEXT("audience", &token->audience),
        CLI_TEXT("issuer", &token->issuer),
        CLI_TEXT("name", &token->name),
        CLI_TEXT("rights", &token->rights),
        CLI_TEXT("alg", &token->alg),
        CLI_TEXT("out", &token->out),
    };
    int status = cli_read_options(CLI_TOKEN_TOOL, help_text, known,
                                  sizeof(known) / sizeof(known[0]), argc, argv);

    if (status != CLI_FINE)
        return status;
    if (optind == argc)
        return cli_misused(CLI_TOKEN_TOOL, "name a command: make, inspect, new or hash");
    token->word = argv[optind];
    if (optind + 1 < argc)
        return cli_misused(CLI_TOKEN_TOOL, "unexpected argument %s", argv[optind + 1]);
    return CLI_FINE;
}

static int token_run(struct cli_token *token)
{
    static const struct {
        const char *word;
        int (*run)(const struct cli_token *token);
    } words[] = {
        {"make", cli_token_make},
        {"inspect", cli_token_inspect},
        {"new", cli_token_new},
        {"hash", cli_token_hash},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(token->word, words[i].word) == 0)
            return words[i].run(token);
    return cli_misused(CLI_TOKEN_TOOL, "there is nothing called %s", token->word);
}

int cli_token(int argc, char **argv)
{
    struct cli_token token = {.ttl_ms = 3600000};
    int status = token_read_options(&token, argc, argv);

    if (status == CLI_FINE)
        status = token_run(&token);
    if ((status == CLI_FINE || status == CLI_HELPED) && fflush(stdout) != 0)
        status = cli_fail(CLI_TOKEN_TOOL, "cannot print: %m");
    cli_list_clear(&token.keys);
    cli_list_clear(&token.publish);
    cli_list_clear(&token.subscribe);
    return status == CLI_HELPED ? CLI_FINE : status;
}
