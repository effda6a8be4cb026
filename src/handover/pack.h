/* SPDX-License-Identifier: MIT */
/*
 * Numbers and bytes as one row of bytes, and back: for frames between two processes of one machine
 * (handover_link.h), so in the machine's own order.
 *
 * Both sides note the first thing that goes wrong and do nothing from then on, so that who packs or
 * unpacks looks once, at the end.  Any thread; a struct belongs to one.
 */
#ifndef BUGLE_PACK_H
#define BUGLE_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/message.h"

/* Begin with zeros; end with pack_clear(). */
struct pack {
    char *bytes;
    size_t n;
    size_t room;
    bool failed; /* out of memory */
};

void pack_u32(struct pack *pack, uint32_t number);
void pack_u64(struct pack *pack, uint64_t number);
void pack_text(struct pack *pack, const char *text); /* without NUL in it */

/* Room for `n` bytes that the caller fills before anything else is packed, with their number before
 * them; NULL when out of memory. */
char *pack_room(struct pack *pack, size_t n);
void pack_clear(struct pack *pack); /* empty it and give its memory back */

/* An event, as message_write_image() has it. */
void pack_message(struct pack *pack, const struct message *message);

/* What is left of a row of bytes; borrowed. */
struct unpack {
    const char *at;
    size_t left;
    bool failed; /* there was less than asked for */
};

uint32_t unpack_u32(struct unpack *unpack); /* 0 when there is none */
uint64_t unpack_u64(struct unpack *unpack);

/* What pack_room() packed; NULL when it is not whole. */
const char *unpack_bytes(struct unpack *unpack, size_t *ret_n);

/* A copy of a text for free(); NULL when it is not whole or out of memory. */
char *unpack_text(struct unpack *unpack);

/* A reference to an event; NULL when it is not whole or out of memory. */
struct message *unpack_message(struct unpack *unpack);

/* Whether everything was there and nothing is left. */
bool unpack_is_done(const struct unpack *unpack);

#endif
