/* SPDX-License-Identifier: MIT */
/* A shared log in memory.  See memory_log.h. */
#include "config.h"
#include "memory_log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/log_entry.h"

struct memory_entry {
    size_t refs;
    uint64_t last, sub;
    size_t head_n;
    char head[LOG_ENTRY_HEAD_BYTES];
    size_t body_n;
    char body[];
};

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

static struct memory_entry *new_entry(const char *body, size_t body_n)
{
    struct memory_entry *entry = must(calloc(1, sizeof(*entry) + body_n));

    entry->refs = 1;
    entry->body_n = body_n;
    memcpy(entry->body, body, body_n);
    return entry;
}

static void drop_entry(struct memory_entry *entry)
{
    if (--entry->refs == 0)
        free(entry);
}

/* ---- data ---- */

static void free_data(struct memory_data *data)
{
    if (data == NULL)
        return;
    for (size_t i = 0; i < data->entries_n; i++)
        drop_entry(data->entries[i]);
    free(data->entries);
    free(data->lineage);
    free(data);
}

static struct memory_data *copy_data(const struct memory_data *data)
{
    struct memory_data *copy = must(malloc(sizeof(*copy)));

    *copy = *data;
    copy->entries = must(malloc((data->entries_n + 1) * sizeof(copy->entries[0])));
    for (size_t i = 0; i < data->entries_n; i++) {
        copy->entries[i] = data->entries[i];
        copy->entries[i]->refs++;
    }
    if (data->lineage != NULL)
        copy->lineage = must(lineage_copy(data->lineage));
    return copy;
}

static void put_entry(struct memory_data *data, struct memory_entry *entry)
{
    data->entries = must(realloc(data->entries, (data->entries_n + 1) * sizeof(data->entries[0])));
    data->entries[data->entries_n++] = entry;
}

static void remove_entries(struct memory_data *data, size_t at, size_t n)
{
    for (size_t i = at; i < at + n; i++)
        drop_entry(data->entries[i]);
    memmove(data->entries + at, data->entries + at + n,
            (data->entries_n - at - n) * sizeof(data->entries[0]));
    data->entries_n -= n;
}

static struct memory_writer *writer_of(struct memory_data *data, const char *name)
{
    for (size_t i = 0; i < data->writers_n; i++)
        if (strcmp(data->writers[i].name, name) == 0)
            return &data->writers[i];
    assert(data->writers_n < MEMORY_WRITERS_MAX);
    struct memory_writer *writer = &data->writers[data->writers_n++];
    *writer = (struct memory_writer){.seq = 0};
    strcpy(writer->name, name);
    return writer;
}

/* ---- servers ---- */

void memory_server_begin(struct memory_server *server, uint64_t life)
{
    *server = (struct memory_server){.life = life, .is_master = true, .now_ms = 1000};
    server->data = must(calloc(1, sizeof(*server->data)));
}

static void forget_snapshots(struct memory_server *server)
{
    for (size_t i = 0; i < server->snapshots_n; i++)
        free_data(server->snapshots[i]);
    server->snapshots_n = 0;
}

static void forget_late(struct memory_server *server)
{
    for (size_t i = 0; i < server->late_n; i++)
        drop_entry(server->late[i].entry);
    server->late_n = 0;
}

void memory_server_end(struct memory_server *server)
{
    forget_snapshots(server);
    forget_late(server);
    free_data(server->data);
}

/* Before a change. */
static void remember(struct memory_server *server)
{
    if (server->snapshots_n == MEMORY_SNAPSHOTS_MAX) {
        free_data(server->snapshots[0]);
        memmove(server->snapshots, server->snapshots + 1,
                --server->snapshots_n * sizeof(server->snapshots[0]));
    }
    server->snapshots[server->snapshots_n++] = copy_data(server->data);
}

void memory_server_live(struct memory_server *server, uint64_t life)
{
    server->life = life;
    forget_late(server);
}

void memory_server_lose(struct memory_server *server, size_t n)
{
    while (n-- > 0 && server->snapshots_n > 0) {
        free_data(server->data);
        server->data = server->snapshots[--server->snapshots_n];
    }
}

void memory_server_wipe(struct memory_server *server)
{
    forget_snapshots(server);
    free_data(server->data);
    server->data = must(calloc(1, sizeof(*server->data)));
}

void memory_server_copy(struct memory_server *to, const struct memory_server *from)
{
    forget_snapshots(to);
    free_data(to->data);
    to->data = copy_data(from->data);
    to->life = from->life;
}

void memory_server_trim(struct memory_server *server, size_t n)
{
    struct memory_data *data = server->data;

    if (data->entries_n <= n)
        return;
    remember(server);
    data->trimmed = data->entries[data->entries_n - n - 1]->last;
    remove_entries(data, 0, data->entries_n - n);
}

void memory_server_damage(struct memory_server *server, size_t index, size_t at)
{
    struct memory_data *data = server->data;

    if (index >= data->entries_n)
        return;
    struct memory_entry **place = &data->entries[data->entries_n - 1 - index];
    struct memory_entry *worse = new_entry((*place)->body, (*place)->body_n);
    worse->last = (*place)->last;
    worse->sub = (*place)->sub;
    worse->head_n = (*place)->head_n;
    memcpy(worse->head, (*place)->head, sizeof(worse->head));
    /* of an order, which might be as good then, hardly anything stays */
    worse->body_n -= worse->sub > 0 ? worse->body_n - 1 : 1 + at % (worse->body_n / 2);
    drop_entry(*place);
    *place = worse;
}

void memory_server_punch(struct memory_server *server, size_t index)
{
    struct memory_data *data = server->data;

    if (index < data->entries_n)
        remove_entries(data, data->entries_n - 1 - index, 1);
}

static struct shared_log_entry as_read(const struct memory_entry *entry)
{
    return (struct shared_log_entry){.last = entry->last,
                                     .sub = entry->sub,
                                     .head = entry->head,
                                     .head_n = entry->head_n,
                                     .body = entry->body,
                                     .body_n = entry->body_n};
}

void memory_server_each(const struct memory_server *server,
                        void (*each)(void *arg, const struct shared_log_entry *entry), void *arg)
{
    for (size_t i = 0; i < server->data->entries_n; i++) {
        struct shared_log_entry entry = as_read(server->data->entries[i]);

        each(arg, &entry);
    }
}

/* ---- what the scripts do ---- */

static bool is_of_term(const struct memory_server *server)
{
    return server->data->lineage != NULL && server->data->fence == server->life;
}

static void attach_to(struct memory_server *server, const struct shared_log_node *node)
{
    struct memory_data *data = server->data;
    struct lineage *before = data->lineage;

    if (is_of_term(server))
        return;
    remember(server);
    if (before == NULL) {
        data->head = data->trimmed = node->newest;
        data->at_ms = node->newest_ms;
    }
    data->lineage =
        must(lineage_begin(before != NULL ? before : node->lineage, node->epoch_new, data->head));
    data->fence = server->life;
    free(before);
}

/* A group takes positions, an order none. */
static void take_place(struct memory_data *data, struct memory_writer *writer,
                       const struct memory_late *late)
{
    writer->seq = late->seq;
    writer->first = data->head + 1;
    writer->at_ms = data->at_ms;
    data->head += late->events_n;
    data->sub = late->events_n > 0 ? 0 : data->sub + 1;
    writer->sub = data->sub;
    late->entry->last = data->head;
    late->entry->sub = data->sub;
}

static void tell_stored(const struct memory_server *server, const struct memory_entry *entry)
{
    struct shared_log_entry read = as_read(entry);

    if (server->stored != NULL)
        server->stored(server->arg, &read);
}

/* An entry without a place gets it.  Takes the entry unless it is not stored. */
static enum shared_log_outcome append_to(struct memory_server *server,
                                         const struct memory_late *late,
                                         struct memory_writer *ret_place)
{
    struct memory_data *data = server->data;
    struct memory_entry *entry = late->entry;

    if (!is_of_term(server) || strcmp(data->lineage->epoch, late->epoch) != 0)
        return SHARED_LOG_TERM;
    struct memory_writer *writer = writer_of(data, late->writer);
    if (writer->seq >= late->seq) {
        *ret_place = *writer;
        return SHARED_LOG_SEEN;
    }
    if (server->is_full)
        return SHARED_LOG_FULL;
    remember(server);
    if (server->now_ms > data->at_ms)
        data->at_ms = server->now_ms;
    take_place(data, writer, late);
    *ret_place = *writer;
    struct log_entry_head head = {.first = writer->first, .at_ms = writer->at_ms, .seq = late->seq};
    strcpy(head.epoch, data->lineage->epoch);
    strcpy(head.writer, late->writer);
    entry->head_n = log_entry_write_head(entry->head, &head);
    put_entry(data, entry);
    tell_stored(server, entry);
    return SHARED_LOG_DONE;
}

void memory_server_arrive(struct memory_server *server)
{
    struct memory_writer place;

    if (server->late_n == 0)
        return;
    struct memory_late late = server->late[0];
    memmove(server->late, server->late + 1, --server->late_n * sizeof(server->late[0]));
    if (!server->is_master || append_to(server, &late, &place) != SHARED_LOG_DONE)
        drop_entry(late.entry);
}

/* ---- a node's log ---- */

/* A request is asked, then carried out, then answered. */
enum stage { IDLE, ASKED, CARRIED_OUT };

struct memory_log {
    struct shared_log base;
    char writer[SHARED_LOG_WRITER_BYTES];
    struct memory_server *server;
    bool is_open;
    bool is_attached;

    enum stage attaching;
    struct shared_log_node node;
    struct lineage *node_lineage; /* a copy, since the other is borrowed for the call */
    char epoch_new[SSE_EPOCH_BYTES + 1];
    enum shared_log_outcome attach_outcome;
    struct shared_log_state state;
    char epoch[SSE_EPOCH_BYTES + 1]; /* that was attached */

    enum stage appending;
    struct shared_log_group group;
    char append_epoch[SSE_EPOCH_BYTES + 1];
    struct shared_log_appended appended;

    bool tails;
    uint64_t after, after_sub;
    struct shared_log_question *questions;
};

static struct memory_log *memory_of(const struct shared_log *log)
{
    return (struct memory_log *)(uintptr_t)log;
}

static void forget_attach(struct memory_log *memory)
{
    free(memory->node_lineage);
    memory->node_lineage = NULL;
    if (memory->attaching == CARRIED_OUT)
        free(memory->state.lineage);
    memory->attaching = IDLE;
}

static void answer_append(struct memory_log *memory, enum shared_log_outcome outcome)
{
    memory->appending = IDLE;
    memory->appended.seq = memory->group.seq;
    memory->appended.outcome = outcome;
    memory->appended.line = "";
    memory->base.hooks.appended(memory->base.hooks.arg, &memory->appended);
}

static void answer_questions(struct memory_log *memory, enum shared_log_outcome outcome)
{
    struct shared_log_question *question;

    while ((question = memory->questions) != NULL) {
        memory->questions = question->next;
        question->outcome = outcome;
        if (question->kind == SHARED_LOG_ASK_TICKET || question->kind == SHARED_LOG_ASK_TICKETS)
            question->outcome = SHARED_LOG_UNREACHABLE; /* it keeps none */
        if (outcome == SHARED_LOG_DONE && question->kind == SHARED_LOG_ASK_HEAD) {
            strcpy(question->epoch, memory->server->data->lineage->epoch);
            question->head = memory->server->data->head;
            question->now_ms = memory->server->now_ms;
        }
        question->answered(question);
    }
}

static void memory_open(struct shared_log *log)
{
    memory_of(log)->is_open = true;
}

static int memory_attach(struct shared_log *log, const struct shared_log_node *node)
{
    struct memory_log *memory = memory_of(log);

    if (memory->server == NULL)
        return -ENOTCONN;
    if (memory->attaching != IDLE)
        return -EBUSY;
    memory->tails = memory->is_attached = false;
    memory->node = *node;
    memory->node_lineage = must(lineage_copy(node->lineage));
    memory->node.lineage = memory->node_lineage;
    strcpy(memory->epoch_new, node->epoch_new);
    memory->node.epoch_new = memory->epoch_new;
    memory->attaching = ASKED;
    return 0;
}

static int memory_tail(struct shared_log *log, uint64_t after, uint64_t sub)
{
    struct memory_log *memory = memory_of(log);

    if (memory->server == NULL || !memory->is_attached)
        return -ENOTCONN;
    if (memory->tails)
        return -EBUSY;
    memory->tails = true;
    memory->after = after;
    memory->after_sub = sub;
    return 0;
}

static void memory_tail_end(struct shared_log *log)
{
    memory_of(log)->tails = false;
}

static int memory_append(struct shared_log *log, const struct shared_log_group *group)
{
    struct memory_log *memory = memory_of(log);

    if (memory->server == NULL || !memory->is_attached)
        return -ENOTCONN;
    if (memory->appending != IDLE)
        return -EBUSY;
    memory->group = *group;
    strcpy(memory->append_epoch, memory->epoch);
    memory->appending = ASKED;
    return 0;
}

static int memory_say(struct shared_log *log, const char *to, const char *bytes, size_t bytes_n)
{
    (void)to;
    (void)bytes;
    (void)bytes_n;
    return memory_of(log)->server == NULL ? -ENOTCONN : -ENOBUFS;
}

static void memory_ask(struct shared_log *log, struct shared_log_question *question)
{
    struct memory_log *memory = memory_of(log);

    question->next = memory->questions;
    memory->questions = question;
    if (memory->server == NULL)
        answer_questions(memory, SHARED_LOG_UNREACHABLE);
}

static void memory_free(struct shared_log *log)
{
    struct memory_log *memory = memory_of(log);

    answer_questions(memory, SHARED_LOG_LOST);
    forget_attach(memory);
    free(memory);
}

static const struct shared_log_ops memory_log_ops = {
    .open = memory_open,
    .attach = memory_attach,
    .tail = memory_tail,
    .tail_end = memory_tail_end,
    .append = memory_append,
    .say = memory_say,
    .ask = memory_ask,
    .free = memory_free,
};

struct shared_log *memory_log_new(const char *writer, const struct shared_log_hooks *hooks)
{
    struct memory_log *memory = must(calloc(1, sizeof(*memory)));

    memory->base.ops = &memory_log_ops;
    memory->base.hooks = *hooks;
    assert(strlen(writer) < sizeof(memory->writer));
    strcpy(memory->writer, writer);
    return &memory->base;
}

struct memory_server *memory_log_server(const struct shared_log *log)
{
    return memory_of(log)->server;
}

void memory_log_connect(struct shared_log *log, struct memory_server *server)
{
    struct memory_log *memory = memory_of(log);

    assert(memory->is_open);
    if (memory->server != NULL)
        memory_log_cut(log, false);
    memory->server = server;
    log->hooks.up(log->hooks.arg);
}

static struct memory_late request_of(const struct memory_log *memory)
{
    struct memory_late late = {.entry = new_entry(memory->group.body, memory->group.body_n),
                               .seq = memory->group.seq,
                               .events_n = memory->group.events_n};

    strcpy(late.writer, memory->writer);
    strcpy(late.epoch, memory->append_epoch);
    return late;
}

static void leave_late(struct memory_log *memory)
{
    struct memory_server *server = memory->server;

    if (server->late_n < MEMORY_LATE_MAX)
        server->late[server->late_n++] = request_of(memory);
}

void memory_log_cut(struct shared_log *log, bool comes_late)
{
    struct memory_log *memory = memory_of(log);
    bool was_attaching = memory->attaching != IDLE;

    if (memory->server == NULL)
        return;
    if (memory->appending == ASKED && comes_late)
        leave_late(memory);
    memory->server = NULL;
    memory->tails = memory->is_attached = false;
    forget_attach(memory);
    if (memory->appending != IDLE)
        answer_append(memory, SHARED_LOG_LOST);
    if (was_attaching)
        log->hooks.attached(log->hooks.arg, SHARED_LOG_LOST, NULL, "");
    answer_questions(memory, SHARED_LOG_LOST);
    log->hooks.down(log->hooks.arg, SHARED_LOG_UNREACHABLE, "");
}

/* ---- one thing at a time ---- */

static void carry_out_attach(struct memory_log *memory)
{
    struct memory_server *server = memory->server;

    memory->attaching = CARRIED_OUT;
    memory->state.lineage = NULL;
    memory->attach_outcome = server->is_master ? SHARED_LOG_DONE : SHARED_LOG_UNREACHABLE;
    if (!server->is_master)
        return;
    attach_to(server, &memory->node);
    memory->state = (struct shared_log_state){
        .lineage = must(lineage_copy(server->data->lineage)),
        .head = server->data->head,
        .trimmed = server->data->trimmed,
        .at_ms = server->data->at_ms,
        .now_ms = server->now_ms,
    };
}

static void answer_attach(struct memory_log *memory)
{
    bool done = memory->attach_outcome == SHARED_LOG_DONE;
    struct shared_log_state state = memory->state;

    memory->attaching = IDLE; /* the lineage is given away */
    forget_attach(memory);
    memory->is_attached = done;
    if (done)
        strcpy(memory->epoch, state.lineage->epoch);
    memory->base.hooks.attached(memory->base.hooks.arg, memory->attach_outcome,
                                done ? &state : NULL, "");
}

static void carry_out_append(struct memory_log *memory)
{
    struct memory_writer place = {.seq = 0};
    enum shared_log_outcome outcome = SHARED_LOG_UNREACHABLE;

    if (memory->server->is_master) {
        struct memory_late request = request_of(memory);

        outcome = append_to(memory->server, &request, &place);
        if (outcome != SHARED_LOG_DONE)
            drop_entry(request.entry);
    }
    memory->appending = CARRIED_OUT;
    memory->appended = (struct shared_log_appended){
        .outcome = outcome, .first = place.first, .sub = place.sub, .at_ms = place.at_ms};
    if (place.seq > 0)
        strcpy(memory->appended.epoch, memory->server->data->lineage->epoch);
}

bool memory_log_step(struct shared_log *log)
{
    struct memory_log *memory = memory_of(log);

    if (memory->server == NULL)
        return false;
    if (memory->appending == ASKED) /* before an attach, if there is one */
        carry_out_append(memory);
    else if (memory->attaching == ASKED)
        carry_out_attach(memory);
    else if (memory->appending == CARRIED_OUT)
        answer_append(memory, memory->appended.outcome);
    else if (memory->attaching == CARRIED_OUT)
        answer_attach(memory);
    else if (memory->questions != NULL)
        answer_questions(memory, is_of_term(memory->server) ? SHARED_LOG_DONE : SHARED_LOG_TERM);
    else
        return false;
    return true;
}

bool memory_log_step_tail(struct shared_log *log, size_t entries_n)
{
    struct memory_log *memory = memory_of(log);
    struct shared_log_entry entries[16];
    size_t n = 0;

    if (memory->server == NULL || !memory->tails)
        return false;
    const struct memory_data *data = memory->server->data;
    for (size_t i = 0; i < data->entries_n && n < entries_n && n < 16; i++) {
        const struct memory_entry *entry = data->entries[i];

        if (entry->last > memory->after ||
            (entry->last == memory->after && entry->sub > memory->after_sub))
            entries[n++] = as_read(entry);
    }
    if (n == 0)
        return false;
    memory->after = entries[n - 1].last;
    memory->after_sub = entries[n - 1].sub;
    if (!log->hooks.entries(log->hooks.arg, entries, n))
        memory->tails = false;
    return true;
}
