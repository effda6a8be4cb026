/* SPDX-License-Identifier: MIT */
/* Streams over libmicrohttpd.  See stream_mhd.h. */
#include "config.h"
#include "conn/stream_mhd.h"

#include <errno.h>
#include <string.h>

/* The library reads into this buffer only for HTTP/1.0; for chunked answers it is not used, but it
 * is allocated with every response. */
#define BLOCK_BYTES_HTTP_1_0 4096
#define BLOCK_BYTES_CHUNKED 1
/* Names and values of our headers are shorter by far; one that is not stays. */
#define HEADER_BYTES 256

_Static_assert((ssize_t)MHD_CONTENT_READER_END_OF_STREAM == STREAM_PULL_END &&
                   (ssize_t)MHD_CONTENT_READER_END_WITH_ERROR == STREAM_PULL_ABORT,
               "what a pull returns is what the library expects");

/* ---- the host ---- */

static void suspend_connection(void *connection)
{
    MHD_suspend_connection(connection);
}

static void resume_connection(void *connection)
{
    MHD_resume_connection(connection);
}

/* Set after zero the timeout counts from now (microhttpd.h). */
static void extend_timeout(struct stream_host *host, void *connection)
{
    MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, 0U);
    MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, host->timeout_s);
}

/* The library closes it in a later run, and neither says that it wants one nor looks at all
 * connections in it: of those with the daemon's own timeout at the ones that were idle longest, up
 * to the first that is not over; of those with another at all. */
void stream_mhd_close_soon(struct stream_host *host, struct MHD_Connection *connection)
{
    MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, host->timeout_s + 1);
    stream_host_want_run(host);
}

static void close_soon(struct stream_host *host, void *connection)
{
    stream_mhd_close_soon(host, connection);
}

const struct stream_host_ops stream_mhd_ops = {
    .suspend = suspend_connection,
    .resume = resume_connection,
    .extend_timeout = extend_timeout,
    .close_soon = close_soon,
};

/* ---- the response ---- */

struct header {
    char name[HEADER_BYTES];
    char value[HEADER_BYTES];
    bool found;
};

/* A copy, since the library frees what it compares with. */
static enum MHD_Result copy_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    struct header *header = cls;

    if (kind != MHD_HEADER_KIND || strlen(name) >= HEADER_BYTES || strlen(value) >= HEADER_BYTES)
        return MHD_YES;
    strcpy(header->name, name);
    strcpy(header->value, value);
    header->found = true;
    return MHD_NO;
}

/* The head is out: what it was made of is not needed again.  Three allocations for each header,
 * together some 700 bytes of an idle stream.  Not inlined: the buffers would stand in every pull.
 */
__attribute__((noinline)) static void drop_headers(struct MHD_Response *response)
{
    struct header header;

    do {
        header.found = false;
        MHD_get_response_headers(response, copy_header, &header);
    } while (header.found && MHD_del_response_header(response, header.name, header.value));
}

/* The library's content reader: it has room for the next chunk.  `offset` counts what it was given
 * before. */
static ssize_t pull_stream(void *cls, uint64_t offset, char *buf, size_t max)
{
    struct stream *stream = cls;

    if (offset == 0)
        drop_headers(stream_reader(stream));
    return stream_pull(stream, buf, max);
}

int stream_mhd_open(struct stream_host *host, struct MHD_Connection *connection, int fd,
                    const struct stream_ask *ask, struct stream **ret_stream,
                    struct MHD_Response **ret_response)
{
    int result = stream_open(host, connection, fd, ask, ret_stream);

    *ret_response = NULL;
    if (result != 0 || stream_answers_itself(*ret_stream))
        return result;
    *ret_response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, ask->http_1_0 ? BLOCK_BYTES_HTTP_1_0 : BLOCK_BYTES_CHUNKED, pull_stream,
        *ret_stream, NULL);
    if (*ret_response == NULL) {
        stream_end(*ret_stream, STREAM_END_FAILED);
        stream_closed(*ret_stream);
        *ret_stream = NULL; /* the caller closes what it has */
        return -ENOMEM;
    }
    stream_set_reader(*ret_stream, *ret_response);
    return 0;
}
