/* SPDX-License-Identifier: MIT */
/* Pages of the history as JSON.  See history_listing.h. */
#include "config.h"
#include "api/history_listing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "wire/json_writer.h"

struct history_listing {
    struct history_listing_ask ask;
    uint64_t position; /* all up to here is in, or was before */
    enum stream_reset reset;
    uint64_t reset_position; /* where it goes on behind what is lost */
    size_t events_n;
    bool is_over;
    struct json_writer to;
    char *data; /* of one event, taken out of its frame */
    size_t data_room;
};

/* ---- JSON ---- */

static void listing_put(struct history_listing *listing, const char *text)
{
    json_writer_text(&listing->to, text);
}

static void listing_put_string(struct history_listing *listing, const char *text, size_t text_n)
{
    json_writer_string(&listing->to, text, text_n);
}

static void listing_put_id(struct history_listing *listing, uint64_t position)
{
    char id[SSE_ID_BYTES];

    sse_put_id(id, listing->ask.epoch, position);
    listing_put_string(listing, id, SSE_ID_BYTES);
}

static void listing_put_id_or_null(struct history_listing *listing, uint64_t position, bool there)
{
    if (there)
        listing_put_id(listing, position);
    else
        listing_put(listing, "null");
}

static void listing_put_time(struct history_listing *listing, int64_t wall_ms)
{
    char text[CLOCK_UTC_BYTES];

    clock_utc_text(wall_ms, text);
    listing_put_string(listing, text, strlen(text));
}

/* ---- an event ---- */

static void listing_put_topics(struct history_listing *listing, const struct message *message)
{
    listing_put(listing, ",\"topics\":[");
    for (size_t i = 0; i < message->topics_n; i++) {
        const struct message_name *topic = &message_topics(message)[i];

        listing_put(listing, i > 0 ? "," : "");
        listing_put_string(listing, topic->bytes, topic->bytes_n);
    }
}

/* The other recipients are not shown: an event for users is here only because the caller is one of
 * them. */
static void listing_put_users(struct history_listing *listing, const struct message *message)
{
    const struct message_name *user = listing->ask.user;

    listing_put(listing, "],\"users\":[");
    if (message->users_n > 0 && user->bytes != NULL)
        listing_put_string(listing, user->bytes, user->bytes_n);
}

static void listing_put_ttl(struct history_listing *listing, int64_t ttl_ms)
{
    char seconds[48];

    snprintf(seconds, sizeof(seconds), ",\"ttl\":%.15g", (double)ttl_ms / 1000);
    listing_put(listing, seconds);
}

static bool listing_reserve_data(struct history_listing *listing, size_t bytes)
{
    if (bytes <= listing->data_room)
        return true;
    free(listing->data);
    listing->data = malloc(bytes);
    listing->data_room = listing->data != NULL ? bytes : 0;
    return listing->data != NULL;
}

static int listing_put_event(struct history_listing *listing, const struct message *message)
{
    struct sse_fields fields;

    if (!listing_reserve_data(listing, message->frame_n))
        return -ENOMEM;
    if (!sse_read_frame(message->frame, message->frame_n, listing->data, &fields))
        return -EIO; /* no frame of ours, though its checksum was right */
    listing_put(listing, listing->events_n > 0 ? ",{\"id\":" : "{\"id\":");
    listing_put_id(listing, message->position);
    listing_put_topics(listing, message);
    listing_put_users(listing, message);
    listing_put(listing, "],\"event\":");
    if (fields.name != NULL)
        listing_put_string(listing, fields.name, fields.name_n);
    else
        listing_put(listing, "\"message\"");
    listing_put(listing, ",\"data\":");
    listing_put_string(listing, fields.data, fields.data_n);
    if (message->is_json)
        listing_put(listing, ",\"json\":true");
    if (fields.retry_ms > 0) {
        listing_put(listing, ",\"retry\":");
        json_writer_number(&listing->to, fields.retry_ms);
    }
    if (message->ttl_ms > 0)
        listing_put_ttl(listing, message->ttl_ms);
    listing_put(listing, ",\"published\":");
    listing_put_time(listing, message->published_ms);
    listing_put(listing, "}");
    listing->events_n++;
    return 0;
}

/* ---- pages ---- */

struct history_listing *history_listing_new(const struct history_listing_ask *ask)
{
    struct history_listing *listing = calloc(1, sizeof(*listing));

    if (listing == NULL)
        return NULL;
    json_writer_init(&listing->to);
    listing->ask = *ask;
    listing->position = listing->reset_position = ask->after;
    listing->reset = ask->reset;
    listing_put(listing, "{\"events\":[");
    return listing;
}

void history_listing_free(struct history_listing *listing)
{
    if (listing == NULL)
        return;
    json_writer_clear(&listing->to);
    free(listing->data);
    free(listing);
}

static bool listing_is_full(const struct history_listing *listing)
{
    return listing->events_n == listing->ask.events_max ||
           (listing->events_n > 0 && listing->to.n >= listing->ask.bytes_max);
}

/* What comes after the position is trimmed. */
static int listing_take_loss(struct history_listing *listing, const struct history_bounds *bounds)
{
    if (listing->events_n > 0) {
        listing->is_over = true;
        return 0;
    }
    if (listing->reset == STREAM_RESET_NONE && !listing->ask.from_oldest)
        listing->reset = STREAM_RESET_EXPIRED;
    listing->position = listing->reset_position = bounds->trimmed;
    if (listing->ask.upto < bounds->trimmed)
        listing->ask.upto = bounds->newest;
    return 0;
}

/* The page ends at damage, behind its events. */
static void listing_take_damage(struct history_listing *listing, const struct history_page *page)
{
    listing->is_over = true;
    if (listing->reset != STREAM_RESET_NONE || listing_is_full(listing))
        return; /* for the next answer to tell */
    listing->reset = STREAM_RESET_DAMAGED;
    listing->position = listing->reset_position = page->upto;
}

static int listing_take_events(struct history_listing *listing, const struct history_page *page)
{
    for (size_t i = 0; i < page->events_n; i++) {
        const struct message *message = page->events[i];

        if (listing_is_full(listing)) {
            /* it has been looked for just to know that there is more */
            listing->position = message->position - 1;
            listing->is_over = true;
            return 0;
        }
        int result = listing_put_event(listing, message);
        if (result != 0)
            return result;
        listing->position = message->position;
    }
    if (page->damaged)
        listing_take_damage(listing, page);
    else
        listing->position = page->upto;
    return 0;
}

int history_listing_take(struct history_listing *listing, int result,
                         const struct history_page *page, const struct history_bounds *bounds)
{
    if (result == -ESTALE)
        return listing_take_loss(listing, bounds);
    return result == 0 ? listing_take_events(listing, page) : result;
}

bool history_listing_wants_more(const struct history_listing *listing)
{
    bool has_bytes = listing->to.n < listing->ask.bytes_max;

    return !listing->is_over && listing->position < listing->ask.upto &&
           (has_bytes || listing->events_n == 0);
}

uint64_t history_listing_position(const struct history_listing *listing)
{
    return listing->position;
}

uint64_t history_listing_upto(const struct history_listing *listing)
{
    return listing->ask.upto;
}

/* ---- the end ---- */

static void listing_put_reset(struct history_listing *listing)
{
    listing_put(listing, ",\"reset\":");
    if (listing->reset == STREAM_RESET_NONE) {
        listing_put(listing, "null");
        return;
    }
    listing_put(listing, "{\"reason\":\"");
    listing_put(listing, stream_reset_text(listing->reset));
    listing_put(listing, "\",\"id\":");
    listing_put_id(listing, listing->reset_position);
    listing_put(listing, "}");
}

char *history_listing_finish(struct history_listing *listing, const struct history_bounds *bounds,
                             size_t *ret_n)
{
    bool has_any = bounds->trimmed < bounds->newest;

    listing_put(listing, "],\"next\":");
    listing_put_id(listing, listing->position);
    listing_put(listing,
                listing->position < listing->ask.upto ? ",\"more\":true" : ",\"more\":false");
    listing_put(listing, ",\"oldest\":");
    listing_put_id_or_null(listing, bounds->trimmed + 1, has_any);
    listing_put(listing, ",\"newest\":");
    listing_put_id_or_null(listing, bounds->newest, has_any);
    listing_put_reset(listing);
    listing_put(listing, "}\n");
    return json_writer_take(&listing->to, ret_n);
}
