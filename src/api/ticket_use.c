/* SPDX-License-Identifier: MIT */
/* Tickets of streams.  See ticket_use.h. */
#include "config.h"
#include "api/ticket_use.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/access_read.h"
#include "api/challenge.h"
#include "auth/auth.h"
#include "auth/ticket.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/service.h"

static bool ticket_use_set_identity(struct request *request, const struct ticket *ticket)
{
    struct grants_pattern own[TICKET_TOPICS_MAX], public_topics[TICKET_TOPICS_MAX];
    struct identity_draft draft = {
        .kind = IDENTITY_TICKET,
        .until_ms = ticket->until_ms,
        .user = ticket->user,
        .subscribe = {own, 0},
        .public_topics = {public_topics, 0},
        .claims = ticket->claims,
    };

    for (size_t i = 0; i < ticket->topics.patterns_n; i++)
        if (ticket->public_topics & 1U << i)
            public_topics[draft.public_topics.patterns_n++] = ticket->topics.patterns[i];
        else
            own[draft.subscribe.patterns_n++] = ticket->topics.patterns[i];
    memcpy(draft.key_fingerprint, ticket->key_fingerprint, IDENTITY_FINGERPRINT_BYTES);
    request->identity = identity_new(&draft);
    request->ticket = malloc(sizeof(*ticket));
    if (request->identity == NULL || request->ticket == NULL)
        return false;
    *request->ticket = *ticket; /* its names are in a buffer of the caller */
    request->ticket->user = request->identity->user;
    request->ticket->topics = (struct grants_list){NULL, 0};
    return true;
}

/* Whether everybody may still read what the ticket's owner could read no other way. */
static bool public_topics_are_public(const struct conf *conf, const struct identity *identity)
{
    for (size_t i = 0; i < identity->public_topics.patterns_n; i++)
        if (!access_read_public(conf, identity->public_topics.patterns[i].bytes,
                                identity->public_topics.patterns[i].bytes_n))
            return false;
    return true;
}

const struct ticket_keys *ticket_use_keys(const struct service *service)
{
    const struct ticket_keys *keys = auth_ticket_keys(service->auth);

    return keys != NULL ? keys : &service->shared->own_ticket_keys;
}

bool ticket_use_identify(struct request *request, const char *text, size_t text_n,
                         struct problem *ret_problem)
{
    struct ticket_room room;
    struct ticket ticket;
    int result = ticket_keys_open(ticket_use_keys(request->service), text, text_n, &room, &ticket);

    if (result == -EBADMSG)
        return challenge_bad_credential(ret_problem, "This gateway did not make the ticket.");
    if (result != 0 || !ticket_use_set_identity(request, &ticket))
        return problem_set_out_of_memory(ret_problem);
    if (!auth_key_is_current(request->service->auth, request->service->context->conf,
                             request->identity))
        return challenge_bad_credential(
            ret_problem, "The key that the ticket was made with is no longer accepted.");
    if (!public_topics_are_public(request->service->context->conf, request->identity))
        return challenge_bad_credential(ret_problem,
                                        "The ticket is for topics that are no longer public.");
    return true;
}

/* A stream on its way to its end, which its own worker brings about. */
struct ending {
    struct service *service;
    uint64_t stream_id;
};

/* A client can use its ticket as fast as it likes. */
static void ticket_use_log_replaced(const struct ending *ending)
{
    char more[LOG_SKIPPED_BYTES];
    unsigned long skipped;

    if (log_valve_open(&ending->service->ticket_valve, &skipped))
        log_info("stream %016llx ended: its ticket opened another stream%s",
                 (unsigned long long)ending->stream_id, log_skipped(more, skipped));
}

static void ticket_use_run_ending(void *arg)
{
    struct ending *ending = arg;
    struct stream *stream = streams_find(ending->service->streams, ending->stream_id);

    if (stream != NULL) {
        ticket_use_log_replaced(ending);
        stream_end(stream, STREAM_END_REPLACED);
    }
    free(ending);
}

static void ticket_use_end_older(const struct request *request, uint64_t stream_id)
{
    const struct service_shared *shared = request->service->shared;
    struct ending *ending = malloc(sizeof(*ending));

    if (ending == NULL)
        log_abort_without_memory("tickets"); /* else one ticket would have two streams */
    ending->service = &shared->services[streams_worker_of(stream_id)];
    ending->stream_id = stream_id;
    if (worker_post(ending->service->worker, ticket_use_run_ending, ending) != 0)
        log_abort_without_memory("tickets");
}

static bool ticket_use_refuse(struct problem *problem, enum ticket_table_verdict verdict)
{
    switch (verdict) {
    case TICKET_TABLE_GOOD:
        return true;
    case TICKET_TABLE_LATE:
        return challenge_bad_credential(problem,
                                        "The ticket was not used in time, or has expired.");
    case TICKET_TABLE_USED:
        return challenge_bad_credential(
            problem, "The ticket was used before, and the Last-Event-ID is not one of its stream.");
    case TICKET_TABLE_REVOKED:
        return challenge_bad_credential(problem, "The ticket was taken over too often.");
    case TICKET_TABLE_USER_FULL:
        return problem_set(problem, 429, "too_many_tickets_of_user",
                           "This user has as many tickets in use as limits.tickets_per_user "
                           "allows.");
    case TICKET_TABLE_KEY_FULL:
        return problem_set(
            problem, 429, "too_many_tickets_of_key",
            "As many tickets made with this key are in use as limits.tickets_per_key allows.");
    case TICKET_TABLE_FULL:
        return problem_set(problem, 503, "too_many_tickets",
                           "More tickets are in use than limits.tickets allows.");
    }
    return false;
}

static void ticket_use_count(const struct request *request, const struct problem *problem,
                             const struct ticket_table_answer *answer)
{
    struct stats *stats = request->service->context->stats;

    stats_add(stats, STATS_TICKETS_FORGOTTEN, answer->forgotten_n);
    if (problem == NULL)
        return;
    challenge_count(stats, problem);
    stats_add(stats, STATS_TICKETS_REFUSED, problem->status != 401);
}

static bool ticket_use_read_position(const struct request *request,
                                     const struct stream_start *start, uint64_t *ret_position)
{
    const struct hub *hub = request->service->shared->hub;
    const char *epoch;
    uint64_t end;

    return start->from == STREAM_FROM_ID &&
           sse_parse_id(start->id, start->id_n, &epoch, ret_position) &&
           lineage_find(history_lineage(hub_history(hub)), epoch, &end) && *ret_position <= end;
}

bool ticket_use_begin(struct request *request, const struct stream_start *start,
                      struct problem *ret_problem)
{
    struct service_shared *shared = request->service->shared;
    const struct conf *conf = request->service->context->conf;
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
    use.has_id = ticket_use_read_position(request, start, &use.position);
    enum ticket_table_verdict verdict =
        ticket_table_enter(shared->ticket_table, request->ticket, &use, &answer);
    bool good = ticket_use_refuse(ret_problem, verdict);
    if (answer.older != 0)
        ticket_use_end_older(request, answer.older);
    ticket_use_count(request, good ? NULL : ret_problem, &answer);
    if (!good && ret_problem->status != 401)
        ret_problem->retry_after_s = (unsigned)((answer.wait_ms + 999) / 1000);
    return good;
}

static struct stream_facts ticket_use_facts(const struct stream *stream)
{
    struct stream_facts facts;

    stream_get_facts(stream, clock_mono_ms(), &facts);
    return facts;
}

void ticket_use_opened(const struct service_shared *shared, const struct ticket *ticket,
                       const struct stream *stream)
{
    if (ticket == NULL)
        return;
    struct stream_facts facts = ticket_use_facts(stream);
    ticket_table_opened(shared->ticket_table, ticket->id, facts.id, facts.position);
}

void ticket_use_failed(const struct service_shared *shared, const struct ticket *ticket)
{
    if (ticket != NULL)
        ticket_table_failed(shared->ticket_table, ticket->id, clock_wall_ms());
}

void ticket_use_closed(const struct service_shared *shared, const struct ticket *ticket,
                       const struct stream *stream)
{
    if (ticket == NULL)
        return;
    struct stream_facts facts = ticket_use_facts(stream);
    ticket_table_closed(shared->ticket_table, ticket->id, facts.id, facts.position,
                        clock_wall_ms());
}
