/* SPDX-License-Identifier: MIT */
/*
 * The store on disk: reading.  Each read is one short transaction on a connection that nobody else
 * uses meanwhile.  Which events may match is found by topic and user where the filter allows it;
 * the filter itself has the last word on each.
 *
 * Positions have no holes, so a row that is not there is damage as much as one whose checksum is
 * wrong.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "event/topic.h"
#include "history/sqlite/sqlite_internal.h"
#include "history/sqlite/sqlite_row.h"

#define PAGE_EVENTS_MAX 256
/* Topics looked at for the patterns of one read; beyond it, going through the events is cheaper. */
#define TOPICS_MAX 512
/* Events that a pattern looks through before it looks for topics, and what it must find there to be
 * content with that. */
#define PROBE_EVENTS 256
#define PROBE_FOUND_MIN 16

/* ---- one read ---- */

/* What the functions below return, or an error code of SQLite. */
enum {
    GO_ON = SQLITE_OK,
    STOP = -1, /* the page is as full as it gets */
};

struct read {
    struct sqlite_store *sqlite;
    struct sqlite_reader *reader;
    const struct history_query *query;
    const char *epoch;
    struct history_page *page; /* NULL: a search */
    uint64_t last;             /* the last position there is to read */
    int64_t began_ns;
};

static sqlite3_stmt *statement_of(const struct read *read, enum sqlite_store_read which)
{
    return read->reader->statements[which];
}

/* ---- one row ---- */

/* Room for the names of an event, in a struct that the filter can look at. */
static int reserve_names(struct sqlite_reader *reader, size_t count)
{
    if (reader->names != NULL && count <= reader->names_room)
        return SQLITE_OK;
    struct message *names =
        realloc(reader->names, sizeof(*names) + count * sizeof(struct message_name));
    if (names == NULL)
        return SQLITE_NOMEM;
    reader->names = names;
    reader->names_room = count;
    return SQLITE_OK;
}

static int add_event(struct read *read, const struct sqlite_row *row, const struct message *names)
{
    struct history_page *page = read->page;
    struct message_record record = {
        .body = row->body,
        .body_n = row->body_n,
        .topics = message_topics(names),
        .topics_n = names->topics_n,
        .users = message_users(names),
        .users_n = names->users_n,
        .position = row->position,
        .published_ms = row->published_ms,
        .ttl_ms = row->ttl_ms,
        .is_json = row->is_json,
    };

    if (page->events_n == PAGE_EVENTS_MAX ||
        (page->events_n > 0 && page->bytes + row->body_n + SSE_TAIL_BYTES > read->query->bytes_max))
        return STOP;
    struct message *message = message_restore(&record, read->epoch);
    if (message == NULL)
        return SQLITE_NOMEM;
    page->events[page->events_n++] = message;
    page->bytes += message->frame_n;
    return GO_ON;
}

/* The page ends here: what is up to this position and behind its last event is lost. */
static int end_at_damage(struct read *read, uint64_t position)
{
    read->page->upto = position;
    read->page->damaged = true;
    return STOP;
}

enum verdict { ROW_DAMAGED, ROW_OTHERS, ROW_WANTED };

/* Whether a row is what was written, and for the filter; the reader has its names then.  Returns
 * GO_ON or SQLITE_NOMEM. */
static int judge_row(const struct read *read, sqlite3_stmt *statement, const struct sqlite_row *row,
                     enum verdict *ret_verdict)
{
    const struct history_query *query = read->query;
    size_t names_n = 0;

    *ret_verdict = ROW_DAMAGED;
    if (!sqlite_is_sound(statement, row) ||
        !sqlite_row_count_names(row->names, row->names_n, &names_n))
        return GO_ON;
    int code = reserve_names(read->reader, names_n);
    if (code != SQLITE_OK || !sqlite_row_get_names(row->names, row->names_n, read->reader->names))
        return code;
    bool is_over = row->ttl_ms > 0 && query->now_ms - row->published_ms >= row->ttl_ms;
    *ret_verdict =
        !is_over && filter_accepts(query->filter, read->reader->names) ? ROW_WANTED : ROW_OTHERS;
    return GO_ON;
}

/* Look at a row that must be the one of this position. */
static int look_at(struct read *read, sqlite3_stmt *statement, uint64_t position)
{
    enum verdict verdict;
    struct sqlite_row row;

    sqlite_get_row(statement, &row);
    if (row.position != position)
        return end_at_damage(read, row.position > position ? row.position - 1 : position);
    int code = judge_row(read, statement, &row, &verdict);
    if (code == GO_ON && verdict == ROW_DAMAGED)
        return end_at_damage(read, position);
    if (code == GO_ON && verdict == ROW_WANTED)
        code = add_event(read, &row, read->reader->names);
    if (code == GO_ON)
        read->page->upto = position;
    return code;
}

/* ---- damage that SQLite itself finds ---- */

static bool is_readable(struct read *read, uint64_t position)
{
    sqlite3_stmt *statement = statement_of(read, READ_EVENTS);

    sqlite3_bind_int64(statement, 1, (int64_t)position);
    sqlite3_bind_int64(statement, 2, (int64_t)position);
    int code = sqlite3_step(statement);
    sqlite3_reset(statement);
    return code == SQLITE_ROW;
}

/* Find the end of a damaged stretch in ever larger steps, then exactly; what lies behind it can be
 * read again. */
static int skip_damage(struct read *read, uint64_t position)
{
    uint64_t bad = position, good = position + 1, step = 1;

    while (good <= read->last && !is_readable(read, good)) {
        bad = good;
        step *= 2;
        good = read->last - bad > step ? bad + step : bad < read->last ? read->last : bad + 1;
    }
    while (good - bad > 1) {
        uint64_t middle = bad + (good - bad) / 2;

        if (is_readable(read, middle))
            good = middle;
        else
            bad = middle;
    }
    return end_at_damage(read, good - 1);
}

/* ---- rows that follow each other ---- */

static bool is_late(const struct read *read)
{
    const struct sqlite_store *sqlite = read->sqlite;
    bool has_events = read->page != NULL && read->page->events_n > 0;

    return clock_mono_ns() - read->began_ns >=
           (has_events ? sqlite->read_ns_with_events_max : sqlite->read_ns_max);
}

/* Look at all from `from` to `to`; the page has everything before. */
static int look_through(struct read *read, uint64_t from, uint64_t to)
{
    sqlite3_stmt *statement = statement_of(read, READ_EVENTS);
    uint64_t position = from;
    int code = SQLITE_DONE, result = GO_ON;

    read->page->upto = from - 1;
    sqlite3_bind_int64(statement, 1, (int64_t)from);
    sqlite3_bind_int64(statement, 2, (int64_t)to);
    while (result == GO_ON && position <= to && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        result = look_at(read, statement, position++);
        if (result == GO_ON && is_late(read))
            result = STOP;
    }
    sqlite3_reset(statement);
    if (result != GO_ON || position > to)
        return result;
    if (code == SQLITE_DONE)
        return end_at_damage(read, to);
    return sqlite_is_damage(code) ? skip_damage(read, position) : code;
}

/* ---- by topic and user ---- */

/* The smallest positions found so far, the largest of them first: a heap.  For a search, which
 * wants the largest, all positions here are mirrored. */
struct candidates {
    bool is_mirrored;
    uint64_t after;
    uint64_t last;
    size_t n;
    size_t topics_n; /* looked at */
    uint64_t at[PAGE_EVENTS_MAX];
};

static void sink(struct candidates *candidates, uint64_t position)
{
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child + 1 < candidates->n && candidates->at[child + 1] > candidates->at[child])
            child++;
        if (child >= candidates->n || candidates->at[child] <= position)
            break;
        candidates->at[i] = candidates->at[child];
        i = child;
    }
    candidates->at[i] = position;
}

static void rise(struct candidates *candidates, uint64_t position)
{
    size_t i = candidates->n++;

    while (i > 0 && candidates->at[(i - 1) / 2] < position) {
        candidates->at[i] = candidates->at[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    candidates->at[i] = position;
}

static uint64_t mirror(const struct candidates *candidates, uint64_t position)
{
    return candidates->is_mirrored ? SSE_POSITION_MAX - position : position;
}

static bool is_full(const struct candidates *candidates)
{
    return candidates->n == PAGE_EVENTS_MAX;
}

/* Collect what one name has that comes before what is there already. */
static int collect(struct read *read, enum sqlite_store_read which, const void *name, size_t name_n,
                   struct candidates *candidates)
{
    static const enum sqlite_store_read back[] = {
        [READ_TOPIC] = READ_TOPIC_BACK, [READ_USER] = READ_USER_BACK};
    sqlite3_stmt *statement = statement_of(read, candidates->is_mirrored ? back[which] : which);
    uint64_t from = mirror(candidates, candidates->after + 1);
    uint64_t to =
        mirror(candidates, is_full(candidates) ? candidates->at[0] - 1 : candidates->last);
    int code;

    sqlite_bind(statement, 1, name, name_n);
    sqlite3_bind_int64(statement, 2, (int64_t)(candidates->is_mirrored ? to : from));
    sqlite3_bind_int64(statement, 3, (int64_t)(candidates->is_mirrored ? from : to));
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        uint64_t position = mirror(candidates, (uint64_t)sqlite3_column_int64(statement, 0));

        if (!is_full(candidates))
            rise(candidates, position);
        else if (position < candidates->at[0])
            sink(candidates, position);
        else
            break;
    }
    sqlite3_reset(statement);
    return code == SQLITE_DONE || code == SQLITE_ROW ? GO_ON : code;
}

/* The bytes of a pattern before its first wildcard: whole segments with their slash, or nothing. */
static size_t literal_bytes(const struct filter_pattern *pattern)
{
    const char *star = memchr(pattern->name.bytes, '*', pattern->name.bytes_n);

    return star != NULL ? (size_t)(star - pattern->name.bytes) : pattern->name.bytes_n;
}

/* The next topic from `topic` on that begins as the pattern does; 0 bytes when there is none. */
static int find_topic(struct read *read, const struct filter_pattern *pattern, char *topic,
                      size_t *topic_n)
{
    sqlite3_stmt *statement = statement_of(read, READ_NEXT_TOPIC);
    size_t begin_n = literal_bytes(pattern);
    char end[TOPIC_BYTES_MAX];

    /* what begins with "a/" comes before "a0" */
    memcpy(end, pattern->name.bytes, begin_n);
    end[begin_n - 1]++;
    sqlite_bind(statement, 1, topic, *topic_n);
    sqlite_bind(statement, 2, end, begin_n);
    int code = sqlite3_step(statement);
    size_t found_n = code == SQLITE_ROW ? (size_t)sqlite3_column_bytes(statement, 0) : 0;
    if (found_n > TOPIC_BYTES_MAX || (code == SQLITE_ROW && found_n == 0))
        code = SQLITE_CORRUPT;
    else if (code == SQLITE_ROW)
        memcpy(topic, sqlite3_column_blob(statement, 0), found_n);
    sqlite3_reset(statement);
    *topic_n = found_n;
    return code == SQLITE_ROW || code == SQLITE_DONE ? GO_ON : code;
}

/* Find topic by topic, each with one search, what there is for a pattern. */
static int collect_pattern(struct read *read, const struct filter_pattern *pattern,
                           struct candidates *candidates)
{
    char topic[TOPIC_BYTES_MAX + 1];
    size_t topic_n = literal_bytes(pattern);

    memcpy(topic, pattern->name.bytes, topic_n);
    for (;;) {
        int code = find_topic(read, pattern, topic, &topic_n);

        if (code != GO_ON || topic_n == 0)
            return code;
        if (++candidates->topics_n > TOPICS_MAX)
            return STOP;
        if (topic_match(pattern->name.bytes, pattern->name.bytes_n, topic, topic_n))
            code = collect(read, READ_TOPIC, topic, topic_n, candidates);
        if (code != GO_ON)
            return code;
        topic[topic_n++] = '\0'; /* the very next in the order of bytes */
    }
}

/* Everything that may be for the filter; STOP when that would cost too much. */
static int collect_all(struct read *read, struct candidates *candidates)
{
    const struct filter *filter = read->query->filter;
    int code = collect(read, READ_TOPIC, "", 0, candidates);

    if (code == GO_ON && filter->user.bytes != NULL)
        code = collect(read, READ_USER, filter->user.bytes, filter->user.bytes_n, candidates);
    for (size_t i = 0; code == GO_ON && i < filter->patterns_n; i++) {
        const struct filter_pattern *pattern = &filter->patterns[i];

        code = pattern->wildcard ? collect_pattern(read, pattern, candidates)
                                 : collect(read, READ_TOPIC, pattern->name.bytes,
                                           pattern->name.bytes_n, candidates);
    }
    return code;
}

static int by_position(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

    return one < other ? -1 : one > other;
}

static int look_at_candidates(struct read *read, struct candidates *candidates)
{
    int code = GO_ON;

    qsort(candidates->at, candidates->n, sizeof(candidates->at[0]), by_position);
    for (size_t i = 0; code == GO_ON && i < candidates->n; i++)
        if (candidates->at[i] > read->page->upto) /* an event with two topics is there twice */
            code = look_through(read, candidates->at[i], candidates->at[i]);
    if (code == GO_ON && !is_full(candidates))
        read->page->upto = read->last;
    return code;
}

/* ---- by position ---- */

/* The first position from `from` on that a name has; UINT64_MAX when there is none. */
static int first_of(struct read *read, const struct message_name *user, uint64_t from,
                    uint64_t *ret_position)
{
    sqlite3_stmt *statement = statement_of(read, READ_USER);

    *ret_position = UINT64_MAX;
    if (user->bytes == NULL)
        return GO_ON;
    sqlite_bind(statement, 1, user->bytes, user->bytes_n);
    sqlite3_bind_int64(statement, 2, (int64_t)from);
    sqlite3_bind_int64(statement, 3, (int64_t)read->last);
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        *ret_position = (uint64_t)sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE ? GO_ON : code;
}

/* Go through the blocks that have events for everybody, and between them through what the user has
 * alone; a history of private events is passed over quickly. */
static int look_at_blocks(struct read *read)
{
    static const struct message_name nameless = {.bytes = "", .bytes_n = 0};
    int code = GO_ON;

    while (code == GO_ON && read->page->upto < read->last) {
        uint64_t from = read->page->upto + 1, block, private, to;

        code = first_of(read, &nameless, from - from % SQLITE_STORE_BLOCK, &block);
        if (code == GO_ON)
            code = first_of(read, &read->query->filter->user, from, &private);
        if (code != GO_ON)
            return code;
        if (block == UINT64_MAX && private == UINT64_MAX) {
            read->page->upto = read->last;
            return GO_ON;
        }
        to = private;
        if (block <= private) {
            from = block > from ? block : from;
            to = block + SQLITE_STORE_BLOCK - 1;
        } else {
            from = private;
        }
        code = look_through(read, from, to < read->last ? to : read->last);
    }
    return code;
}

/* ---- a page ---- */

static bool has_index(const struct filter *filter)
{
    for (size_t i = 0; i < filter->patterns_n; i++)
        if (literal_bytes(&filter->patterns[i]) == 0)
            return false;
    return filter->patterns_n > 0;
}

static bool has_wildcard(const struct filter *filter)
{
    for (size_t i = 0; i < filter->patterns_n; i++)
        if (filter->patterns[i].wildcard)
            return true;
    return false;
}

/* Where much matches, going through the events finds some at once; where little does, the index
 * finds it.  Nobody knows which it is, so a pattern tries the first for a moment. */
static int probe(struct read *read)
{
    uint64_t to = read->page->upto + PROBE_EVENTS;

    if (!has_wildcard(read->query->filter))
        return GO_ON;
    return look_through(read, read->page->upto + 1, to < read->last ? to : read->last);
}

static int fill_page(struct read *read)
{
    struct candidates candidates = {.last = read->last};
    int code = STOP;

    if (read->page->upto >= read->last)
        return GO_ON;
    if (has_index(read->query->filter)) {
        code = probe(read);
        if (code != GO_ON || read->page->events_n >= PROBE_FOUND_MIN ||
            read->page->upto == read->last)
            return code;
        candidates.after = read->page->upto;
        code = collect_all(read, &candidates);
    }
    if (code == GO_ON)
        return look_at_candidates(read, &candidates);
    if (code == STOP)
        code = look_at_blocks(read);
    /* an index that is damaged can be done without */
    if (sqlite_is_damage(code))
        code = look_through(read, read->page->upto + 1, read->last);
    return code;
}

/* Within a transaction.  What is trimmed is so for this reader when the transaction says it is. */
static int read_within(struct read *read)
{
    sqlite3_stmt *statement = statement_of(read, READ_OLDEST);
    int code = sqlite3_step(statement);
    int64_t oldest = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;

    sqlite3_reset(statement);
    if (sqlite_is_damage(code))
        oldest = (int64_t)read->query->after + 1; /* nothing is trimmed then, nor can be */
    else if (code != SQLITE_ROW)
        return -EIO;
    /* another process trims: what this one knows of it is as old as the last read that noticed */
    uint64_t trimmed = oldest > 0 ? (uint64_t)oldest - 1 : read->last;
    if (read->sqlite->away && trimmed > read->sqlite->trimmed)
        read->sqlite->trimmed = trimmed;
    if (read->query->after < trimmed)
        return -ESTALE;
    code = fill_page(read);
    if (code == GO_ON || code == STOP)
        return 0;
    return (code & 0xff) == SQLITE_NOMEM ? -ENOMEM : -EIO;
}

/* Begin a transaction that has every event up to `last`: the newest is asked for before it begins,
 * and nothing was cut off meanwhile. */
static int begin(struct read *read)
{
    struct sqlite_store *sqlite = read->sqlite;

    for (;;) {
        unsigned cuts_n = sqlite->cuts_n;
        uint64_t newest = sqlite->newest;

        read->epoch = history_epoch(&sqlite->base);
        read->last = newest < read->query->upto ? newest : read->query->upto;
        int result = sqlite_begin_read(sqlite, &read->reader);
        if (result != 0 || cuts_n == sqlite->cuts_n)
            return result;
        sqlite_end_read(sqlite, read->reader);
    }
}

int sqlite_store_read(struct history *history, const struct history_query *query,
                      struct history_page **ret_page)
{
    struct sqlite_store *sqlite = sqlite_of(history);
    struct read read = {.sqlite = sqlite, .query = query, .began_ns = clock_mono_ns()};

    if (query->after < sqlite->trimmed)
        return -ESTALE;
    read.page = history_page_new(query->after, PAGE_EVENTS_MAX);
    if (read.page == NULL)
        return -ENOMEM;
    int result = begin(&read);
    if (result == 0) {
        result = read_within(&read);
        sqlite_end_read(sqlite, read.reader);
    }
    if (result != 0)
        history_page_free(read.page);
    else
        *ret_page = read.page;
    return result;
}

/* ---- the latest ---- */

/* What is damaged counts as none: who reads from the place on is told. */
static int count_row(const struct read *read, sqlite3_stmt *statement,
                     struct history_search *search)
{
    enum verdict verdict;
    struct sqlite_row row;

    sqlite_get_row(statement, &row);
    int code = judge_row(read, statement, &row, &verdict);
    if (code != GO_ON)
        return code;
    search->before = row.position;
    search->left_n -= verdict == ROW_WANTED;
    return GO_ON;
}

/* Look at all from `oldest` on, backwards, as far as there is time. */
static int search_through(const struct read *read, struct history_search *search, uint64_t oldest)
{
    sqlite3_stmt *statement = statement_of(read, READ_EVENTS_BACK);
    int code = SQLITE_ROW, result = GO_ON;

    sqlite3_bind_int64(statement, 1, (int64_t)oldest);
    sqlite3_bind_int64(statement, 2, (int64_t)search->before - 1);
    while (result == GO_ON && search->left_n > 0 &&
           (code = sqlite3_step(statement)) == SQLITE_ROW) {
        result = count_row(read, statement, search);
        if (result == GO_ON && is_late(read))
            result = STOP;
    }
    sqlite3_reset(statement);
    if (result != GO_ON || code == SQLITE_ROW)
        return result;
    if (code == SQLITE_DONE) {
        search->before = oldest;
    } else if (sqlite_is_damage(code)) { /* for the one who reads from there */
        search->before--;
        search->left_n = 0;
    } else {
        return code;
    }
    return GO_ON;
}

/* Ask for one candidate. */
static int search_at(const struct read *read, struct history_search *search, uint64_t position)
{
    sqlite3_stmt *statement = statement_of(read, READ_EVENTS);

    sqlite3_bind_int64(statement, 1, (int64_t)position);
    sqlite3_bind_int64(statement, 2, (int64_t)position);
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        code = count_row(read, statement, search);
    sqlite3_reset(statement);
    return code == SQLITE_DONE ? GO_ON : code;
}

static int search_candidates(struct read *read, struct history_search *search, uint64_t oldest)
{
    struct candidates candidates = {.is_mirrored = true,
                                    .after = SSE_POSITION_MAX - search->before,
                                    .last = SSE_POSITION_MAX - oldest};
    int code = collect_all(read, &candidates);

    qsort(candidates.at, candidates.n, sizeof(candidates.at[0]), by_position);
    for (size_t i = 0; code == GO_ON && i < candidates.n && search->left_n > 0; i++) {
        uint64_t position = mirror(&candidates, candidates.at[i]);

        if (position < search->before) /* an event with two topics is there twice */
            code = search_at(read, search, position);
    }
    if (code == GO_ON && search->left_n > 0 && !is_full(&candidates))
        search->before = oldest;
    return code;
}

static int search_within(struct read *read, struct history_search *search, uint64_t oldest)
{
    int code = STOP;

    if (search->left_n == 0 || search->before <= oldest)
        return GO_ON;
    if (has_index(search->filter))
        code = search_candidates(read, search, oldest);
    if (code == STOP || sqlite_is_damage(code))
        code = search_through(read, search, oldest);
    return code;
}

int sqlite_store_search(struct history *history, struct history_search *search)
{
    struct sqlite_store *sqlite = sqlite_of(history);
    struct history_query query = {
        .filter = search->filter, .now_ms = search->now_ms, .upto = search->before - 1};
    struct read read = {.sqlite = sqlite, .query = &query, .began_ns = clock_mono_ns()};
    int code = begin(&read);

    if (code != 0)
        return code;
    uint64_t oldest = sqlite->trimmed + 1;
    if (search->before > read.last + 1)
        search->before = read.last + 1;
    code = search_within(&read, search, oldest);
    sqlite_end_read(sqlite, read.reader);
    if (search->before < oldest)
        search->before = oldest;
    if (code == GO_ON || code == STOP)
        return search->left_n > 0 && search->before > oldest;
    return (code & 0xff) == SQLITE_NOMEM ? -ENOMEM : -EIO;
}
