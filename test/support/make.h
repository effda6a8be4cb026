/* SPDX-License-Identifier: MIT */
/* Short ways to make events and filters for tests.  Lists of names are one string with blanks. */
#ifndef BUGLE_MAKE_H
#define BUGLE_MAKE_H

#include <stdlib.h>
#include <string.h>

#include "event/filter.h"
#include "event/message.h"
#include "history/history.h"

#define MAKE_NAMES_MAX 64

struct make_event {
    const char *topics; /* NULL: none */
    const char *users;
    const char *data; /* NULL: "data" */
    enum message_kind kind;
    int64_t ttl_ms;
    bool is_json;
    const char *key; /* NULL: none */
};

static inline size_t make_names(struct message_name *to, const char *list)
{
    size_t names_n = 0;

    while (list != NULL && *list != '\0') {
        size_t name_n = strcspn(list, " ");

        if (names_n == MAKE_NAMES_MAX)
            abort();
        to[names_n++] = (struct message_name){.bytes = list, .bytes_n = name_n};
        list += name_n + strspn(list + name_n, " ");
    }
    return names_n;
}

static inline struct message *make_event(const struct make_event *event)
{
    struct message_name topics[MAKE_NAMES_MAX], users[MAKE_NAMES_MAX];
    const char *data = event->data != NULL ? event->data : "data";
    struct message_draft draft = {
        .fields = {.data = data, .data_n = strlen(data)},
        .topics = topics,
        .topics_n = make_names(topics, event->topics),
        .users = users,
        .users_n = make_names(users, event->users),
        .ttl_ms = event->ttl_ms,
        .kind = event->kind,
        .is_json = event->is_json,
        .key = event->key,
        .key_n = event->key != NULL ? strlen(event->key) : 0,
    };
    struct message *message = message_new(&draft);

    if (message == NULL)
        abort();
    return message;
}

/* `make_message(.topics = "a b", .kind = MESSAGE_EPHEMERAL)` */
#define make_message(...) make_event(&(struct make_event){__VA_ARGS__})

/* An event that has been through the hub. */
static inline struct message *make_sealed(enum message_kind kind, uint64_t position)
{
    struct message *message = make_message(.kind = kind);

    message_seal(message, "abcdefghijkl", position, 1);
    return message;
}

static inline struct filter *make_filter(const char *patterns, const char *user)
{
    struct message_name names[MAKE_NAMES_MAX] = {{.bytes = NULL}};
    struct message_name name = {.bytes = user, .bytes_n = user != NULL ? strlen(user) : 0};
    struct filter *filter =
        filter_new(names, make_names(names, patterns), user != NULL ? &name : NULL);

    if (filter == NULL)
        abort();
    return filter;
}

/* What a store holds. */
static inline struct history_usage usage_of(struct history *history)
{
    struct history_usage usage;

    history_usage(history, &usage);
    return usage;
}

#endif
