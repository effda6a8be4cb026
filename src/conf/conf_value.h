/* SPDX-License-Identifier: MIT */
/*
 * Text to values and back, for conf.c: numbers with units, lists, the forms of addresses and
 * origins, and how near two names are.  Knows no setting.  Pure but for the lists' memory; any
 * thread.
 */
#ifndef BUGLE_CONF_VALUE_H
#define BUGLE_CONF_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"

enum conf_type {
    CONF_DURATION, /* uint64_t, milliseconds */
    CONF_BYTES,    /* uint64_t */
    CONF_COUNT,    /* uint64_t */
    CONF_TEXT,     /* char *, never NULL */
    CONF_LIST,     /* struct conf_list */
    CONF_CHOICE,   /* int, an enum that counts from 0 */
};

/* Read or write a number of the first three types.  Written, it has the largest unit that takes no
 * fraction, so reading gives the same number back. */
bool conf_value_number(enum conf_type type, const char *text, uint64_t *ret_number);
char *conf_value_number_text(enum conf_type type, uint64_t number, char *to, size_t to_n);

/* Whether a value is free of control characters, which no setting needs and a log cannot bear. */
bool conf_value_is_clean(const char *text);

/* Whether an item of server.listen, of tls.listen, or of auth.origins, has a form that can be used.
 */
bool conf_value_is_listen(const char *item);
bool conf_value_is_tls_listen(const char *item);
bool conf_value_is_origin(const char *item);

/* Whether an item of server.hosts has a form that can be used. */
bool conf_value_is_host(const char *item);

/* Whether auth.jwks has a form that can be used: empty, the absolute path of a file, https://, or
 * http:// on a loopback address. */
bool conf_value_is_key_set(const char *text);

/* Whether a listen item that has the right form is reached from this machine only. */
bool conf_value_is_loopback(const char *item);

/*
 * Append the items of a comma separated text; empty text has none.  The list is the first
 * value's alone when it was inherited.
 *
 * fits  what every item must be
 *
 * Returns 0, -EINVAL when an item does not fit, or -ENOMEM; the list may have grown by then.
 */
int conf_value_list_add(struct conf_list *list, const char *text, bool (*fits)(const char *item));
void conf_value_list_clear(struct conf_list *list);

#endif
