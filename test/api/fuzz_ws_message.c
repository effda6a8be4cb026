/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for messages of bugle.v1.  A message without events is taken just when the JSON
 * library finds in it what it must have and no more.  One with events is taken when the rest is
 * such a message, and the whole is JSON just when they are, which is asked when they are published.
 */
#include "api/ws_message.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "event/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEPTH_MAX 16
#define FLAGS (JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY)

static bool is_one_of(const char *word, const char *list)
{
    size_t word_n = strlen(word);

    if (word_n == 0 || strchr(word, ' ') != NULL)
        return false;
    for (const char *at = list; (at = strstr(at, word)) != NULL; at++)
        if ((at == list || at[-1] == ' ') && (at[word_n] == ' ' || at[word_n] == '\0'))
            return true;
    return false;
}

static bool are_patterns(json_t *topics)
{
    for (size_t i = 0; i < json_array_size(topics); i++) {
        json_t *topic = json_array_get(topics, i);

        if (!json_is_string(topic) ||
            topic_check_pattern(json_string_value(topic), json_string_length(topic)) != TOPIC_OK)
            return false;
    }
    return json_array_size(topics) >= 1 && json_array_size(topics) <= WS_MESSAGE_TOPICS_MAX;
}

/* By the library's tree, but for the ref, whose bytes it does not keep. */
static bool is_message(json_t *root, bool has_ref)
{
    const char *type = json_string_value(json_object_get(root, "type")), *member;
    json_t *value;

    if (type == NULL || !is_one_of(type, "publish subscribe unsubscribe ping pong"))
        return false;
    bool has_topics = is_one_of(type, "subscribe unsubscribe");
    const char *members = has_topics                     ? "type ref topics"
                          : strcmp(type, "publish") == 0 ? "type ref events"
                                                         : "type ref";
    json_object_foreach(root, member, value)
    {
        if (!is_one_of(member, members))
            return false;
    }
    if (json_object_get(root, "ref") != NULL ? !has_ref : strcmp(type, "pong") != 0)
        return false;
    if (strcmp(type, "publish") == 0)
        return json_object_get(root, "events") != NULL;
    return !has_topics || are_patterns(json_object_get(root, "topics"));
}

static void check_taken(struct json_span text, const struct ws_message *message, json_t *whole)
{
    if (message->kind != WS_MESSAGE_PUBLISH) {
        assert(whole != NULL && is_message(whole, message->ref.at != NULL));
        return;
    }
    assert(message->events.at > text.at);
    assert(message->events.at + message->events.bytes_n < text.at + text.bytes_n);
    json_t *events = json_loadb(message->events.at, message->events.bytes_n, FLAGS, NULL);
    /* the library lets a NUL pass behind some tokens; who publishes the events does not */
    if (memchr(message->events.at, '\0', message->events.bytes_n) == NULL)
        assert((events != NULL) == (whole != NULL));
    if (events != NULL && whole != NULL)
        assert(json_equal(events, json_object_get(whole, "events")));
    json_decref(events);
}

static bool is_told_by_size(const struct problem *problem)
{
    return problem->status == 413 || strcmp(problem->code, "json_too_deep") == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + (size == 0));
    struct ws_message message;
    struct problem problem;

    assert(text != NULL);
    memcpy(text, data, size);
    struct json_span span = {text, size};
    json_t *whole = json_loadb(text, size, FLAGS, NULL);
    bool taken = ws_message_read(span, DEPTH_MAX, &message, &problem);
    if (message.ref.at != NULL)
        assert(message.ref.at > text && message.ref.at + message.ref.bytes_n < text + size);
    if (taken)
        check_taken(span, &message, whole);
    else
        assert(problem.status >= 400 && problem.detail[0] != '\0' && problem.pointer[0] != ' ');
    if (!taken && whole != NULL && memchr(text, '\0', size) == NULL && !is_told_by_size(&problem))
        assert(!is_message(whole, message.ref.at != NULL));
    ws_message_end(&message);
    json_decref(whole);
    free(text);
    return 0;
}
