/* SPDX-License-Identifier: MIT */
/* Streams end with their tokens.  See stream_expiry.h. */
#include "config.h"
#include "stream/stream_expiry.h"

#include "base/clock.h"
#include "stream/stream_internal.h"

/* A portion of looks, some tens of thousands a second.  One may cost as much as a stream has
 * patterns times auth.anonymous. */
#define PORTION_NS 500000

static void end_expired(struct stream_host_due *due, int64_t wall_ms)
{
    struct stream *stream;

    due->token_ms = IDENTITY_FOREVER;
    TAILQ_FOREACH (stream, &due->host->all, in_host) {
        const struct identity *identity = stream->grant.identity;

        if (identity == NULL || stream->end != STREAM_END_NONE)
            continue;
        if (identity->until_ms <= wall_ms)
            stream_end(stream, STREAM_END_TOKEN);
        else
            due->token_ms = clock_earlier(due->token_ms, identity->until_ms);
    }
}

void stream_expiry_tick(struct streams *streams, int64_t wall_ms)
{
    for (size_t i = 0; i < streams->hosts_n; i++)
        if (streams->hosts[i].token_ms <= wall_ms)
            end_expired(&streams->hosts[i], wall_ms);
}

/* ---- again ---- */

static void recheck_one(struct streams *streams, struct stream *stream)
{
    const struct conf *conf = streams->context->conf;

    if (stream == NULL || stream->end != STREAM_END_NONE)
        return;
    if (streams->judge.is_good(streams->judge.arg, conf, &stream->grant, stream->listener.filter)) {
        conf_ref(conf);
        conf_unref(stream->grant.conf);
        stream->grant.conf = conf;
    } else {
        stream_end(stream, STREAM_END_KEY);
    }
}

/* By slots: streams come and go between the portions, but none moves to another slot, and one that
 * comes is judged as it begins. */
static bool recheck_portion(struct worker_job *job)
{
    struct streams *streams = (struct streams *)((char *)job - offsetof(struct streams, recheck));
    int64_t until_ns = clock_mono_ns() + PORTION_NS;

    while (streams->rechecked_n < streams->slots_n) {
        recheck_one(streams, streams->slots[streams->rechecked_n++]);
        if (clock_mono_ns() >= until_ns)
            return true;
    }
    return false;
}

void stream_expiry_recheck(struct streams *streams, const struct stream_expiry_judge *judge)
{
    streams->judge = *judge;
    streams->rechecked_n = 0;
    streams->recheck.run = recheck_portion;
    worker_enqueue(streams->worker, &streams->recheck, PRIO_BROADCAST);
}

void stream_expiry_stop(struct streams *streams)
{
    worker_dequeue(streams->worker, &streams->recheck);
}
