/* SPDX-License-Identifier: MIT */
/*
 * What an idle stream keeps of its connection, and what it gives back (doc/design, "Memory of a
 * stream").
 *
 * Once the answer's head is out nobody reads the request any more: not we, who have copied what we
 * need, nor the host, which only goes on pulling, each time into the same room from its beginning.
 * So of an idle stream's pool every byte is scratch, the request's head and its records as well,
 * and reads as zeros when its page was given back.
 */
#include "config.h"

#include <sys/mman.h>
#include <unistd.h>

#include "stream/stream_internal.h"

/* Half a heartbeat: a stream that has nothing but heartbeats to send gives back what was used
 * before them, or by each of them where the host sends it, and one with events more often than
 * that keeps what it needs for the next. */
void stream_note_chunk(struct stream *stream)
{
    if (stream->filled_ms - stream->sent_ms >= stream->heartbeat_ms / 2)
        stream->gives_pages = true;
}

void stream_give_pages_back(struct stream *stream)
{
    bool gives = stream->gives_pages && stream->has_pages;

    stream->gives_pages = false;
    if (!gives || stream->pool == NULL)
        return;
    stream->has_pages = false;

    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)stream->pool + page - 1) & ~(page - 1);
    /* The pool ends at or behind the room for a chunk; only its records may stand behind that. */
    char *end = stream->pool_bytes > 0 ? stream->pool + stream->pool_bytes
                                       : stream->room + stream->room_bytes;
    uintptr_t to = (uintptr_t)end & ~(page - 1);
    if (to > from)
        madvise((void *)from, to - from, MADV_DONTNEED);
}
