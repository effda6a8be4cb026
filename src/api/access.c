/* SPDX-License-Identifier: MIT */
/* Who asks, and whether they may.  See access.h. */
#include "config.h"
#include "api/access.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/access_read.h"
#include "api/subscribe.h"
#include "auth/auth.h"
#include "auth/ticket.h"
#include "base/clock.h"
#include "base/log.h"
#include "event/topic.h"
#include "http/client_address.h"
#include "http/respond.h"
#include "http/service.h"
#include "wire/cookie.h"

#define SHOWN_BYTES 200

static const struct conf *conf_of(const struct request *request)
{
    return request->service->context->conf;
}

static bool is_on(const struct request *request)
{
    return conf_of(request)->auth.mode == CONF_AUTH_TOKEN;
}

/* ---- problems ---- */

#define CHALLENGE "Bearer realm=\"bugle\""

static bool no_credentials(struct problem *problem)
{
    problem_set(problem, 401, "no_credentials",
                "This needs a token or a key: Authorization: Bearer ...");
    strcpy(problem->challenge, CHALLENGE);
    return false;
}

static bool bad_credentials(struct problem *problem, const char *sentence)
{
    problem_set(problem, 401, "invalid_token", "%s", sentence);
    snprintf(problem->challenge, sizeof(problem->challenge),
             CHALLENGE ", error=\"invalid_token\", error_description=\"%s\"", sentence);
    return false;
}

static bool no_right(struct problem *problem, const char *right)
{
    problem_set(problem, 403, "missing_right", "This needs the %s right.", right);
    snprintf(problem->challenge, sizeof(problem->challenge),
             CHALLENGE ", error=\"insufficient_scope\", scope=\"%s\"", right);
    return false;
}

/* The same for a topic that is there and one that is not: nobody looks. */
static bool no_right_to(struct problem *problem, const char *right, const char *topic,
                        size_t topic_n)
{
    char shown[SHOWN_BYTES];

    no_right(problem, right);
    log_visible(shown, sizeof(shown), topic, topic_n);
    snprintf(problem->detail, sizeof(problem->detail), "This needs a %s right that covers \"%s\".",
             right, shown);
    return false;
}

/* ---- credentials ---- */

struct credential {
    const char *text; /* NULL: none */
    size_t text_n;
    const char *wrong; /* why what is there cannot be one; NULL: it can */
    enum identity_way way;
    bool is_for_a_proxy; /* `wrong`, but any other counts before it */
};

static bool is_there(const struct credential *credential)
{
    return credential->text != NULL || credential->wrong != NULL;
}

/* Schemes that a proxy in front asks browsers for, which then send it with everything. */
static bool is_for_a_proxy(const char *header)
{
    static const char *const schemes[] = {"Basic ", "Digest ", "Negotiate ", "NTLM "};

    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
        if (strncasecmp(header, schemes[i], strlen(schemes[i])) == 0)
            return true;
    return false;
}

static struct credential from_header(const struct request *request)
{
    const char *header = request->fields[REQUEST_AUTHORIZATION];
    struct credential credential = {.way = IDENTITY_BY_HEADER};

    if (header == NULL)
        return credential;
    if (strncasecmp(header, "Bearer ", 7) != 0) {
        credential.is_for_a_proxy = is_for_a_proxy(header);
        credential.wrong =
            credential.is_for_a_proxy
                ? "Authorization must be Bearer and a token or key; a proxy in front "
                  "has to keep what is for itself."
                : "Authorization must be Bearer and a token or key.";
        return credential;
    }
    credential.text = header + 7 + strspn(header + 7, " ");
    credential.text_n = strlen(credential.text);
    return credential;
}

static struct credential from_query(struct request *request)
{
    struct credential credential = {.way = IDENTITY_BY_TICKET};

    if (strcmp(request->path, "/events") != 0)
        return credential;
    credential.text = request_query(request, "ticket", &credential.text_n);
    if (credential.text == NULL) {
        credential.way = IDENTITY_BY_QUERY;
        credential.text = request_query(request, "access_token", &credential.text_n);
        if (credential.text != NULL && !conf_of(request)->auth.query_token)
            credential.wrong = "Tokens in the URL are not taken: auth.query_token is off.";
    }
    request->has_secret_url = credential.text != NULL;
    return credential;
}

static void see_cookies(void *arg, const char *value)
{
    cookie_look(arg, value, strlen(value));
}

/* Two cookies of one name come from two places, and nobody says which is which. */
static struct credential from_cookie(const struct request *request)
{
    struct cookie cookie = {.name = conf_of(request)->auth.cookie};
    struct credential credential = {.way = request->origin != NULL ? IDENTITY_BY_COOKIE_OF_PAGE
                                                                   : IDENTITY_BY_COOKIE};

    if (cookie.name[0] == '\0')
        return credential;
    request_each_header(request, MHD_HTTP_HEADER_COOKIE, see_cookies, &cookie);
    credential.text = cookie.value;
    credential.text_n = cookie.value_n;
    if (cookie.n > 1)
        credential.wrong = "The cookie with the token is there more than once.";
    else if (cookie.n == 1 && cookie.value_n == 0)
        credential.wrong = "The cookie with the token is empty: have it deleted instead.";
    return credential;
}

static struct credential find_credential(struct request *request)
{
    struct credential first = from_header(request);

    if (is_there(&first) && !first.is_for_a_proxy)
        return first;
    struct credential other = from_query(request);
    if (!is_there(&other))
        other = from_cookie(request);
    return is_there(&other) ? other : first;
}

static bool is_cookie(const struct credential *credential)
{
    return credential->way == IDENTITY_BY_COOKIE || credential->way == IDENTITY_BY_COOKIE_OF_PAGE;
}

/* A browser adds cookies to whatever a page of another site asks for, so they count only for pages
 * that are listed, and a change must say which page asks for it. */
static bool cookie_counts(const struct request *request, const char *method)
{
    bool changes = strcmp(method, "POST") == 0 || strcmp(method, "DELETE") == 0;

    if (changes)
        return request->origin_verdict == ORIGIN_LISTED;
    return request->origin_verdict != ORIGIN_FOREIGN;
}

static bool take_ticket(struct request *request, const struct ticket *ticket)
{
    struct grants_pattern own[TICKET_TOPICS_MAX], wishes[TICKET_TOPICS_MAX];
    struct identity_draft draft = {
        .kind = IDENTITY_TICKET,
        .until_ms = ticket->until_ms,
        .user = ticket->user,
        .subscribe = {own, 0},
        .wishes = {wishes, 0},
        .claims = ticket->claims,
    };

    for (size_t i = 0; i < ticket->topics.patterns_n; i++)
        if (ticket->public_topics & 1U << i)
            wishes[draft.wishes.patterns_n++] = ticket->topics.patterns[i];
        else
            own[draft.subscribe.patterns_n++] = ticket->topics.patterns[i];
    memcpy(draft.key_fingerprint, ticket->key_fingerprint, IDENTITY_MARK_BYTES);
    request->identity = identity_new(&draft);
    request->ticket = malloc(sizeof(*ticket));
    if (request->identity == NULL || request->ticket == NULL)
        return false;
    *request->ticket = *ticket; /* whose names are in a room of our caller's */
    request->ticket->user = request->identity->user;
    request->ticket->topics = (struct grants_list){NULL, 0};
    return true;
}

/* Whether everybody may still read what the ticket's owner could read no other way. */
static bool wishes_are_public(const struct conf *conf, const struct identity *identity)
{
    for (size_t i = 0; i < identity->wishes.patterns_n; i++)
        if (!access_read_public(conf, identity->wishes.patterns[i].bytes,
                                identity->wishes.patterns[i].bytes_n))
            return false;
    return true;
}

/* Whether it may be used just now is asked later: access_use_ticket(). */
static bool identify_ticket(struct request *request, const struct credential *credential,
                            struct problem *ret_problem)
{
    const struct ticket_table *tickets = request->service->shared->tickets;
    struct ticket_room room;
    struct ticket ticket;
    int result = ticket_open(credential->text, credential->text_n, ticket_table_key(tickets), &room,
                             &ticket);

    if (result == -EBADMSG)
        return bad_credentials(ret_problem, "The ticket is none of this gateway.");
    if (result != 0 || !take_ticket(request, &ticket))
        return problem_set(ret_problem, 503, "out_of_memory", "The gateway is out of memory.");
    if (!auth_key_is_current(request->service->auth, conf_of(request), request->identity))
        return bad_credentials(ret_problem, "The key that vouched for the ticket is gone.");
    if (!wishes_are_public(conf_of(request), request->identity))
        return bad_credentials(ret_problem, "The ticket is for topics that are public no more.");
    return true;
}

static bool put_off(struct problem *problem)
{
    problem_set(problem, 429, "too_many_forged_tokens", "The token %s; show it again.",
                jwt_error_text(JWT_PUT_OFF));
    problem->retry_after_s = AUTH_RETRY_S;
    return false;
}

static bool identify(struct request *request, const struct credential *credential,
                     struct problem *ret_problem)
{
    request->way = credential->way;
    if (credential->way == IDENTITY_BY_TICKET)
        return identify_ticket(request, credential, ret_problem);
    char sentence[120];
    struct peer client;
    struct auth_shown shown = {.text = credential->text,
                               .text_n = credential->text_n,
                               .client = &client,
                               .wall_ms = clock_wall_ms(),
                               .mono_ms = clock_mono_ms()};

    client_address_of(request, &client);
    enum jwt_error error =
        auth_identify(request->service->auth, conf_of(request), &shown, &request->identity);
    if (error == JWT_OK)
        return true;
    if (error == JWT_PUT_OFF)
        return put_off(ret_problem);
    if (error == JWT_UNKNOWN_KEY && request->service->shared->jwks != NULL)
        jwks_wish(request->service->shared->jwks);
    if (error == JWT_NO_MEMORY)
        return problem_set(ret_problem, 503, "out_of_memory", "The gateway is out of memory.");
    snprintf(sentence, sizeof(sentence), "The token %s.", jwt_error_text(error));
    return bad_credentials(ret_problem, sentence);
}

/* ---- routes ---- */

enum need { NEED_NOTHING, NEED_ANYBODY, NEED_READ, NEED_PUBLISH, NEED_ADMIN };

/* What a path needs.  Paths that are no page need the admin right unless they are named here, so
 * one that is forgotten is closed and not open. */
static enum need need_of(const char *path)
{
    if (strcmp(path, "/events") == 0)
        return NEED_READ;
    if (strcmp(path, "/api/push") == 0)
        return NEED_PUBLISH;
    if (strcmp(path, "/api/tickets") == 0)
        return NEED_ANYBODY;
    if (strncmp(path, "/api/", 5) == 0 || strcmp(path, "/metrics") == 0)
        return NEED_ADMIN;
    return NEED_NOTHING;
}

/* A stream is not opened past the end of its token, not even within the leeway: it would end at
 * once, and its client would try again and again. */
static bool stream_may_open(const struct request *request, struct problem *ret_problem)
{
    if (request->identity != NULL && request->identity->until_ms <= clock_wall_ms())
        return bad_credentials(ret_problem, "The token has expired.");
    return true;
}

/* Whether a stream may be nobody's: what the settings allow, unless its client wants to know that
 * its login is over. */
static bool may_be_nobodys(const struct request *request, struct problem *ret_problem)
{
    bool anonymous;

    if (!query_params_read_anonymous(request, &anonymous, ret_problem))
        return false;
    return (anonymous && conf_of(request)->auth.anonymous.items_n > 0) ||
           no_credentials(ret_problem);
}

static bool has_need(const struct request *request, enum need need, struct problem *ret_problem)
{
    const struct identity *identity = request->identity;

    if (need == NEED_READ && identity == NULL)
        return may_be_nobodys(request, ret_problem);
    if (identity == NULL)
        return no_credentials(ret_problem);
    if (need == NEED_ANYBODY)
        return true;
    if (need == NEED_READ)
        return stream_may_open(request, ret_problem);
    if (need == NEED_PUBLISH)
        return identity->publish.patterns_n > 0 || no_right(ret_problem, "publish");
    return identity->admin || no_right(ret_problem, "admin");
}

static bool judge(struct request *request, const char *method, enum need need,
                  struct problem *ret_problem)
{
    struct credential credential = find_credential(request);

    if (credential.wrong != NULL)
        return bad_credentials(ret_problem, credential.wrong);
    if (credential.text != NULL && is_cookie(&credential) && !cookie_counts(request, method))
        return problem_set(ret_problem, 403, "foreign_origin",
                           "A cookie counts only for pages of a listed origin; auth.origins lists "
                           "them.");
    if (credential.text != NULL && !identify(request, &credential, ret_problem))
        return false;
    return has_need(request, need, ret_problem);
}

static int refuse(struct request *request, struct problem *problem)
{
    struct stats *stats = request->service->context->stats;

    if ((problem->status == 429 || problem->status == 503) && strcmp(request->path, "/events") == 0)
        return subscribe_refuse(request, problem);
    if (problem->status == 401)
        stats_add(stats, STATS_REQUESTS_UNAUTHORIZED, 1);
    else if (problem->status == 403)
        stats_add(stats, STATS_REQUESTS_FORBIDDEN, 1);
    return respond_problem(request, problem);
}

int access_check(struct request *request, const char *method)
{
    enum need need = need_of(request->path);
    struct problem problem;

    if (!is_on(request) || need == NEED_NOTHING)
        return -1;
    return judge(request, method, need, &problem) ? -1 : refuse(request, &problem);
}

/* ---- streams ---- */

static bool may_read(const struct request *request, const char *wanted, size_t wanted_n)
{
    return access_read_may(conf_of(request), request->identity, wanted, wanted_n);
}

static bool same_user(const struct request *request, const struct message_name *user)
{
    const struct identity *identity = request->identity;

    return identity != NULL && identity->user.bytes != NULL &&
           identity->user.bytes_n == user->bytes_n &&
           memcmp(identity->user.bytes, user->bytes, user->bytes_n) == 0;
}

static void add_topic(struct query_params_names *names, const char *bytes, size_t bytes_n)
{
    if (names->topics_n < QUERY_PARAMS_TOPICS_ROOM)
        names->topics[names->topics_n++] =
            (struct message_name){.bytes = bytes, .bytes_n = bytes_n};
}

static void add_topics(struct query_params_names *names, const struct grants_list *list)
{
    for (size_t i = 0; i < list->patterns_n; i++)
        add_topic(names, list->patterns[i].bytes, list->patterns[i].bytes_n);
}

/* All that the caller may read.  Without patterns a filter would accept everything, so who may read
 * no topic gets a pattern that no topic matches. */
static void ask_for_all(const struct request *request, struct query_params_names *names)
{
    const struct conf_list *list = &conf_of(request)->auth.anonymous;
    const struct identity *identity = request->identity;

    if (may_read(request, "**", 2))
        return;
    for (size_t i = 0; i < list->items_n; i++)
        if (access_read_public(conf_of(request), list->items[i], strlen(list->items[i])))
            add_topic(names, list->items[i], strlen(list->items[i]));
    if (identity != NULL) {
        add_topics(names, &identity->subscribe);
        add_topics(names, &identity->wishes);
    }
    if (names->topics_n == 0)
        add_topic(names, ACCESS_READ_NO_TOPIC, strlen(ACCESS_READ_NO_TOPIC));
}

static bool check_topics(const struct request *request, const struct query_params_names *names,
                         struct problem *ret_problem)
{
    for (size_t i = 0; i < names->topics_n; i++) {
        const struct message_name *topic = &names->topics[i];

        if (may_read(request, topic->bytes, topic->bytes_n))
            continue;
        if (request->identity == NULL)
            return no_credentials(ret_problem);
        return no_right_to(ret_problem, "subscribe", topic->bytes, topic->bytes_n);
    }
    return true;
}

static void count_refusal(const struct request *request, const struct problem *problem)
{
    stats_add(request->service->context->stats,
              problem->status == 401 ? STATS_REQUESTS_UNAUTHORIZED : STATS_REQUESTS_FORBIDDEN, 1);
}

bool access_narrow(struct request *request, struct query_params_names *names,
                   struct problem *ret_problem)
{
    const struct identity *identity = request->identity;
    bool good;

    if (!is_on(request))
        return true;
    if (names->user.bytes != NULL && !same_user(request, &names->user))
        good = problem_set(ret_problem, 403, "foreign_user",
                           "The user of a stream is the sub of its token, and no other.");
    else
        good = check_topics(request, names, ret_problem);
    if (!good) {
        count_refusal(request, ret_problem);
        return false;
    }
    names->user = (struct message_name){.bytes = NULL};
    if (identity != NULL && identity->user.bytes != NULL)
        names->user =
            (struct message_name){.bytes = identity->user.bytes, .bytes_n = identity->user.bytes_n};
    if (names->topics_n == 0)
        ask_for_all(request, names);
    return true;
}

/* ---- publishing ---- */

static void point_at(struct problem *problem, const struct publish_body *body, size_t event,
                     const char *field)
{
    if (body->is_array)
        snprintf(problem->pointer, sizeof(problem->pointer), "/%zu%s", event, field);
    else
        snprintf(problem->pointer, sizeof(problem->pointer), "%s", field);
}

static bool may_publish_one(const struct identity *identity, const struct message *message,
                            struct problem *ret_problem)
{
    if (message->topics_n == 0 && !grants_cover_all(&identity->publish)) {
        no_right(ret_problem, "publish");
        snprintf(ret_problem->detail, sizeof(ret_problem->detail),
                 "The event has no topic%s: that needs the right to publish that covers \"**\".  "
                 "Name a topic that the caller may publish to.",
                 message->users_n > 0 ? "" : " and no user, so it is for every stream");
        return false;
    }
    for (size_t i = 0; i < message->topics_n; i++) {
        const struct message_name *topic = &message_topics(message)[i];

        if (!grants_cover(&identity->publish, topic->bytes, topic->bytes_n))
            return no_right_to(ret_problem, "publish", topic->bytes, topic->bytes_n);
    }
    return true;
}

bool access_may_publish(const struct request *request, const struct conf *conf,
                        const struct publish_body *body, struct problem *ret_problem)
{
    if (conf->auth.mode != CONF_AUTH_TOKEN)
        return true;
    for (size_t i = 0; i < body->messages_n; i++) {
        const struct message *message = body->messages[i];

        if (may_publish_one(request->identity, message, ret_problem))
            continue;
        point_at(ret_problem, body, i,
                 message->topics_n == 0   ? ""
                 : message->topics_n == 1 ? "/topic"
                                          : "/topics");
        return false;
    }
    return true;
}

/* ---- tickets ---- */

bool access_may_give(const struct request *request, struct grants_pattern *user,
                     const struct grants_pattern *topics, size_t topics_n, uint16_t *ret_public,
                     struct problem *ret_problem)
{
    const struct identity *identity = request->identity;

    *ret_public = 0;
    const struct message_name wanted = {.bytes = user->bytes, .bytes_n = user->bytes_n};

    if (identity->admin)
        return true;
    if (user->bytes == NULL)
        *user = identity->user;
    else if (!same_user(request, &wanted))
        return no_right(ret_problem, "admin");
    for (size_t i = 0; i < topics_n; i++) {
        if (grants_cover(&identity->subscribe, topics[i].bytes, topics[i].bytes_n))
            continue;
        if (!access_read_public(conf_of(request), topics[i].bytes, topics[i].bytes_n))
            return no_right_to(ret_problem, "subscribe", topics[i].bytes, topics[i].bytes_n);
        *ret_public |= (uint16_t)(1U << i);
    }
    return true;
}

/* A stream on its way to its end, which its own worker brings about. */
struct ending {
    struct service *service;
    uint64_t stream_id;
};

/* A client can use its ticket as fast as it likes. */
static void tell_replaced(const struct ending *ending)
{
    char more[LOG_SKIPPED_BYTES];
    unsigned long skipped;

    if (log_valve_open(&ending->service->ticket_valve, &skipped))
        log_info("stream %016llx ended: its ticket was used anew%s",
                 (unsigned long long)ending->stream_id, log_skipped(more, skipped));
}

static void end_older(void *arg)
{
    struct ending *ending = arg;
    struct stream *stream = streams_find(ending->service->streams, ending->stream_id);

    if (stream != NULL) {
        tell_replaced(ending);
        stream_end(stream, STREAM_END_REPLACED);
    }
    free(ending);
}

static void send_ending(const struct request *request, uint64_t stream_id)
{
    const struct service_shared *shared = request->service->shared;
    struct ending *ending = malloc(sizeof(*ending));

    if (ending == NULL)
        log_abort_without_memory("tickets"); /* else one ticket would have two streams */
    ending->service = &shared->services[streams_worker_of(stream_id)];
    ending->stream_id = stream_id;
    if (worker_post(ending->service->worker, end_older, ending) != 0)
        log_abort_without_memory("tickets");
}

static bool refuse_use(struct problem *problem, enum ticket_table_verdict verdict)
{
    switch (verdict) {
    case TICKET_TABLE_GOOD:
        return true;
    case TICKET_TABLE_LATE:
        return bad_credentials(problem, "The ticket was not used in time, or is over.");
    case TICKET_TABLE_USED:
        return bad_credentials(problem, "The ticket is used, and the position is not its own.");
    case TICKET_TABLE_REVOKED:
        return bad_credentials(problem, "The ticket was taken over too often.");
    case TICKET_TABLE_USER_FULL:
        return problem_set(problem, 429, "too_many_tickets_of_user",
                           "This user has as many tickets in use as limits.tickets_per_user "
                           "allows.");
    case TICKET_TABLE_KEY_FULL:
        return problem_set(problem, 429, "too_many_tickets_of_key",
                           "The key that vouches for this ticket does so for as many in use as "
                           "limits.tickets_per_key allows.");
    case TICKET_TABLE_FULL:
        return problem_set(problem, 503, "too_many_tickets",
                           "More tickets are in use than limits.tickets allows.");
    }
    return false;
}

static void count_use(const struct request *request, const struct problem *problem,
                      const struct ticket_table_answer *answer)
{
    struct stats *stats = request->service->context->stats;

    stats_add(stats, STATS_TICKETS_FORGOTTEN, answer->forgotten_n);
    if (problem == NULL)
        return;
    if (problem->status == 401)
        count_refusal(request, problem);
    else
        stats_add(stats, STATS_TICKETS_REFUSED, 1);
}

static bool read_position(const struct request *request, const struct stream_start *start,
                          uint64_t *ret_position)
{
    const struct hub *hub = request->service->shared->hub;
    const char *epoch;

    return start->from == STREAM_FROM_ID &&
           sse_parse_id(start->id, start->id_n, &epoch, ret_position) &&
           memcmp(epoch, hub_history(hub)->epoch, SSE_EPOCH_BYTES) == 0;
}

bool access_use_ticket(struct request *request, const struct stream_start *start,
                       struct problem *ret_problem)
{
    struct service_shared *shared = request->service->shared;
    const struct conf *conf = conf_of(request);
    const struct ticket_table_limits limits = {.all = conf->limits.tickets,
                                               .per_user = conf->limits.tickets_per_user,
                                               .per_key = conf->limits.tickets_per_key};
    struct ticket_table_use use = {
        .now_ms = clock_wall_ms(),
        .committed = hub_committed(shared->hub),
        .limits = &limits,
    };
    struct ticket_table_answer answer;

    if (request->ticket == NULL)
        return true;
    use.has_id = read_position(request, start, &use.position);
    enum ticket_table_verdict verdict =
        ticket_table_enter(shared->tickets, request->ticket, &use, &answer);
    bool good = refuse_use(ret_problem, verdict);
    if (answer.older != 0)
        send_ending(request, answer.older);
    count_use(request, good ? NULL : ret_problem, &answer);
    if (!good && ret_problem->status != 401)
        ret_problem->retry_after_s = (unsigned)((answer.wait_ms + 999) / 1000);
    return good;
}

static struct stream_facts facts_of(const struct request *request)
{
    struct stream_facts facts;

    stream_get_facts(request->stream, clock_mono_ms(), &facts);
    return facts;
}

void access_ticket_opened(const struct request *request)
{
    if (request->ticket == NULL)
        return;
    struct stream_facts facts = facts_of(request);
    ticket_table_opened(request->service->shared->tickets, request->ticket->id, facts.id,
                        facts.position);
}

void access_ticket_failed(const struct request *request)
{
    if (request->ticket != NULL)
        ticket_table_failed(request->service->shared->tickets, request->ticket->id,
                            clock_wall_ms());
}

void access_ticket_closed(const struct request *request)
{
    if (request->ticket == NULL)
        return;
    struct stream_facts facts = facts_of(request);
    ticket_table_closed(request->service->shared->tickets, request->ticket->id, facts.id,
                        facts.position, clock_wall_ms());
}
