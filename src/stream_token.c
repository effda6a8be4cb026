/* SPDX-License-Identifier: MIT */
/* Streams end with their tokens.  See stream_token.h. */
#include "config.h"
#include "stream_token.h"

#include "stream_internal.h"

static void end_expired(struct stream_host *host, int64_t wall_ms)
{
    struct stream *stream;

    host->until_ms = IDENTITY_FOREVER;
    TAILQ_FOREACH (stream, &host->all, in_host) {
        if (stream->identity == NULL || stream->end != STREAM_END_NONE)
            continue;
        if (stream->identity->until_ms <= wall_ms)
            stream_end(stream, STREAM_END_TOKEN);
        else if (stream->identity->until_ms < host->until_ms)
            host->until_ms = stream->identity->until_ms;
    }
}

void stream_token_tick(struct streams *streams, int64_t wall_ms)
{
    struct stream_host *host;

    LIST_FOREACH (host, &streams->hosts, link)
        if (host->until_ms <= wall_ms)
            end_expired(host, wall_ms);
}

void stream_token_recheck(struct streams *streams,
                          bool (*vouches)(void *arg, const struct identity *identity), void *arg)
{
    struct stream_host *host;
    struct stream *stream;

    LIST_FOREACH (host, &streams->hosts, link)
        TAILQ_FOREACH (stream, &host->all, in_host)
            if (stream->identity != NULL && stream->end == STREAM_END_NONE &&
                !vouches(arg, stream->identity))
                stream_end(stream, STREAM_END_TOKEN);
}
