/* SPDX-License-Identifier: MIT */
/*
 * Streams over libmicrohttpd: what a cell lends to stream/ as a host, and the response by which the
 * library pulls.
 *
 * It stands with the cells and not with the streams, so that stream/ builds and is tested without
 * the library, and another transport is a file like this one.
 *
 * Worker's thread.
 */
#ifndef BUGLE_STREAM_MHD_H
#define BUGLE_STREAM_MHD_H

#include <microhttpd.h>
#include <stdbool.h>

#include "stream/stream.h"

/* Of a host whose connections are struct MHD_Connection. */
extern const struct stream_host_ops stream_mhd_ops;

/* From within a content reader that is about to end its connection: have that closed in the next
 * run. */
void stream_mhd_close_soon(struct stream_host *host, struct MHD_Connection *connection);

/*
 * Open a stream on a connection.
 *
 * fd            of the connection; the library's
 * ret_stream    given
 * ret_response  given; to be queued by the caller, who also adds the headers; NULL: the stream
 *               answers by itself, and the caller goes on with stream_begin()
 *
 * Returns as stream_open().
 */
int stream_mhd_open(struct stream_host *host, struct MHD_Connection *connection, int fd,
                    const struct stream_ask *ask, struct stream **ret_stream,
                    struct MHD_Response **ret_response);

#endif
