/* SPDX-License-Identifier: MIT */
/* Who may do what with auth.mode=token: credentials, rights of each path, what a stream and an
 * event are held against, and tickets. */
#include "config.h"
#include "api/access.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/fixture.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define ON "auth.mode=token "
#define FROM_LISTED "Origin: " FIXTURE_ORIGIN "\n"
#define FROM_FOREIGN "Origin: " FIXTURE_FOREIGN "\n"
#define EVENT "{\"data\":\"x\",\"topic\":\"a\"}"
#define ADMIN "{\"bugle\":{\"admin\":true}}"
#define READER "{\"sub\":\"anna\",\"bugle\":{\"subscribe\":[\"news/**\"]}}"
#define WRITER "{\"bugle\":{\"publish\":[\"orders/**\",\"a\"]}}"
#define NOBODY "{\"sub\":\"anna\"}"
#define PAST "{\"exp\":1,\"bugle\":{\"subscribe\":[\"**\"]}}"

static struct client *ask_as(struct fixture *fixture, const char *claims, const char *method,
                             const char *target, const char *body)
{
    char lines[4096];

    snprintf(lines, sizeof(lines), FIXTURE_JSON "%s", claims != NULL ? fixture_token(claims) : "");
    return client_ask(fixture, method, target, lines, body);
}

/* The token of `claims`, without its line. */
static const char *token_of(const char *claims)
{
    static char token[4096];

    snprintf(token, sizeof(token), "%s", strstr(fixture_token(claims), "Bearer ") + 7);
    token[strcspn(token, "\n")] = '\0';
    return token;
}

/* A text with the token of `claims` in the place of its "%". */
static const char *with_token(const char *text, const char *claims)
{
    static char whole[4096];
    size_t before_n = strcspn(text, "%");

    snprintf(whole, sizeof(whole), "%.*s%s%s", (int)before_n, text, token_of(claims),
             text + before_n + 1);
    return whole;
}

static void assert_challenge(const struct client *client, const char *text)
{
    const char *challenge = client_header(client, "WWW-Authenticate");

    assert_non_null(challenge);
    assert_memory_equal(challenge, "Bearer realm=\"bugle\"", 20);
    if (text == NULL)
        assert_int_equal(strlen(challenge), 20);
    else
        assert_non_null(strstr(challenge, text));
}

/* ---- rights ---- */

static const struct {
    const char *method, *path, *body;
} for_admins[] = {
    {"GET", "/api/stats", NULL},
    {"GET", "/api/streams", NULL},
    {"DELETE", "/api/streams?user=u", NULL},
    {"DELETE", "/api/streams/0000000000000001", NULL},
    {"GET", "/api/evictions", NULL},
    {"POST", "/api/backup", NULL},
};

static void health_and_pages_need_nothing(void **state)
{
    struct fixture *fixture = fixture_new(ON);

    (void)state;
    assert_int_equal(client_ask(fixture, "GET", "/healthz", "", NULL)->status, 200);
    assert_int_equal(client_ask(fixture, "GET", "/readyz", "", NULL)->status, 200);
    client_is_refused(client_ask(fixture, "GET", "/", "", NULL), 404, "no_page");
    client_is_refused(client_ask(fixture, "GET", "/nothing", "", NULL), 404, "not_found");
    assert_int_equal(
        client_ask(fixture, "GET", "/healthz", "Authorization: Bearer nonsense\n", NULL)->status,
        200);
    fixture_free(fixture);
}

static void without_a_credential_all_else_is_closed(void **state)
{
    struct fixture *fixture = fixture_new(ON);

    (void)state;
    for (size_t i = 0; i < ROWS(for_admins); i++) {
        struct client *client =
            ask_as(fixture, NULL, for_admins[i].method, for_admins[i].path, NULL);

        client_is_refused(client, 401, "no_credentials");
        assert_challenge(client, NULL);
    }
    client_is_refused(ask_as(fixture, NULL, "GET", "/events", NULL), 401, "no_credentials");
    client_is_refused(ask_as(fixture, NULL, "POST", "/api/push", EVENT), 401, "no_credentials");
    client_is_refused(ask_as(fixture, NULL, "POST", "/api/tickets", "{}"), 401, "no_credentials");
    assert_int_equal(fixture_stat(fixture, STATS_REQUESTS_UNAUTHORIZED), ROWS(for_admins) + 3);
    assert_int_equal(fixture_stat(fixture, STATS_REQUESTS_FORBIDDEN), 0);
    fixture_free(fixture);
}

static void each_path_needs_its_right(void **state)
{
    static const char *const others[] = {READER, WRITER, NOBODY};
    struct fixture *fixture = fixture_new(ON);

    (void)state;
    for (size_t i = 0; i < ROWS(for_admins); i++) {
        const char *method = for_admins[i].method, *path = for_admins[i].path;

        for (size_t k = 0; k < ROWS(others); k++) {
            struct client *client = ask_as(fixture, others[k], method, path, NULL);

            client_is_refused(client, 403, "missing_right");
            assert_challenge(client, "error=\"insufficient_scope\", scope=\"admin\"");
        }
        unsigned status = ask_as(fixture, ADMIN, method, path, NULL)->status;
        assert_true(status != 401 && status != 403);
    }
    struct client *client = ask_as(fixture, READER, "POST", "/api/push", EVENT);
    client_is_refused(client, 403, "missing_right");
    assert_challenge(client, "scope=\"publish\"");
    client_is_refused(ask_as(fixture, ADMIN, "POST", "/api/push", EVENT), 403, "missing_right");
    assert_int_equal(ask_as(fixture, WRITER, "POST", "/api/push", EVENT)->status, 201);
    assert_int_equal(fixture_stat(fixture, STATS_REQUESTS_FORBIDDEN),
                     ROWS(for_admins) * ROWS(others) + 2);
    fixture_free(fixture);
}

static void without_auth_nobody_is_asked(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    assert_int_equal(ask_as(fixture, NULL, "GET", "/api/stats", NULL)->status, 200);
    assert_int_equal(ask_as(fixture, NULL, "POST", "/api/push", EVENT)->status, 201);
    assert_int_equal(
        client_ask(fixture, "GET", "/api/stats", "Authorization: Bearer x\n", NULL)->status, 200);
    client_is_refused(ask_as(fixture, NULL, "POST", "/api/tickets", "{}"), 409, "no_tickets");
    fixture_free(fixture);
}

/* ---- credentials ---- */

static void a_bad_token_is_told_why(void **state)
{
    static const char *const bad[] = {"",         "x",    "a.b.c",  "Token x", "Bearer ",
                                      "Bearer  ", "Bear", "Bearer", "bearer x"};
    struct fixture *fixture = fixture_new(ON);
    char lines[64];

    (void)state;
    for (size_t i = 0; i < ROWS(bad); i++) {
        snprintf(lines, sizeof(lines), "Authorization: %s\n", bad[i]);
        struct client *client = client_ask(fixture, "GET", "/api/stats", lines, NULL);
        client_is_refused(client, 401, "invalid_token");
        assert_challenge(client, "error=\"invalid_token\", error_description=\"");
    }
    struct client *client = ask_as(fixture, PAST, "GET", "/api/stats", NULL);
    client_is_refused(client, 401, "invalid_token");
    fixture_free(fixture);
}

static void a_token_may_stand_in_any_case_and_with_blanks(void **state)
{
    struct fixture *fixture = fixture_new(ON);

    (void)state;
    assert_int_equal(client_ask(fixture, "GET", "/api/stats",
                                with_token("authorization: bearer   % \n", ADMIN), NULL)
                         ->status,
                     200);
    fixture_free(fixture);
}

static void what_is_for_a_proxy_counts_only_alone(void **state)
{
    static const char *const schemes[] = {"Basic eDp5", "digest x", "NEGOTIATE x", "NTLM x"};
    struct fixture *fixture = fixture_new(ON "auth.cookie=session");
    char lines[4096];

    (void)state;
    for (size_t i = 0; i < ROWS(schemes); i++) {
        snprintf(lines, sizeof(lines), "Authorization: %s\n", schemes[i]);
        struct client *client = client_ask(fixture, "GET", "/api/stats", lines, NULL);
        client_is_refused(client, 401, "invalid_token");
        assert_true(client_has(client, "proxy"));
        snprintf(lines, sizeof(lines), "Authorization: %s\nCookie: session=%s\n", schemes[i],
                 token_of(ADMIN));
        assert_int_equal(client_ask(fixture, "GET", "/api/stats", lines, NULL)->status, 200);
    }
    fixture_free(fixture);
}

static void the_header_counts_before_query_and_cookie(void **state)
{
    struct fixture *fixture = fixture_new(ON "auth.cookie=session auth.query_token=on");
    char lines[4096], target[4096];

    (void)state;
    snprintf(lines, sizeof(lines), "Authorization: Bearer no\nCookie: session=%s\n",
             token_of(ADMIN));
    client_is_refused(client_ask(fixture, "GET", "/api/stats", lines, NULL), 401, "invalid_token");
    snprintf(target, sizeof(target), "/events?access_token=%s", token_of(READER));
    client_is_refused(client_ask(fixture, "GET", target, "Authorization: Bearer no\n", NULL), 401,
                      "invalid_token");
    snprintf(lines, sizeof(lines), "Cookie: session=%s\n", token_of(READER));
    client_is_refused(client_ask(fixture, "GET", "/events?access_token=no", lines, NULL), 401,
                      "invalid_token");
    client_is_refused(client_ask(fixture, "GET", "/events?ticket=no", lines, NULL), 401,
                      "invalid_token");
    assert_int_equal(client_ask(fixture, "GET", target, "Cookie: session=no\n", NULL)->status, 200);
    fixture_free(fixture);
}

static void tokens_in_the_url_are_for_streams_and_only_if_allowed(void **state)
{
    struct fixture *fixture = fixture_new(ON);

    (void)state;
    struct client *client =
        client_ask(fixture, "GET", with_token("/events?access_token=%", READER), "", NULL);
    client_is_refused(client, 401, "invalid_token");
    assert_true(client_has(client, "auth.query_token"));
    fixture_free(fixture);

    fixture = fixture_new(ON "auth.query_token=on");
    client = client_ask(fixture, "GET", with_token("/events?access_token=%", READER), "", NULL);
    assert_int_equal(client->status, 200);
    assert_string_equal(client_header(client, "Referrer-Policy"), "no-referrer");
    client = client_ask(fixture, "POST", with_token("/api/push?access_token=%", WRITER), "", "x");
    client_is_refused(client, 401, "no_credentials");
    fixture_free(fixture);
}

static void a_cookie_counts_for_listed_pages(void **state)
{
    static const char *const lines[] = {"Cookie: other=1; session=%\n",
                                        FROM_LISTED "Cookie: session=%\n",
                                        "Origin: http://127.0.0.1:8080\nCookie: session=%\n"};
    struct fixture *fixture = fixture_new(ON "auth.cookie=session");

    (void)state;
    for (size_t i = 0; i < ROWS(lines); i++)
        assert_int_equal(
            client_ask(fixture, "GET", "/api/stats", with_token(lines[i], ADMIN), NULL)->status,
            200);
    client_is_refused(client_ask(fixture, "GET", "/api/stats",
                                 with_token(FROM_FOREIGN "Cookie: session=%\n", ADMIN), NULL),
                      403, "foreign_origin");
    client_is_refused(client_ask(fixture, "GET", "/api/stats", "Cookie: other=1\n", NULL), 401,
                      "no_credentials");
    fixture_free(fixture);
}

static void a_change_by_cookie_says_which_page_asks(void **state)
{
    struct fixture *fixture = fixture_new(ON "auth.cookie=session");

    (void)state;
    client_is_refused(client_ask(fixture, "POST", "/api/push",
                                 with_token(FIXTURE_JSON "Cookie: session=%\n", WRITER), EVENT),
                      403, "foreign_origin");
    assert_int_equal(client_ask(fixture, "POST", "/api/push",
                                with_token(FIXTURE_JSON FROM_LISTED "Cookie: session=%\n", WRITER),
                                EVENT)
                         ->status,
                     201);
    assert_int_equal(fixture_stat(fixture, STATS_REQUESTS_FORBIDDEN), 1);
    fixture_free(fixture);
}

static void a_cookie_that_is_empty_or_doubled_is_no_good(void **state)
{
    static const char *const lines[] = {"Cookie: session=\n", "Cookie: session=a; session=a\n",
                                        "Cookie: session=a\nCookie: session=a\n"};
    struct fixture *fixture = fixture_new(ON "auth.cookie=session auth.anonymous=**");

    (void)state;
    for (size_t i = 0; i < ROWS(lines); i++)
        client_is_refused(client_ask(fixture, "GET", "/events", lines[i], NULL), 401,
                          "invalid_token");
    fixture_free(fixture);
}

/* Ask with tokens that nobody has signed, another one each time, until one is put off. */
static struct client *forge(struct fixture *fixture, const char *method, const char *target)
{
    static unsigned made_n;
    char lines[4096], claims[64];
    struct client *client;
    int tries = 0;

    do {
        snprintf(claims, sizeof(claims), "{\"jti\":\"%u\"}", made_n++);
        snprintf(lines, sizeof(lines), "%sAccept: text/event-stream\n", fixture_token(claims));
        char *signature = strrchr(lines, '.') + 1;
        signature[0] = signature[0] == 'A' ? 'B' : 'A';
        client = client_ask(fixture, method, target, lines, NULL);
    } while (client->status == 401 && ++tries < 50);
    return client;
}

static void who_forges_tokens_is_put_off(void **state)
{
    struct fixture *fixture = fixture_new(ON "limits.forged_tokens=1");

    (void)state;
    assert_int_equal(ask_as(fixture, ADMIN, "GET", "/api/stats", NULL)->status, 200);
    struct client *client = forge(fixture, "GET", "/api/stats");
    client_is_refused(client, 429, "too_many_forged_tokens");
    assert_string_equal(client_header(client, "Retry-After"), "1");
    client = forge(fixture, "GET", "/events");
    assert_int_equal(client->status, 200); /* what an EventSource understands */
    assert_memory_equal(client->body, "retry: 1", 8);
    assert_true(client_is_closed(client));
    assert_int_equal(fixture_stat(fixture, STATS_STREAMS_REFUSED), 1);
    int64_t unauthorized = fixture_stat(fixture, STATS_REQUESTS_UNAUTHORIZED);
    fixture->address = "192.0.2.2"; /* is looked at */
    forge(fixture, "GET", "/api/stats");
    assert_true(fixture_stat(fixture, STATS_REQUESTS_UNAUTHORIZED) > unauthorized);
    fixture->address = "192.0.2.1"; /* a token that was good there stays so */
    assert_int_equal(ask_as(fixture, ADMIN, "GET", "/api/stats", NULL)->status, 200);
    fixture_free(fixture);
}

/* ---- streams ---- */

/* What the only stream has, as a monitor sees it; for free(). */
static char *only_stream(struct fixture *fixture)
{
    json_t *json = client_json(ask_as(fixture, ADMIN, "GET", "/api/streams", NULL));
    const json_t *stream = json_array_get(json_object_get(json, "streams"), 0);

    assert_int_equal(json_integer_value(json_object_get(json, "total")), 1);
    json_t *both =
        json_pack("[O, O]", json_object_get(stream, "user"), json_object_get(stream, "topics"));
    char *text = json_dumps(both, JSON_COMPACT);

    json_decref(both);
    json_decref(json);
    return text;
}

static void assert_stream(const char *settings, const char *claims, const char *target,
                          const char *wanted)
{
    struct fixture *fixture = fixture_new(settings);
    struct client *client = ask_as(fixture, claims, "GET", target, NULL);

    assert_int_equal(client->status, 200);
    char *text = only_stream(fixture);
    assert_string_equal(text, wanted);
    free(text);
    fixture_free(fixture);
}

static void a_stream_gets_what_its_caller_may_read(void **state)
{
    (void)state;
    assert_stream(ON, READER, "/events", "[\"anna\",[\"news/**\"]]");
    assert_stream(ON, READER, "/events?topic=news/a&user=anna", "[\"anna\",[\"news/a\"]]");
    assert_stream(ON, NOBODY, "/events", "[\"anna\",[\"$bugle/none\"]]");
    assert_stream(ON, WRITER, "/events", "[null,[\"$bugle/none\"]]");
    assert_stream(ON, "{\"bugle\":{\"subscribe\":[\"**\"]}}", "/events", "[null,[]]");
    assert_stream(ON "auth.anonymous=public/**,x auth.private=x", READER, "/events",
                  "[\"anna\",[\"public/**\",\"news/**\"]]");
    assert_stream(ON "auth.anonymous=public/**", NULL, "/events", "[null,[\"public/**\"]]");
    assert_stream(ON "auth.anonymous=**", NULL, "/events", "[null,[]]");
}

static void a_stream_gets_nothing_else(void **state)
{
    static const char *const targets[] = {"/events?topic=orders/1", "/events?topic=**",
                                          "/events?topic=news/a&topic=orders/1",
                                          "/events?topic=news/%2b/x&topic=*"};
    struct fixture *fixture = fixture_new(ON "auth.anonymous=public/** auth.private=public/secret");

    (void)state;
    for (size_t i = 0; i < ROWS(targets); i++) {
        struct client *client = ask_as(fixture, READER, "GET", targets[i], NULL);

        client_is_refused(client, 403, "missing_right");
        assert_challenge(client, "scope=\"subscribe\"");
    }
    client_is_refused(ask_as(fixture, READER, "GET", "/events?user=bob", NULL), 403,
                      "foreign_user");
    client_is_refused(ask_as(fixture, WRITER, "GET", "/events?user=anna", NULL), 403,
                      "foreign_user");
    client_is_refused(ask_as(fixture, NULL, "GET", "/events?user=anna", NULL), 403, "foreign_user");
    client_is_refused(ask_as(fixture, NULL, "GET", "/events?topic=news/a", NULL), 401,
                      "no_credentials");
    client_is_refused(ask_as(fixture, NULL, "GET", "/events?topic=public/secret", NULL), 401,
                      "no_credentials");
    client_is_refused(ask_as(fixture, NULL, "GET", "/events?topic=public/x&anonymous=no", NULL),
                      401, "no_credentials");
    client_is_refused(ask_as(fixture, NULL, "GET", "/events?anonymous=maybe", NULL), 400,
                      "invalid_anonymous");
    assert_int_equal(ask_as(fixture, NULL, "GET", "/events?topic=public/x", NULL)->status, 200);
    assert_int_equal(fixture_stat(fixture, STATS_REQUESTS_FORBIDDEN), ROWS(targets) + 3);
    assert_int_equal(fixture_stat(fixture, STATS_REQUESTS_UNAUTHORIZED), 3);
    fixture_free(fixture);
}

/* Within the leeway a request is still served, and a stream would end at once. */
static void a_stream_is_not_opened_past_the_end_of_its_token(void **state)
{
    struct fixture *fixture = fixture_new(ON);
    char claims[160];

    (void)state;
    snprintf(claims, sizeof(claims),
             "{\"exp\":%lld,\"bugle\":{\"publish\":[\"**\"],\"subscribe\":[\"**\"]}}",
             (long long)time(NULL) - 1);
    assert_int_equal(ask_as(fixture, claims, "POST", "/api/push", EVENT)->status, 201);
    struct client *client = ask_as(fixture, claims, "GET", "/events", NULL);
    client_is_refused(client, 401, "invalid_token");
    assert_true(client_has(client, "expired"));
    fixture_free(fixture);
}

/* ---- publishing ---- */

static void each_event_is_held_against_the_rights(void **state)
{
    static const struct {
        const char *body, *pointer;
    } cases[] = {
        {"{\"data\":\"x\",\"topic\":\"secret\"}", "/topic"},
        {"{\"data\":\"x\",\"topics\":[\"a\",\"secret\"]}", "/topics"},
        {"{\"data\":\"x\"}", NULL},
        {"{\"data\":\"x\",\"user\":\"anna\"}", NULL},
        {"[{\"data\":\"x\",\"topic\":\"a\"},{\"data\":\"y\",\"topic\":\"b\"}]", "/1/topic"},
        {"[{\"data\":\"x\",\"topic\":\"a\"},{\"data\":\"y\"}]", "/1"},
    };
    struct fixture *fixture = fixture_new(ON);

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct client *client = ask_as(fixture, WRITER, "POST", "/api/push", cases[i].body);
        client_is_refused(client, 403, "missing_right");
        assert_challenge(client, "scope=\"publish\"");
        json_t *json = client_json(client);
        const char *pointer = json_string_value(json_object_get(json, "pointer"));
        if (cases[i].pointer != NULL)
            assert_string_equal(pointer, cases[i].pointer);
        else
            assert_null(pointer);
        json_decref(json);
    }
    assert_int_equal(hub_committed(fixture->hub), 0); /* all or nothing */
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_REFUSED), ROWS(cases));
    assert_int_equal(ask_as(fixture, WRITER, "POST", "/api/push",
                            "{\"data\":\"x\",\"topics\":[\"a\",\"orders/1\"]}")
                         ->status,
                     201);
    assert_int_equal(ask_as(fixture, "{\"bugle\":{\"publish\":[\"**\"]}}", "POST", "/api/push",
                            "{\"data\":\"x\"}")
                         ->status,
                     201);
    fixture_free(fixture);
}

/* ---- tickets ---- */

static char *ticket_of(struct fixture *fixture, const char *claims, const char *wish)
{
    struct client *client = ask_as(fixture, claims, "POST", "/api/tickets", wish);

    assert_int_equal(client->status, 201);
    json_t *json = client_json(client);
    char *ticket = strdup(json_string_value(json_object_get(json, "ticket")));

    json_decref(json);
    return ticket;
}

static struct client *use(struct fixture *fixture, const char *ticket, const char *headers)
{
    char target[2048];

    snprintf(target, sizeof(target), "/events?ticket=%s", ticket);
    return client_ask(fixture, "GET", target, headers, NULL);
}

/* Header with the position at which this stream stands. */
static const char *place_of(const struct client *stream)
{
    static char line[64];
    const char *id = strstr(stream->body, "id: ");

    assert_non_null(id);
    snprintf(line, sizeof(line), "Last-Event-ID: %.29s\n", id + 4);
    return line;
}

static void a_ticket_opens_one_stream(void **state)
{
    struct fixture *fixture = fixture_new(ON);
    char *ticket = ticket_of(fixture, ADMIN, "{\"user\":\"anna\",\"topics\":[\"orders/*\"]}");

    (void)state;
    struct client *first = use(fixture, ticket, "");
    assert_int_equal(first->status, 200);
    assert_string_equal(client_header(first, "Referrer-Policy"), "no-referrer");
    char *stream = only_stream(fixture);
    assert_string_equal(stream, "[\"anna\",[\"orders/*\"]]");
    free(stream);
    client_is_refused(use(fixture, ticket, ""), 401, "invalid_token");
    client_is_refused(use(fixture, ticket, "Last-Event-ID: nonsense\n"), 401, "invalid_token");
    struct client *second = use(fixture, ticket, place_of(first)); /* takes over */
    assert_int_equal(second->status, 200);
    client_wait(first);
    assert_true(client_is_closed(first));
    assert_int_equal(fixture_stat(fixture, STATS_REQUESTS_UNAUTHORIZED), 2);
    free(ticket);
    fixture_free(fixture);
}

static void a_ticket_that_is_none_is_refused(void **state)
{
    struct fixture *fixture = fixture_new(ON), *other;
    char *ticket = ticket_of(fixture, ADMIN, "{\"user\":\"anna\"}");
    size_t n = strlen(ticket);

    (void)state;
    client_is_refused(use(fixture, "", ""), 401, "invalid_token");
    client_is_refused(use(fixture, "x", ""), 401, "invalid_token");
    ticket[n / 2] = ticket[n / 2] == 'A' ? 'B' : 'A';
    client_is_refused(use(fixture, ticket, ""), 401, "invalid_token");
    free(ticket);
    ticket = ticket_of(fixture, ADMIN, "{\"user\":\"anna\"}");
    char lines[4096];
    snprintf(lines, sizeof(lines), "Authorization: Bearer %s\n", ticket); /* for streams only */
    client_is_refused(client_ask(fixture, "GET", "/api/stats", lines, NULL), 401, "invalid_token");
    fixture_free(fixture);

    other = fixture_new(ON "auth.jwt_key=HS256:another-secret-of-at-least-32-bytes");
    client_is_refused(use(other, ticket, ""), 401, "invalid_token"); /* its key is gone */
    free(ticket);
    fixture_free(other);
}

static void a_ticket_for_what_is_public_ends_with_that(void **state)
{
    struct fixture *fixture = fixture_new(ON "auth.anonymous=public/**");
    char *ticket = ticket_of(fixture, NOBODY, "{\"topics\":[\"public/a\"]}");

    (void)state;
    assert_int_equal(use(fixture, ticket, "")->status, 200);
    char *stream = only_stream(fixture);
    assert_string_equal(stream, "[\"anna\",[\"public/**\",\"public/a\"]]");
    free(stream);
    fixture_free(fixture);
    fixture = fixture_new(ON);
    client_is_refused(use(fixture, ticket, ""), 401, "invalid_token");
    free(ticket);
    fixture_free(fixture);
}

static void the_ticket_right_is_for_any_user_and_own_topics(void **state)
{
    static const char *const who = "{\"bugle\":{\"ticket\":true,\"subscribe\":[\"news/*\"]}}";
    struct fixture *fixture = fixture_new(ON);

    (void)state;
    char *ticket = ticket_of(fixture, who, "{\"topics\":[\"news/a\"],\"user\":\"bob\"}");
    assert_int_equal(use(fixture, ticket, "")->status, 200);
    free(ticket);
    client_is_refused(ask_as(fixture, who, "POST", "/api/tickets", "{\"topics\":[\"orders/1\"]}"),
                      403, "missing_right");
    client_is_refused(ask_as(fixture, who, "GET", "/api/stats", NULL), 403, "missing_right");
    client_is_refused(ask_as(fixture, "{\"bugle\":{\"ticket\":1}}", "GET", "/api/history", NULL),
                      401, "invalid_token");
    fixture_free(fixture);
}

static void a_history_is_read_as_a_stream_would_be(void **state)
{
    static const char *const refused[] = {"?topic=orders/1", "?topic=**", "?user=bob",
                                          "?topic=news/a&topic=orders/1", "?topic=*/a"};
    struct fixture *fixture = fixture_new(ON);

    (void)state;
    client_is_refused(ask_as(fixture, NULL, "GET", "/api/history", NULL), 401, "no_credentials");
    for (size_t i = 0; i < ROWS(refused); i++) {
        char target[64];

        snprintf(target, sizeof(target), "/api/history%s", refused[i]);
        struct client *client = ask_as(fixture, READER, "GET", target, NULL);
        assert_int_equal(client->status, 403);
        assert_int_equal(ask_as(fixture, ADMIN, "GET", target, NULL)->status, 200);
    }
    assert_int_equal(fixture_stat(fixture, STATS_REQUESTS_FORBIDDEN), ROWS(refused));
    assert_int_equal(ask_as(fixture, READER, "GET", "/api/history", NULL)->status, 200);
    assert_int_equal(
        ask_as(fixture, READER, "GET", "/api/history?topic=news/a&user=anna&last=5", NULL)->status,
        200);
    fixture_free(fixture);
}

static void who_is_no_admin_gets_tickets_for_itself(void **state)
{
    static const char *const wishes[] = {"{\"user\":\"bob\"}", "{\"topics\":[\"orders/1\"]}",
                                         "{\"topics\":[\"news/a\",\"**\"]}"};
    struct fixture *fixture = fixture_new(ON);

    (void)state;
    for (size_t i = 0; i < ROWS(wishes); i++)
        client_is_refused(ask_as(fixture, READER, "POST", "/api/tickets", wishes[i]), 403,
                          "missing_right");
    char *ticket = ticket_of(fixture, READER, "{\"topics\":[\"news/a\"],\"user\":\"anna\"}");
    assert_int_equal(use(fixture, ticket, "")->status, 200);
    free(ticket);
    fixture_free(fixture);
}

static void tickets_in_use_have_limits(void **state)
{
    static const struct {
        const char *settings, *code;
        unsigned status;
    } cases[] = {
        {ON "limits.tickets_per_user=1", "too_many_tickets_of_user", 429},
        {ON "limits.tickets_per_key=1", "too_many_tickets_of_key", 429},
        {ON "limits.tickets=1", "too_many_tickets", 503},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct fixture *fixture = fixture_new(cases[i].settings);
        char *first = ticket_of(fixture, ADMIN, "{\"user\":\"anna\"}");
        char *second = ticket_of(fixture, ADMIN, "{\"user\":\"anna\"}");

        assert_int_equal(use(fixture, first, "")->status, 200);
        struct client *client = use(fixture, second, "");
        client_is_refused(client, cases[i].status, cases[i].code);
        assert_true(atoi(client_header(client, "Retry-After")) > 0);
        client = use(fixture, second, "Accept: text/event-stream\n");
        assert_int_equal(client->status, 200);
        assert_memory_equal(client->body, "retry: ", 7);
        assert_int_equal(fixture_stat(fixture, STATS_TICKETS_REFUSED), 2);
        assert_int_equal(fixture->shared.streams_n, 1); /* its place was given back */
        free(first);
        free(second);
        fixture_free(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(health_and_pages_need_nothing),
        cmocka_unit_test(without_a_credential_all_else_is_closed),
        cmocka_unit_test(each_path_needs_its_right),
        cmocka_unit_test(without_auth_nobody_is_asked),
        cmocka_unit_test(a_bad_token_is_told_why),
        cmocka_unit_test(a_token_may_stand_in_any_case_and_with_blanks),
        cmocka_unit_test(what_is_for_a_proxy_counts_only_alone),
        cmocka_unit_test(the_header_counts_before_query_and_cookie),
        cmocka_unit_test(tokens_in_the_url_are_for_streams_and_only_if_allowed),
        cmocka_unit_test(a_cookie_counts_for_listed_pages),
        cmocka_unit_test(a_change_by_cookie_says_which_page_asks),
        cmocka_unit_test(a_cookie_that_is_empty_or_doubled_is_no_good),
        cmocka_unit_test(who_forges_tokens_is_put_off),
        cmocka_unit_test(a_stream_gets_what_its_caller_may_read),
        cmocka_unit_test(a_stream_gets_nothing_else),
        cmocka_unit_test(a_stream_is_not_opened_past_the_end_of_its_token),
        cmocka_unit_test(each_event_is_held_against_the_rights),
        cmocka_unit_test(a_ticket_opens_one_stream),
        cmocka_unit_test(a_ticket_that_is_none_is_refused),
        cmocka_unit_test(a_ticket_for_what_is_public_ends_with_that),
        cmocka_unit_test(the_ticket_right_is_for_any_user_and_own_topics),
        cmocka_unit_test(a_history_is_read_as_a_stream_would_be),
        cmocka_unit_test(who_is_no_admin_gets_tickets_for_itself),
        cmocka_unit_test(tickets_in_use_have_limits),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
