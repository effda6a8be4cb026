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
    "Tokens and keys for a gateway with auth.mode=token.  No gateway is asked.\n"
    "\n"
    "  make      print a signed token\n"
    "  inspect   print what a token says, and with --key whether it holds\n"
    "  new       print a new API key and its item of auth.api_key; with --alg a new key\n"
    "            that signs tokens\n"
    "  hash      print the hash of an API key, or with --name its item of auth.api_key\n"
    "\n"
    "  --key ALG:KEY        key to sign or verify with: ALG:SECRET, or ALG:@FILE with a\n"
    "                       secret, or for make a private and for inspect a public key\n"
    "                       in PEM\n"
    "  --user NAME          whom the token acts for (sub)\n"
    "  --publish PATTERN    what may be published to; repeatable\n"
    "  --subscribe PATTERN  what may be read; repeatable\n"
    "  --admin              the right to look after the gateway\n"
    "  --ttl DURATION       how long the token holds (1h)\n"
    "  --kid ID             name of the key, for key sets\n"
    "  --audience TEXT      aud: for make what to write, for inspect what to ask for\n"
    "  --issuer TEXT        the same for iss\n"
    "  --name NAME          name of an API key, for the log\n"
    "  --rights RIGHTS      its rights, such as 'publish=orders/** admin'\n"
    "  --alg ALG            kind of a new signing key: HS256, ES256, EdDSA and so on\n"
    "  --out FILE           where to write a new private key; the public one goes to\n"
    "                       FILE.pub\n"
    "  -h, --help\n"
    "\n"
    "Exit status: 0 fine, and for inspect with --key: the token holds; 1 it does not, or\n"
    "something failed; 2 wrong usage.\n"
    "\n"
    "Example:\n"
    "  bugle token make --key HS256:@secret --user anna --subscribe 'orders/*' --ttl 10m\n";

enum option_code {
    OPTION_KEY = 256,
    OPTION_USER,
    OPTION_PUBLISH,
    OPTION_SUBSCRIBE,
    OPTION_ADMIN,
    OPTION_TTL,
    OPTION_KID,
    OPTION_AUDIENCE,
    OPTION_ISSUER,
    OPTION_NAME,
    OPTION_RIGHTS,
    OPTION_ALG,
    OPTION_OUT,
};

static const struct option long_options[] = {
    {"help", no_argument, NULL, 'h'},
    {"key", required_argument, NULL, OPTION_KEY},
    {"user", required_argument, NULL, OPTION_USER},
    {"publish", required_argument, NULL, OPTION_PUBLISH},
    {"subscribe", required_argument, NULL, OPTION_SUBSCRIBE},
    {"admin", no_argument, NULL, OPTION_ADMIN},
    {"ttl", required_argument, NULL, OPTION_TTL},
    {"kid", required_argument, NULL, OPTION_KID},
    {"audience", required_argument, NULL, OPTION_AUDIENCE},
    {"issuer", required_argument, NULL, OPTION_ISSUER},
    {"name", required_argument, NULL, OPTION_NAME},
    {"rights", required_argument, NULL, OPTION_RIGHTS},
    {"alg", required_argument, NULL, OPTION_ALG},
    {"out", required_argument, NULL, OPTION_OUT},
    {NULL, 0, NULL, 0},
};

/* The option's own place for a text; NULL if it has none. */
static const char **text_of(struct cli_token *token, int code)
{
    switch (code) {
    case OPTION_USER:
        return &token->user;
    case OPTION_KID:
        return &token->kid;
    case OPTION_AUDIENCE:
        return &token->audience;
    case OPTION_ISSUER:
        return &token->issuer;
    case OPTION_NAME:
        return &token->name;
    case OPTION_RIGHTS:
        return &token->rights;
    case OPTION_ALG:
        return &token->alg;
    case OPTION_OUT:
        return &token->out;
    default:
        return NULL;
    }
}

static int take_option(struct cli_token *token, int code, char **argv)
{
    const char **text = text_of(token, code);

    if (text != NULL) {
        *text = optarg;
        return CLI_FINE;
    }
    switch (code) {
    case OPTION_KEY:
        cli_list_add(&token->keys, optarg);
        return CLI_FINE;
    case OPTION_PUBLISH:
        cli_list_add(&token->publish, optarg);
        return CLI_FINE;
    case OPTION_SUBSCRIBE:
        cli_list_add(&token->subscribe, optarg);
        return CLI_FINE;
    case OPTION_ADMIN:
        token->admin = true;
        return CLI_FINE;
    case OPTION_TTL:
        if (!conf_parse_duration_ms(optarg, &token->ttl_ms) || token->ttl_ms < 1000)
            return cli_misused(CLI_TOKEN_TOOL, "--ttl takes a duration from 1s on, such as 10m");
        return CLI_FINE;
    case 'h':
        token->help = true;
        return CLI_FINE;
    default:
        return cli_bad_option(CLI_TOKEN_TOOL, code, argv);
    }
}

static int read_options(struct cli_token *token, int argc, char **argv)
{
    int code, status = CLI_FINE;

    optind = 0;
    opterr = 0;
    while (status == CLI_FINE && !token->help &&
           (code = getopt_long(argc, argv, ":h", long_options, NULL)) != -1)
        status = take_option(token, code, argv);
    if (status != CLI_FINE || token->help)
        return status;
    if (optind == argc)
        return cli_misused(CLI_TOKEN_TOOL, "say what: make, inspect, new or hash");
    token->word = argv[optind];
    if (optind + 1 < argc)
        return cli_misused(CLI_TOKEN_TOOL, "unexpected argument %s", argv[optind + 1]);
    return CLI_FINE;
}

static int run(struct cli_token *token)
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
    int status = read_options(&token, argc, argv);

    if (status == CLI_FINE && token.help)
        fputs(help_text, stdout);
    else if (status == CLI_FINE)
        status = run(&token);
    if (status == CLI_FINE && fflush(stdout) != 0)
        status = cli_fail(CLI_TOKEN_TOOL, "cannot print: %m");
    cli_list_clear(&token.keys);
    cli_list_clear(&token.publish);
    cli_list_clear(&token.subscribe);
    return status;
}
