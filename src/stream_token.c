/* SPDX-License-Identifier: MIT */
/* Streams end with their tokens.  See stream_token.h. */
#include "config.h"
#include "stream_token.h"

#include "clock.h"
#include "stream_internal.h"

static void end_expired(struct stream_host_due *due, int64_t wall_ms)
{
    struct stream *stream;

    due->token_ms = IDENTITY_FOREVER;
    TAILQ_FOREACH (stream, &due->host->all, in_host) {
        if (stream->identity == NULL || stream->end != STREAM_END_NONE)
            continue;
        if (stream->identity->until_ms <= wall_ms)
            stream_end(stream, STREAM_END_TOKEN);
        else
            due->token_ms = clock_earlier(due->token_ms, stream->identity->until_ms);
    }
}

void stream_token_tick(struct streams *streams, int64_t wall_ms)
{
    for (size_t i = 0; i < streams->hosts_n; i++)
        if (streams->hosts[i].token_ms <= wall_ms)
            end_expired(&streams->hosts[i], wall_ms);
}

void stream_token_recheck(struct streams *streams,
                          bool (*vouches)(void *arg, const struct identity *identity), void *arg)
{
    struct stream *stream;

    for (size_t i = 0; i < streams->hosts_n; i++)
        TAILQ_FOREACH (stream, &streams->hosts[i].host->all, in_host)
            if (stream->identity != NULL && stream->end == STREAM_END_NONE &&
                !vouches(arg, stream->identity))
                stream_end(stream, STREAM_END_TOKEN);
}
