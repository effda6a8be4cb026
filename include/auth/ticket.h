/* SPDX-License-Identifier: MIT */
/*
 * The text of a ticket: what its stream may read and for whom, sealed (AES-256-GCM) with a key that
 * only the gateway has.  A client can neither read nor change it, and every worker, and
 * the gateway after a restart, can open it without having kept anything.
 *
 * Pure but for the random nonce; any thread.
 */
#ifndef BUGLE_TICKET_H
#define BUGLE_TICKET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "auth/identity.h"
#include "event/topic.h"

#define TICKET_ID_BYTES 16
#define TICKET_KEY_BYTES 32
#define TICKET_TOPICS_MAX 16
#define TICKET_NAMES_BYTES_MAX 1024 /* of user and topics together */
#define TICKET_TEXT_ROOM 1600       /* the longest text, and its NUL */

struct ticket {
    unsigned char id[TICKET_ID_BYTES];
    int64_t made_ms;        /* all times: wall clock */
    int64_t first_until_ms; /* its first use must come before this */
    int64_t until_ms;       /* its streams end here */
    uint64_t position;      /* the last that was committed when it was made */
    unsigned char
        key_fingerprint[IDENTITY_FINGERPRINT_BYTES]; /* of the credential that asked for it */
    struct identity_claims claims;                   /* the same */
    uint16_t public_topics;     /* a bit for each that it may read only because everybody may */
    struct grants_pattern user; /* `bytes` NULL: nobody */
    struct grants_list topics;
    uint64_t mark; /* of the use that is made of it, among several nodes; not sealed */
};

/* What an opened ticket points into. */
struct ticket_room {
    unsigned char bytes[TICKET_TEXT_ROOM];
    struct grants_pattern topics[TICKET_TOPICS_MAX];
};

/* Write a ticket.  Returns the length of the text; 0 with nothing written when its names are more
 * than TICKET_TOPICS_MAX and TICKET_NAMES_BYTES_MAX allow; -ENOMEM. */
ssize_t ticket_seal(char to[TICKET_TEXT_ROOM], const struct ticket *ticket,
                    const unsigned char key[TICKET_KEY_BYTES]);

/* Read one.  Returns 0; -EBADMSG if it was not sealed with this key; -ENOMEM.  The ticket's names
 * are in `room`. */
int ticket_open(const char *text, size_t text_n, const unsigned char key[TICKET_KEY_BYTES],
                struct ticket_room *room, struct ticket *ret_ticket);

#endif
