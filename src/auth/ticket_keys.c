/* SPDX-License-Identifier: MIT */
/* Keys of tickets.  See ticket_keys.h. */
#include "config.h"
#include "auth/ticket_keys.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/state_file.h"

_Static_assert(TICKET_KEY_BYTES == CONF_TICKET_KEY_BYTES, "settings have keys of this length");

int ticket_keys_from_conf(struct ticket_keys *ret_keys, const struct conf *conf)
{
    const struct conf_list *items = &conf->auth.ticket_key;

    ret_keys->n = 0;
    if (items->items_n > TICKET_KEYS_MAX)
        return -EINVAL;
    for (size_t i = 0; i < items->items_n; i++)
        if (conf_ticket_key(items->items[i], ret_keys->keys[ret_keys->n]))
            ret_keys->n++;
    return 0;
}

int ticket_keys_open(const struct ticket_keys *keys, const char *text, size_t text_n,
                     struct ticket_room *room, struct ticket *ret_ticket)
{
    int result = -EBADMSG;

    for (size_t i = 0; i < keys->n && result == -EBADMSG; i++)
        result = ticket_open(text, text_n, keys->keys[i], room, ret_ticket);
    return result;
}

/* ---- the gateway's own ---- */

static int ticket_key_draw(unsigned char *to)
{
    return gnutls_rnd(GNUTLS_RND_KEY, to, TICKET_KEY_BYTES) >= 0 ? 0 : -EIO;
}

/* Zeros are what a file system may leave of a file after a power cut. */
static bool ticket_key_is_sound(const unsigned char *key)
{
    static const unsigned char zeros[TICKET_KEY_BYTES];

    return memcmp(key, zeros, TICKET_KEY_BYTES) != 0;
}

static int ticket_key_read(const char *path, unsigned char *to)
{
    int result = state_file_read(path, to, TICKET_KEY_BYTES);

    return result == 0 && !ticket_key_is_sound(to) ? -EBADMSG : result;
}

/* Another process may have made it meanwhile. */
static int ticket_key_make(const char *path, unsigned char *to)
{
    int result = ticket_key_draw(to);

    if (result == 0)
        result = state_file_make(path, to, TICKET_KEY_BYTES);
    return result == -EEXIST ? ticket_key_read(path, to) : result;
}

/* Tickets live for hours at most, and a client can get another one: no reason to refuse the start.
 */
static int ticket_key_replace(const char *path, unsigned char *to)
{
    int result = state_file_set_aside(path);

    if (result != 0)
        return result;
    log_warning("%s does not hold a ticket key of %d bytes: it was renamed to %s.bad and a new key "
                "was made; tickets made before are no longer valid",
                path, TICKET_KEY_BYTES, path);
    return ticket_key_make(path, to);
}

static int ticket_key_find(const char *path, unsigned char *to)
{
    int result = ticket_key_read(path, to);

    if (result == -ENOENT)
        return ticket_key_make(path, to);
    return result == -EBADMSG ? ticket_key_replace(path, to) : result;
}

int ticket_keys_read_own(const char *history_path, unsigned char to[TICKET_KEY_BYTES],
                         struct conf_error *ret_error)
{
    char *key_path;
    int result;

    if (history_path == NULL)
        return ticket_key_draw(to);
    if (asprintf(&key_path, "%s.tickets", history_path) < 0) {
        key_path = NULL;
        result = conf_refuse(ret_error, -ENOMEM, "out of memory");
    } else {
        result = ticket_key_find(key_path, to);
        if (result != 0)
            conf_refuse(ret_error, result,
                        "the ticket key in %s cannot be read or written: %s: give the gateway's "
                        "user access, or remove the file, which makes all tickets invalid",
                        key_path, strerror(-result));
    }
    free(key_path);
    return result;
}
