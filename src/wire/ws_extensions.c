/* SPDX-License-Identifier: MIT */
/*
 * Offers of extensions.  See ws_extensions.h.
 *
 * A quoted value stands for a token, so no comma or semicolon in quotes is good, and the line can
 * be cut at each.
 */
#include "config.h"
#include "wire/ws_extensions.h"

#define WINDOW_BITS_MIN 8
#define WINDOW_BITS_MAX 15

enum parameter {
    SERVER_NO_TAKEOVER = 1,
    CLIENT_NO_TAKEOVER = 2,
    SERVER_WINDOW = 4,
    CLIENT_WINDOW = 8,
    UNKNOWN = 16,
};

static bool is_token_char(char c)
{
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        return true;
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

bool ws_is_token(struct span text)
{
    for (size_t i = 0; i < text.n; i++)
        if (!is_token_char(text.at[i]))
            return false;
    return text.n > 0;
}

/* A value of a few characters without its quotes and backslashes.  `*ret_n` is beyond the room for
 * one that is longer.  False if it is neither token nor a token in quotes. */
static bool read_value(struct span value, char to[3], size_t *ret_n)
{
    bool is_quoted = value.n >= 2 && value.at[0] == '"' && value.at[value.n - 1] == '"';

    if (is_quoted)
        value = (struct span){value.at + 1, value.n - 2};
    *ret_n = 0;
    for (size_t i = 0; i < value.n; i++) {
        if (is_quoted && value.at[i] == '\\' && i + 1 < value.n)
            i++;
        if (!is_token_char(value.at[i]))
            return false;
        if (*ret_n < 3)
            to[(*ret_n)++] = value.at[i];
    }
    return *ret_n > 0;
}

/* 8 to 15, without a leading zero; 0 for anything else. */
static unsigned window_bits(const char *text, size_t text_n)
{
    unsigned bits = 0;

    if (text_n == 0 || text_n > 2 || text[0] == '0')
        return 0;
    for (size_t i = 0; i < text_n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return 0;
        bits = bits * 10 + (unsigned)(text[i] - '0');
    }
    return bits >= WINDOW_BITS_MIN && bits <= WINDOW_BITS_MAX ? bits : 0;
}

static enum parameter parameter_of(struct span name)
{
    if (span_is(name, "server_no_context_takeover"))
        return SERVER_NO_TAKEOVER;
    if (span_is(name, "client_no_context_takeover"))
        return CLIENT_NO_TAKEOVER;
    if (span_is(name, "server_max_window_bits"))
        return SERVER_WINDOW;
    return span_is(name, "client_max_window_bits") ? CLIENT_WINDOW : UNKNOWN;
}

/* Whether a parameter of permessage-deflate has a value that it may have, and that we can do. */
static bool can_take(enum parameter parameter, bool has_value, const char *value, size_t value_n)
{
    switch (parameter) {
    case SERVER_NO_TAKEOVER:
    case CLIENT_NO_TAKEOVER:
        return !has_value;
    case SERVER_WINDOW:
        return has_value && window_bits(value, value_n) == WINDOW_BITS_MAX;
    case CLIENT_WINDOW:
        return !has_value || window_bits(value, value_n) != 0;
    default:
        return false;
    }
}

/* Read `name` or `name=value`, of what permessage-deflate might have.  False if it is neither. */
static bool read_parameter(struct span text, unsigned *seen, bool *is_good)
{
    bool has_value = text.n > 0 && memchr(text.at, '=', text.n) != NULL;
    struct span name = span_trim(span_take_until(&text, '='));
    enum parameter parameter = parameter_of(name);
    char value[3];
    size_t value_n = 0;

    if (!ws_is_token(name) || (has_value && !read_value(span_trim(text), value, &value_n)))
        return false;
    if ((*seen & parameter) != 0 || !can_take(parameter, has_value, value, value_n))
        *is_good = false;
    *seen |= parameter;
    return true;
}

/* Take what stands before the next semicolon; whether there was one, so that something must follow.
 */
static bool take_part(struct span *text, struct span *ret_part)
{
    bool is_followed = text->n > 0 && memchr(text->at, ';', text->n) != NULL;

    *ret_part = span_trim(span_take_until(text, ';'));
    return is_followed;
}

/* One offer: `name *( ";" parameter )`. */
static bool read_offer(struct ws_offer *offer, struct span text)
{
    struct span part;
    unsigned seen = 0;
    bool is_followed = take_part(&text, &part);
    bool is_good = span_is(part, "permessage-deflate");

    if (!ws_is_token(part))
        return false;
    while (is_followed) {
        is_followed = take_part(&text, &part);
        if (!read_parameter(part, &seen, &is_good))
            return false;
    }
    if (is_good && !offer->is_taken)
        *offer = (struct ws_offer){true, (seen & SERVER_WINDOW) != 0};
    return true;
}

bool ws_offer_look(struct ws_offer *offer, struct span line)
{
    while (line.n > 0) {
        struct span one = span_trim(span_take_until(&line, ','));

        if (one.n > 0 && !read_offer(offer, one))
            return false;
    }
    return true;
}
