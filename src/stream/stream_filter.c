/* SPDX-License-Identifier: MIT */
/* What a stream asks for: its place in the index, and how that changes.  See stream.h. */
#include "config.h"

#include <errno.h>

#include "stream/stream_internal.h"

/* Nodes are shared, and arrays grow for many: what all of the index takes is counted when it
 * changes. */
static void count_index(struct streams *streams, size_t before)
{
    int64_t grown = (int64_t)topic_index_bytes(streams->index) - (int64_t)before;

    memory_budget_add(streams->context->memory, MEMORY_BUDGET_CONNECTIONS, grown);
}

int stream_enter_index(struct stream *stream, struct filter *filter)
{
    struct streams *streams = stream->host->streams;
    size_t before = topic_index_bytes(streams->index);
    int result = topic_index_add(streams->index, &stream->listener, filter, stream->owners);

    if (result == 0)
        stream->asked_bytes = (uint32_t)topic_index_last_bytes(streams->index);
    count_index(streams, before);
    return result;
}

void stream_leave_index(struct stream *stream)
{
    struct streams *streams = stream->host->streams;
    size_t before = topic_index_bytes(streams->index);

    if (stream->is_unfound) {
        filter_unref(stream->listener.filter);
        return;
    }
    topic_index_remove(streams->index, &stream->listener, stream->owners);
    count_index(streams, before);
}

/* One that the index has no memory for cannot stay, not even with what it asked for before. */
static int refuse_change(struct stream *stream, struct filter *before, int result)
{
    if (stream_enter_index(stream, before) == 0)
        return result;
    stream->listener.filter = filter_ref(before);
    stream->is_unfound = true;
    stream_end(stream, STREAM_END_FAILED);
    return -ENOMEM;
}

/* What was passed over by what it asked for before is over.  All else is looked at anew: a slot
 * that the index had found, and what is left of a page; one that is on its way is asked for again
 * when it comes. */
static void begin_here(struct stream *stream)
{
    stream->position = stream_passed(stream);
    stream->woken_by = STREAM_CURSOR_NONE;
    stream_drop_page(stream);
}

static void set_grant(struct stream *stream, const struct conf *conf)
{
    if (conf == NULL || stream->grant.conf == NULL)
        return;
    conf_ref(conf);
    conf_unref(stream->grant.conf);
    stream->grant.conf = conf;
}

int stream_set_filter(struct stream *stream, struct filter *filter, const struct conf *conf,
                      uint64_t *ret_position)
{
    struct filter *before = filter_ref(stream->listener.filter);
    int result = -ENOMEM;

    if (!stream->is_unfound) {
        stream_leave_index(stream);
        result = stream_enter_index(stream, filter);
        if (result != 0)
            result = refuse_change(stream, before, result);
    }
    filter_unref(before);
    if (result != 0)
        return result;
    set_grant(stream, conf);
    begin_here(stream);
    stream_begin_search(stream);
    *ret_position = stream->since_ms >= 0 || stream->awaits_log ? UINT64_MAX : stream->position;
    return 0;
}

const struct stream_grant *stream_get_grant(const struct stream *stream)
{
    return &stream->grant;
}

struct filter *stream_get_filter(const struct stream *stream)
{
    return stream->listener.filter;
}
