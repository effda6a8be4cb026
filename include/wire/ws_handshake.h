/* SPDX-License-Identifier: MIT */
/*
 * A WebSocket's opening handshake (RFC 6455 section 4.2): what the headers of a GET ask for, and
 * the 101 that agrees.
 *
 *     ws_handshake_begin(&handshake, is_http_1_1, deflates);
 *     for each header line: ws_handshake_add(&handshake, name, name_n, value, value_n);
 *     switch (ws_handshake_verdict(&handshake, &detail)) ...
 *     n = ws_handshake_write_head(&handshake, head);
 *
 * Lists may be spread over several lines, in any case, with blanks and empty elements, as RFC 9110
 * section 5.6.1 has it.  Origin, credentials other than a subprotocol's, the query and the method
 * are the caller's.  Pure and fuzzed; any thread.
 */
#ifndef BUGLE_WS_HANDSHAKE_H
#define BUGLE_WS_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The subprotocols that we speak.  Which to speak without any is the caller's choice. */
enum ws_protocol { WS_PROTOCOL_NONE, WS_PROTOCOL_RAW, WS_PROTOCOL_V1 };

#define WS_PROTOCOL_RAW_NAME "bugle.raw"
#define WS_PROTOCOL_V1_NAME "bugle.v1"
#define WS_PROTOCOL_BEARER "bearer."

enum ws_handshake_verdict {
    WS_HANDSHAKE_GOOD,
    WS_HANDSHAKE_NO_UPGRADE,       /* 426 with `Upgrade: websocket` */
    WS_HANDSHAKE_OTHER_VERSION,    /* 426 with `Upgrade: websocket`, `Sec-WebSocket-Version: 13` */
    WS_HANDSHAKE_INVALID,          /* 400 invalid_handshake */
    WS_HANDSHAKE_UNKNOWN_PROTOCOL, /* 400 unknown_protocol */
};

/* What was read so far.  Pointers are into the values given to ws_handshake_add(), which must stay
 * until the head is written.  For callers: what stands above the line, once the verdict is good. */
struct ws_handshake {
    enum ws_protocol protocol; /* the first one offered that we speak */
    const char *token;         /* of an offered `bearer.TOKEN`, or NULL; never to be echoed */
    size_t token_n;
    bool deflates; /* permessage-deflate is agreed on, without context takeover either way */
    /* ---- */
    bool is_http_1_1;
    bool takes_deflate;   /* may be agreed on */
    bool names_window;    /* the offer that was taken has server_max_window_bits=15 */
    bool has_upgrade;     /* Upgrade names websocket */
    bool has_connection;  /* Connection names upgrade */
    bool has_version_13;  /* the last version is ours */
    bool offers_protocol; /* any but a bearer's */
    unsigned versions_n;
    unsigned keys_n;
    const char *key;
    const char *wrong; /* the first thing that cannot be, static; or NULL */
};

/*
 * Begin with a request.
 *
 * is_http_1_1  false for HTTP/1.0, where an Upgrade counts for nothing (RFC 9110 section 7.8)
 * deflates     permessage-deflate may be agreed on
 */
void ws_handshake_begin(struct ws_handshake *handshake, bool is_http_1_1, bool deflates);

/*
 * Add a header line, in the order in which they stand in the request; those that say nothing here
 * are skipped.  Name and value are borrowed until the head is written.
 *
 * A header of the handshake that cannot be read is WS_HANDSHAKE_INVALID, and so is a body
 * (Content-Length other than 0, Transfer-Encoding).  An offer of permessage-deflate with a
 * parameter that is unknown, repeated or has no possible value is passed over (RFC 7692
 * section 5.1) and so is one that asks for a window of ours below 32 KiB.
 */
void ws_handshake_add(struct ws_handshake *handshake, const char *name, size_t name_n,
                      const char *value, size_t value_n);

/*
 * What came of it, once all lines are added.
 *
 * ret_detail  static: one sentence for the answer which names the header and what is wrong with it;
 *             NULL when good.  It has nothing of the peer's.
 */
enum ws_handshake_verdict ws_handshake_verdict(const struct ws_handshake *handshake,
                                               const char **ret_detail);

#define WS_HANDSHAKE_HEAD_MAX 400

/*
 * Write the 101 of a good handshake with its blank line: Upgrade, Connection,
 * Sec-WebSocket-Accept, Sec-WebSocket-Protocol if one was chosen, Sec-WebSocket-Extensions if
 * deflate is agreed on.
 *
 * Returns the bytes written, without a NUL; 0 when an allocation failed.
 */
size_t ws_handshake_write_head(const struct ws_handshake *handshake,
                               char to[WS_HANDSHAKE_HEAD_MAX]);

#endif
