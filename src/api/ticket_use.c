/* SPDX-License-Identifier: MIT */
/* Tickets of streams.  See ticket_use.h. */
#include "config.h"
#include "api/ticket_use.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/access_read.h"
#include "api/challenge.h"
#include "api/node_tickets.h"
#include "auth/auth.h"
#include "auth/ticket.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/service.h"

/* Without the log a client comes back after so long; what was lost by a failover is back by then.
 */
#define LOG_RETRY_MIN_S 4
#define LOG_RETRY_MORE_S 8

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

/* Whether what it was made with is still good. */
static bool ticket_use_is_current(const struct request *request, struct problem *ret_problem)
{
    if (!auth_key_is_current(request->service->auth, request->service->context->conf,
                             request->identity))
        return challenge_bad_credential(
            ret_problem, "The key that the ticket was made with is no longer accepted.");
    if (!public_topics_are_public(request->service->context->conf, request->identity))
        return challenge_bad_credential(ret_problem,
                                        "The ticket is for topics that are no longer public.");
    return true;
}

bool ticket_use_identify(struct request *request, const char *text, size_t text_n,
                         struct problem *ret_problem)
{
    struct ticket_room room;
    struct ticket ticket = {.mark = 0};
    int result = ticket_keys_open(ticket_use_keys(request->service), text, text_n, &room, &ticket);

    if (result == -EBADMSG)
        return challenge_bad_credential(ret_problem, "This gateway did not make the ticket.");
    if (result != 0 || !ticket_use_set_identity(request, &ticket))
        return problem_set_out_of_memory(ret_problem);
    return ticket_use_is_current(request, ret_problem);
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

void ticket_use_end_stream(const struct service_shared *shared, uint64_t stream_id)
{
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

/* Whether the verdict is good; else there is a problem, which is counted. */
static bool ticket_use_judge(struct request *request, enum ticket_table_verdict verdict,
                             const struct ticket_table_answer *answer, struct problem *ret_problem)
{
    bool good = ticket_use_refuse(ret_problem, verdict);

    ticket_use_count(request, good ? NULL : ret_problem, answer);
    if (!good && ret_problem->status != 401)
        ret_problem->retry_after_s = (unsigned)((answer->wait_ms + 999) / 1000);
    return good;
}

static struct ticket_table_limits ticket_use_limits(const struct request *request)
{
    const struct conf *conf = request->service->context->conf;

    return (struct ticket_table_limits){.all = conf->limits.tickets,
                                        .per_user = conf->limits.tickets_per_user,
                                        .per_key = conf->limits.tickets_per_key};
}

/* By this node alone. */
static bool ticket_use_begin_alone(struct request *request, const struct stream_start *start,
                                   struct problem *ret_problem)
{
    const struct service_shared *shared = request->service->shared;
    const struct ticket_table_limits limits = ticket_use_limits(request);
    struct ticket_table_use use = {
        .now_ms = clock_wall_ms(),
        .committed = hub_committed(shared->hub),
        .limits = &limits,
    };
    struct ticket_table_answer answer;

    use.has_id = ticket_use_read_position(request, start, &use.position);
    enum ticket_table_verdict verdict =
        ticket_table_enter(shared->ticket_table, request->ticket, &use, &answer);
    if (answer.older != 0)
        ticket_use_end_stream(shared, answer.older);
    return ticket_use_judge(request, verdict, &answer, ret_problem);
}

/* ---- by the shared log ---- */

/* A request that waits for its word: what `admission` is. */
struct ticket_use_wait {
    struct node_tickets_ask ask;
    struct request *request;
    unsigned char id[TICKET_ID_BYTES];
};

/* In the worker's loop again. */
static void ticket_use_asked(void *arg)
{
    struct ticket_use_wait *wait = arg;

    request_wake(wait->request);
}

/* Where a stream begins, or before that, where it is not known yet. */
static uint64_t ticket_use_from(const struct hub *hub, const struct stream_start *start)
{
    struct stream_place place;

    if (start->from == STREAM_FROM_LATEST)
        return hub_committed(hub);
    if (start->from != STREAM_FROM_ID)
        return 0;
    stream_find_place(hub, start->id, start->id_n, NULL, &place);
    return place.is_open ? 0 : place.position;
}

static void ticket_use_fill(struct shared_ticket_use *use, const struct request *request,
                            const struct stream_start *start)
{
    const struct ticket *ticket = request->ticket;
    const char *epoch;

    *use = (struct shared_ticket_use){
        .mark = ticket->mark,
        .made_ms = ticket->made_ms,
        .first_until_ms = ticket->first_until_ms,
        .until_ms = ticket->until_ms,
        .made_at = ticket->position,
        .from = ticket_use_from(request->service->shared->hub, start),
    };
    if (start->from == STREAM_FROM_ID &&
        sse_parse_id(start->id, start->id_n, &epoch, &use->position))
        memcpy(use->epoch, epoch, SSE_EPOCH_BYTES);
}

/* The use is over, or is none. */
static void ticket_use_leave(const struct service_shared *shared, const struct ticket *ticket)
{
    ticket_table_left(shared->ticket_table, ticket->mark, clock_wall_ms());
}

static bool ticket_use_set_unreachable(struct problem *problem, enum shared_log_outcome why)
{
    problem_set(problem, 503, "log_unreachable",
                "Whether the ticket is in use cannot be asked of the log that the gateway shares "
                "with others: %s.",
                shared_log_outcome_text(why));
    problem->retry_after_s = LOG_RETRY_MIN_S + arc4random_uniform(LOG_RETRY_MORE_S);
    return false;
}

static enum ticket_use_result ticket_use_ask(struct request *request,
                                             const struct stream_start *start,
                                             struct problem *ret_problem)
{
    const struct service_shared *shared = request->service->shared;
    const struct ticket_table_limits limits = ticket_use_limits(request);
    const struct ticket_table_use use = {.now_ms = clock_wall_ms(), .limits = &limits};
    struct ticket_use_wait *wait = malloc(sizeof(*wait));
    struct ticket_table_answer answer;

    if (wait == NULL) {
        problem_set_out_of_memory(ret_problem);
        return TICKET_USE_REFUSED;
    }
    enum ticket_table_verdict verdict = ticket_table_share(shared->ticket_table, request->ticket,
                                                           &use, &answer, &request->ticket->mark);
    for (unsigned i = 0; i < answer.forgotten_n && i < TICKET_TABLE_FORGOTTEN_MAX; i++)
        node_tickets_forget(shared->nodes, answer.forgotten[i]);
    if (!ticket_use_judge(request, verdict, &answer, ret_problem)) {
        free(wait);
        return TICKET_USE_REFUSED;
    }
    wait->request = request;
    memcpy(wait->id, request->ticket->id, TICKET_ID_BYTES);
    ticket_use_fill(&wait->ask.use, request, start);
    wait->ask.done = ticket_use_asked;
    if (node_tickets_ask(shared->nodes, request->service, wait->id, &wait->ask)) {
        request->admission = wait;
        return TICKET_USE_WAITS;
    }
    free(wait);
    ticket_use_leave(shared, request->ticket);
    ticket_use_set_unreachable(ret_problem, SHARED_LOG_UNREACHABLE);
    return TICKET_USE_REFUSED;
}

/* The use came to nothing; when it is not known that it was refused, the log is told. */
static void ticket_use_give_up(struct request *request, const struct node_tickets_ask *ask)
{
    const struct service_shared *shared = request->service->shared;
    bool is_refused = ask->outcome == SHARED_LOG_DONE ? ask->use.verdict != SHARED_TICKET_GOOD
                                                      : shared_log_is_nothing(ask->outcome);

    if (!is_refused)
        node_tickets_over(shared->nodes, request->ticket->id, request->ticket->mark, 0);
    ticket_use_leave(shared, request->ticket);
}

/* What the log has said.  Settings may have changed meanwhile. */
static bool ticket_use_hear(struct request *request, const struct node_tickets_ask *ask,
                            struct problem *ret_problem)
{
    static const enum ticket_table_verdict verdicts[] = {
        [SHARED_TICKET_GOOD] = TICKET_TABLE_GOOD,
        [SHARED_TICKET_LATE] = TICKET_TABLE_LATE,
        [SHARED_TICKET_USED] = TICKET_TABLE_USED,
        [SHARED_TICKET_REVOKED] = TICKET_TABLE_REVOKED,
    };
    const struct service_shared *shared = request->service->shared;
    const struct ticket_table_answer answer = {.older = 0};

    if (ask->outcome != SHARED_LOG_DONE)
        return ticket_use_set_unreachable(ret_problem, ask->outcome);
    if (ask->use.older != 0)
        node_tickets_end(shared->nodes, ask->use.older);
    if (!ticket_use_judge(request, verdicts[ask->use.verdict], &answer, ret_problem))
        return false;
    ticket_table_granted(shared->ticket_table, request->ticket->mark);
    return ticket_use_is_current(request, ret_problem);
}

void ticket_use_abandon(struct request *request)
{
    struct ticket_use_wait *wait = request->admission;

    if (wait->ask.outcome == SHARED_LOG_DONE && wait->ask.use.older != 0)
        node_tickets_end(request->service->shared->nodes, wait->ask.use.older);
    ticket_use_give_up(request, &wait->ask);
    request->admission = NULL;
    free(wait);
}

static enum ticket_use_result ticket_use_end_wait(struct request *request,
                                                  struct problem *ret_problem)
{
    struct ticket_use_wait *wait = request->admission;
    bool good = ticket_use_hear(request, &wait->ask, ret_problem);

    if (!good)
        ticket_use_give_up(request, &wait->ask);
    request->admission = NULL;
    free(wait);
    return good ? TICKET_USE_GOOD : TICKET_USE_REFUSED;
}

enum ticket_use_result ticket_use_begin(struct request *request, const struct stream_start *start,
                                        struct problem *ret_problem)
{
    if (request->ticket == NULL)
        return TICKET_USE_GOOD;
    if (request->admission != NULL)
        return ticket_use_end_wait(request, ret_problem);
    if (request->service->shared->nodes != NULL)
        return ticket_use_ask(request, start, ret_problem);
    return ticket_use_begin_alone(request, start, ret_problem) ? TICKET_USE_GOOD
                                                               : TICKET_USE_REFUSED;
}

/* ---- the stream ---- */

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
    if (ticket->mark == 0)
        ticket_table_opened(shared->ticket_table, ticket->id, facts.id, facts.position);
    else if (!ticket_table_begun(shared->ticket_table, ticket->mark, facts.id, facts.position))
        ticket_use_end_stream(shared, facts.id); /* it was taken over on its way */
}

/* Of a use that the log has granted. */
static void ticket_use_over(const struct service_shared *shared, const struct ticket *ticket,
                            uint64_t position)
{
    node_tickets_over(shared->nodes, ticket->id, ticket->mark, position);
    ticket_use_leave(shared, ticket);
}

void ticket_use_failed(const struct service_shared *shared, const struct ticket *ticket)
{
    if (ticket != NULL && ticket->mark != 0)
        ticket_use_over(shared, ticket, 0);
    else if (ticket != NULL)
        ticket_table_failed(shared->ticket_table, ticket->id, clock_wall_ms());
}

void ticket_use_closed(const struct service_shared *shared, const struct ticket *ticket,
                       const struct stream *stream)
{
    if (ticket == NULL)
        return;
    struct stream_facts facts = ticket_use_facts(stream);
    if (ticket->mark != 0)
        ticket_use_over(shared, ticket, facts.position);
    else
        ticket_table_closed(shared->ticket_table, ticket->id, facts.id, facts.position,
                            clock_wall_ms());
}
