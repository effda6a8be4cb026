/* SPDX-License-Identifier: MIT */
/*
 * A host of streams without a library: it notes what it is asked for, and pulls as one would.
 * Around it stands what streams need: a hub over a history in memory, a worker without a thread,
 * whose turns a test runs, and a pager.
 *
 * Every connection is a pair of sockets.  What a stream sends by itself is read from the other end,
 * what is pulled is noted as it comes.
 */
#ifndef BUGLE_FAKE_HOST_H
#define BUGLE_FAKE_HOST_H

#include "history/history_memory.h"
#include "hub/hub.h"
#include "stream/stream_internal.h"
#include "stream/stream_ws.h"

/* What stands in place of the end of a stream that answered by itself: its handler is called. */
#define FAKE_HANDED_BACK (-3)

struct fake_host {
    struct stream_host host;
    bool awake[PRIO_COUNT];
    struct conf *conf;
    struct history *history;
    struct history_ops history_ops; /* of `history`; a test may replace some */
    struct hub *hub;
    struct worker *worker;
    struct page_reader *pager;
    struct eviction_log *eviction_log;
    struct streams *streams;
    size_t room; /* for a pull */
    size_t answers_n;
};

struct fake_stream {
    struct stream_ws ws; /* first: of a wire of WebSockets */
    struct fake_host *fake;
    struct stream *stream;
    int fd, peer_fd;
    bool is_pulled;
    bool is_suspended, was_resumed;
    unsigned extended, closed_soon;
    unsigned readable_n, said_n; /* how often it was told */
    bool has_ended;              /* what it was told last */
    ssize_t end;                 /* as stream_pull(), or FAKE_HANDED_BACK; 0: none yet */
    size_t pulls_n;              /* that returned bytes */
    char room[8192];             /* where pulls write */
    size_t received_n;
    char received[400000];
};

/* ring_events  of the worker; small ones make streams read the history */
struct fake_host *fake_host_new(bool sends_past, size_t ring_events);
void fake_host_free(struct fake_host *fake);

/* Publish an event, which the fake takes, and have the worker hand it to the streams. */
void fake_host_publish(struct fake_host *fake, struct message *message);

/* Serve what is ready until nothing is; waits for pages that are on their way. */
void fake_host_run(struct fake_host *fake);

/* As DELETE would find it in the figures. */
int64_t fake_host_stat(const struct fake_host *fake, enum stats_id id);

/* What a client without wishes asks for; borrows nothing but `filter`, which fake_stream_open()
 * takes. */
struct stream_ask fake_ask(const char *patterns);

/* Open a stream and have it send what it has to say at first. */
struct fake_stream *fake_stream_open(struct fake_host *fake, struct stream_ask ask);
void fake_stream_close(struct fake_stream *stream);

/* Read what has come, and find text in all that ever came. */
bool fake_stream_has(struct fake_stream *stream, const char *text);
size_t fake_stream_count(struct fake_stream *stream, const char *text);
void fake_stream_forget(struct fake_stream *stream); /* what has come so far */

/* Whether the peer sees an end of its connection. */
bool fake_stream_is_cut(struct fake_stream *stream);

#endif
