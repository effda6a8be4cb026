/* SPDX-License-Identifier: MIT */
/*
 * The gateway as the shell tools reach it.  libcurl speaks HTTP; here is what makes it ours: the
 * address, the headers, no proxy for loopback, and answers told in one line.
 */
#include "config.h"

#include "cli/cli_http.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_URL "http://127.0.0.1:8080"
#define RESPONSE_CACHE_BYTES_MAX ((size_t)1 << 20)
#define HEADER_BYTES_MAX ((size_t)64 << 10)
#define REDIRECTS_MAX 5
#define CONNECT_SECONDS_MAX 10
#define WAIT_FIRST_MS 500
#define WAIT_LAST_MS 30000
#define RETRY_AFTER_SECONDS_MAX 3600
#define SHOWN_BODY_BYTES 200

struct cli_http_target cli_http_target_default(void)
{
    const char *url = getenv("BUGLE_URL");
    const char *token = getenv("BUGLE_TOKEN");
    const char *ca = getenv("BUGLE_CA");

    return (struct cli_http_target){
        .url = url != NULL && *url ? url : DEFAULT_URL,
        .token = token != NULL && *token ? token : NULL,
        .ca = ca != NULL && *ca ? ca : NULL,
    };
}

bool cli_http_is_header_text(const char *text)
{
    for (; *text; text++)
        if (((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7F)
            return false;
    return true;
}

/* Length of the name of a header line; 0 when it is none. */
static size_t header_name_n(const char *line)
{
    size_t name_n = strcspn(line, ": \t");

    return line[name_n] == ':' && cli_http_is_header_text(line) ? name_n : 0;
}

static int check_headers(const char *tool, const struct cli_http_target *target)
{
    if (target->token != NULL && !cli_http_is_header_text(target->token))
        return cli_misused(tool, "the token has control characters in it");
    for (size_t i = 0; i < target->headers.items_n; i++)
        if (header_name_n(target->headers.items[i]) == 0)
            return cli_misused(tool, "--header wants 'Name: value', not '%s'",
                               target->headers.items[i]);
    return CLI_FINE;
}

/* Whether a host part of a URL is this machine: an address or a name that never leaves it. */
static bool cli_http_is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    char inside[INET6_ADDRSTRLEN];
    size_t host_n = strlen(host);
    const char *suffix = host_n > 10 ? host + host_n - 10 : "";

    if (strcasecmp(host, "localhost") == 0 || strcasecmp(suffix, ".localhost") == 0)
        return true;
    if (inet_aton(host, &v4))
        return ntohl(v4.s_addr) >> 24 == 127 || v4.s_addr == INADDR_ANY;
    if (host[0] != '[' || host_n - 2 >= sizeof(inside))
        return false;
    memcpy(inside, host + 1, host_n - 2);
    inside[host_n - 2] = '\0';
    return inet_pton(AF_INET6, inside, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* A part that every http URL has, for curl_free(). */
static char *cli_http_get_part(CURLU *url, CURLUPart part)
{
    char *text = NULL;

    curl_url_get(url, part, &text, 0);
    return cli_need(text);
}

static bool cli_http_has_part(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    bool has = curl_url_get(url, part, &text, 0) == CURLUE_OK;

    curl_free(text);
    return has;
}

/* Put the resource's path behind the one the gateway sits under. */
static void cli_http_add_path(CURLU *url, const char *path)
{
    char *under = cli_http_get_part(url, CURLUPART_PATH);
    size_t under_n = strlen(under);

    while (under_n > 0 && under[under_n - 1] == '/')
        under_n--;
    char *whole = cli_format("%.*s%s", (int)under_n, under, path);
    curl_url_set(url, CURLUPART_PATH, whole, 0);
    free(whole);
    curl_free(under);
}

/* Take the target's URL apart: what is asked, what is shown, and whether it is loopback. */
static int cli_http_read_url(struct cli_http *http, const char *tool, CURLU *url, const char *path,
                             const char *query, bool *ret_is_loopback)
{
    const char *text = http->target->url;
    CURLUcode code = curl_url_set(url, CURLUPART_URL, text, CURLU_GUESS_SCHEME);

    if (code != CURLUE_OK)
        return cli_misused(tool, "'%s' is no URL: %s", text, curl_url_strerror(code));
    char *scheme = cli_http_get_part(url, CURLUPART_SCHEME);
    bool is_http = strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0;
    curl_free(scheme);
    if (!is_http)
        return cli_misused(tool, "'%s' is no http or https URL", text);
    if (cli_http_has_part(url, CURLUPART_QUERY) || cli_http_has_part(url, CURLUPART_FRAGMENT))
        return cli_misused(tool, "the URL must end before any '?' or '#': '%s'", text);

    char *host = cli_http_get_part(url, CURLUPART_HOST);
    *ret_is_loopback = cli_http_is_loopback(host);
    curl_free(host);
    CURLU *shown = cli_need(curl_url_dup(url));
    curl_url_set(shown, CURLUPART_USER, NULL, 0);
    curl_url_set(shown, CURLUPART_PASSWORD, NULL, 0);
    http->shown = cli_http_get_part(shown, CURLUPART_URL);
    for (size_t n = strlen(http->shown); n > 0 && http->shown[n - 1] == '/'; n--)
        http->shown[n - 1] = '\0';
    curl_url_cleanup(shown);

    cli_http_add_path(url, path);
    curl_url_set(url, CURLUPART_QUERY, query && *query ? query : NULL, 0);
    http->url = cli_http_get_part(url, CURLUPART_URL);
    return CLI_FINE;
}

static size_t cli_http_on_header(char *line, size_t one, size_t line_n, void *arg)
{
    (void)line, (void)one;
    return cli_http_count_header(arg, line_n) ? line_n : 0;
}

int cli_http_init(struct cli_http *http, const char *tool, const struct cli_http_target *target,
                  const char *path, const char *query)
{
    *http = (struct cli_http){.target = target};
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int status = check_headers(tool, target);
    if (status != CLI_FINE)
        return status;
    bool without_proxy = false;
    CURLU *url = cli_need(curl_url());
    status = cli_http_read_url(http, tool, url, path, query, &without_proxy);
    curl_url_cleanup(url);
    if (status != CLI_FINE)
        return status;

    http->easy = cli_need(curl_easy_init());
    curl_easy_setopt(http->easy, CURLOPT_HEADERFUNCTION, cli_http_on_header);
    curl_easy_setopt(http->easy, CURLOPT_HEADERDATA, http);
    curl_easy_setopt(http->easy, CURLOPT_ERRORBUFFER, http->error);
    curl_easy_setopt(http->easy, CURLOPT_USERAGENT, "bugle/" PACKAGE_VERSION);
    curl_easy_setopt(http->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(http->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(http->easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS_MAX);
    if (target->ca != NULL)
        curl_easy_setopt(http->easy, CURLOPT_CAINFO, target->ca);
    if (without_proxy)
        curl_easy_setopt(http->easy, CURLOPT_PROXY, "");
    return CLI_FINE;
}

void cli_http_clear(struct cli_http *http)
{
    curl_easy_cleanup(http->easy);
    curl_slist_free_all(http->headers);
    free(http->moved);
    curl_free(http->url);
    curl_free(http->shown);
    free(http->answer);
    curl_global_cleanup();
    *http = (struct cli_http){0};
}

void cli_http_add_query(FILE *query, const char *name, const char *value)
{
    char *escaped = cli_need(curl_easy_escape(NULL, value, 0));

    fprintf(query, "%s%s=%s", ftell(query) > 0 ? "&" : "", name, escaped);
    curl_free(escaped);
}

static bool is_replaced(const struct cli_http_target *target, const char *line)
{
    size_t name_n = header_name_n(line);

    for (size_t i = 0; i < target->headers.items_n; i++) {
        const char *theirs = target->headers.items[i];

        if (header_name_n(theirs) == name_n && strncasecmp(theirs, line, name_n) == 0)
            return true;
    }
    return false;
}

static void cli_http_add_header(struct cli_http *http, const char *line)
{
    http->headers = cli_need(curl_slist_append(http->headers, line));
}

/* libcurl takes "Name:" as a wish to leave the header out; "Name;" sends it empty. */
static void add_target_header(struct cli_http *http, const char *line)
{
    size_t name_n = header_name_n(line);

    if (line[name_n + 1 + strspn(line + name_n + 1, " \t")] != '\0') {
        cli_http_add_header(http, line);
        return;
    }
    char *empty = cli_format("%.*s;", (int)name_n, line);
    cli_http_add_header(http, empty);
    free(empty);
}

static void cli_http_add_token(struct cli_http *http)
{
    if (http->target->token == NULL || is_replaced(http->target, "Authorization:"))
        return;
    char *line = cli_format("Authorization: Bearer %s", http->target->token);
    cli_http_add_header(http, line);
    free(line);
}

void cli_http_begin(struct cli_http *http, const char *const *lines, size_t lines_n)
{
    curl_slist_free_all(http->headers);
    http->headers = NULL;
    free(http->answer);
    http->answer = NULL;
    http->answer_n = 0;
    http->header_n = 0;
    http->error[0] = '\0';
    curl_easy_setopt(http->easy, CURLOPT_URL, http->moved != NULL ? http->moved : http->url);

    for (size_t i = 0; i < lines_n; i++)
        if (http->is_foreign || !is_replaced(http->target, lines[i]))
            cli_http_add_header(http, lines[i]);
    if (!http->is_foreign)
        cli_http_add_token(http);
    for (size_t i = 0; !http->is_foreign && i < http->target->headers.items_n; i++)
        add_target_header(http, http->target->headers.items[i]);
    curl_easy_setopt(http->easy, CURLOPT_HTTPHEADER, http->headers);
}

bool cli_http_keep(struct cli_http *http, const char *bytes, size_t bytes_n)
{
    bool fits = bytes_n <= RESPONSE_CACHE_BYTES_MAX - http->answer_n;

    if (!fits)
        bytes_n = RESPONSE_CACHE_BYTES_MAX - http->answer_n;
    http->answer = cli_need(realloc(http->answer, http->answer_n + bytes_n + 1));
    memcpy(http->answer + http->answer_n, bytes, bytes_n);
    http->answer_n += bytes_n;
    http->answer[http->answer_n] = '\0';
    return fits;
}

bool cli_http_count_header(struct cli_http *http, size_t bytes_n)
{
    http->header_n += bytes_n;
    return http->header_n <= HEADER_BYTES_MAX;
}

static bool is_same_part(CURLU *one, CURLU *other, CURLUPart part)
{
    char *its = NULL, *others = NULL;

    curl_url_get(one, part, &its, CURLU_DEFAULT_PORT);
    curl_url_get(other, part, &others, CURLU_DEFAULT_PORT);
    bool is_same = its != NULL && others != NULL && strcasecmp(its, others) == 0;
    curl_free(its);
    curl_free(others);
    return is_same;
}

/* Whether two URLs have one origin (RFC 6454). */
static bool is_same_origin(const char *one, const char *other)
{
    CURLU *its = cli_need(curl_url()), *others = cli_need(curl_url());
    bool is_same = curl_url_set(its, CURLUPART_URL, one, 0) == CURLUE_OK &&
                   curl_url_set(others, CURLUPART_URL, other, 0) == CURLUE_OK &&
                   is_same_part(its, others, CURLUPART_SCHEME) &&
                   is_same_part(its, others, CURLUPART_HOST) &&
                   is_same_part(its, others, CURLUPART_PORT);

    curl_url_cleanup(its);
    curl_url_cleanup(others);
    return is_same;
}

bool cli_http_redirect(struct cli_http *http)
{
    const char *elsewhere = NULL;

    curl_easy_getinfo(http->easy, CURLINFO_REDIRECT_URL, &elsewhere);
    if (elsewhere == NULL || http->redirects_n == REDIRECTS_MAX)
        return false;
    free(http->moved);
    http->moved = cli_format("%s", elsewhere);
    http->redirects_n++;
    http->is_foreign = !is_same_origin(http->url, http->moved);
    return true;
}

void cli_http_return(struct cli_http *http)
{
    free(http->moved);
    http->moved = NULL;
    http->redirects_n = 0;
    http->is_foreign = false;
}

long cli_http_status(const struct cli_http *http)
{
    long status = 0;

    curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

char *cli_http_trouble(const struct cli_http *http, CURLcode code)
{
    long number = 0;

    curl_easy_getinfo(http->easy, CURLINFO_OS_ERRNO, &number);
    const char *why = http->error[0] ? http->error : curl_easy_strerror(code);
    if (code == CURLE_COULDNT_CONNECT && number != 0)
        why = strerror((int)number);
    if (http->header_n > HEADER_BYTES_MAX)
        why = "its answer has more than 64 KiB of headers";
    else if (code == CURLE_WRITE_ERROR && http->answer_n == RESPONSE_CACHE_BYTES_MAX)
        why = "its answer has more than 1 MiB";
    if (code == CURLE_SSL_CONNECT_ERROR && strstr(why, "unexpected TLS packet"))
        why = "it does not speak TLS; try http://";
    const char *what = code == CURLE_COULDNT_CONNECT ? "cannot connect to " : "";
    return cli_format("%s%s: %s", what, http->shown, why);
}

/* A member that must be text; NULL when it is not. */
static const char *cli_http_get_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

/* Where a problem document points: a place in the JSON text, or a JSON pointer, its own or that
 * of the first of its `errors`. */
static void cli_http_put_place(FILE *to, const json_t *problem)
{
    json_int_t line = json_integer_value(json_object_get(problem, "line"));
    json_int_t column = json_integer_value(json_object_get(problem, "column"));
    const char *pointer = cli_http_get_text(problem, "pointer");

    if (pointer == NULL)
        pointer =
            cli_http_get_text(json_array_get(json_object_get(problem, "errors"), 0), "pointer");
    if (line > 0)
        fprintf(to, " (line %lld, column %lld)", (long long)line, (long long)column);
    if (pointer != NULL)
        fprintf(to, " (at %s)", *pointer ? pointer : "the top");
}

static void put_problem(FILE *to, const json_t *problem)
{
    const char *title = cli_http_get_text(problem, "title");
    const char *detail = cli_http_get_text(problem, "detail");

    if (title != NULL)
        fprintf(to, " %s", title);
    if (detail != NULL)
        fprintf(to, ": %s", detail);
    cli_http_put_place(to, problem);
}

/* The first line of an answer that is no problem document, if it is for people at all. */
static void cli_http_put_plain(FILE *to, const struct cli_http *http)
{
    const char *text = http->answer + strspn(http->answer, " \t\r\n");
    size_t text_n = strcspn(text, "\r\n");

    if (text_n > 0 && text[0] != '<')
        fprintf(to, ": %.*s", (int)(text_n < SHOWN_BODY_BYTES ? text_n : SHOWN_BODY_BYTES), text);
}

char *cli_http_refusal(const struct cli_http *http)
{
    char *text;
    size_t text_n;
    FILE *to = cli_need(open_memstream(&text, &text_n));
    struct json_alloc *parsed = NULL;
    const char *elsewhere = NULL;

    curl_easy_getinfo(http->easy, CURLINFO_REDIRECT_URL, &elsewhere);
    if (http->answer != NULL)
        parsed = cli_read_json(http->answer, http->answer_n, 0, NULL);
    const json_t *problem = parsed ? parsed->root : NULL;
    fprintf(to, "%s answered %ld", http->shown, cli_http_status(http));
    if (elsewhere != NULL)
        fprintf(to, " and points to %s", elsewhere);
    else if (json_is_object(problem))
        put_problem(to, problem);
    else if (http->answer != NULL)
        cli_http_put_plain(to, http);
    json_alloc_free(parsed);
    if (cli_http_status(http) == 401 && http->target->token == NULL)
        fputs(" (--token or BUGLE_TOKEN)", to);
    if (fclose(to) != 0)
        cli_need(NULL);
    return text;
}

bool cli_http_is_passing(long status)
{
    return status == 408 || status == 425 || status == 429 || status == 500 ||
           (status >= 502 && status <= 504);
}

uint64_t cli_http_wait_ms(const struct cli_http *http, unsigned failures)
{
    uint64_t wait_ms = failures < 6 ? (uint64_t)WAIT_FIRST_MS << failures : WAIT_LAST_MS;

    wait_ms -= cli_random(wait_ms / 2);
    curl_off_t after = 0;
    curl_easy_getinfo(http->easy, CURLINFO_RETRY_AFTER, &after);
    if (after > RETRY_AFTER_SECONDS_MAX)
        after = RETRY_AFTER_SECONDS_MAX;
    uint64_t after_ms = after > 0 ? (uint64_t)after * 1000 : 0;
    return wait_ms > after_ms ? wait_ms : after_ms;
}
