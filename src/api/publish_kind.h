/* SPDX-License-Identifier: MIT */
/*
 * What kind of body a publish has: by its Content-Type, and where that says nothing of use, by how
 * it looks.  `curl -d` and fetch() with a string send JSON under another name, and taken as a text
 * without a topic it would be read to everybody.  Any thread.
 */
#ifndef BUGLE_PUBLISH_KIND_H
#define BUGLE_PUBLISH_KIND_H

#include <stdbool.h>
#include <stddef.h>

enum publish_kind { PUBLISH_KIND_TEXT, PUBLISH_KIND_JSON, PUBLISH_KIND_FORM };

/* Whether a media type is JSON: application/json, text/json, and any with the suffix +json (RFC
 * 6839 3.1), whatever its case and parameters.  NULL is none. */
bool publish_kind_is_json(const char *content_type);

/*
 * What a body looks like that did not say JSON: _JSON for an object, or an array or lines of
 * objects, with a member that an event has; _FORM for fields of which one is a topic, user or data.
 * A byte order mark and white space before it do not matter, nor whether the rest is valid.
 *
 * Linear in the body, without memory; 0.3 to 5 ns a byte.
 */
enum publish_kind publish_kind_look(const char *body, size_t body_n);

#endif
