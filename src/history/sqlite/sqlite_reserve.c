/* SPDX-License-Identifier: MIT */
/* The store on disk: whether there is room for a commit beside what is to be left free.  See
 * history_set_reserve(). */
#include "config.h"

#include <sys/statvfs.h>

#include "history/sqlite/sqlite_internal.h"
#include "history/sqlite/sqlite_vfs.h"

/* Pages that every commit changes: the ends of the tables and what leads there. */
#define PAGES_OF_A_COMMIT 8

/* What a commit takes at most: events go to the log and later into the file, and each event, each
 * of its names and its key, in its row and its index, may change a page of its own. */
static uint64_t bytes_for(struct message *const *events, size_t events_n)
{
    uint64_t bytes = 0, pages = PAGES_OF_A_COMMIT;

    for (size_t i = 0; i < events_n; i++) {
        const struct message *message = events[i];

        bytes += sqlite_cost(sqlite_row_names_bytes(message), message_body_bytes(message));
        pages += 1 + (uint64_t)message->topics_n + message->users_n + (message->key_n > 0 ? 2 : 0);
    }
    return 2 * bytes + pages * SQLITE_VFS_PAGE_BYTES;
}

/* What is free for a process without privileges; UINT64_MAX where the file system does not know. */
static uint64_t free_bytes(const struct sqlite_store *sqlite)
{
    struct statvfs facts;

    if (fstatvfs(sqlite->lock_fd, &facts) != 0 || facts.f_blocks == 0)
        return UINT64_MAX;
    return (uint64_t)facts.f_bavail * facts.f_frsize;
}

/* When there is no more, once a second while publishers are refused, and when there is again. */
static void tell(struct sqlite_store *sqlite, bool has_room, uint64_t room, uint64_t asked,
                 bool refuses)
{
    uint64_t reserve = sqlite->base.disk_reserve;
    bool had_room = !sqlite->lacks_room;
    char more[LOG_SKIPPED_BYTES];
    unsigned long skipped;

    sqlite->lacks_room = !has_room;
    sqlite->base.free_bytes = room;
    sqlite->base.asked_bytes = asked;
    if (has_room && !had_room)
        log_info("%s: there is room on the disk again: publishing goes on", sqlite->path);
    else if (!has_room && (had_room || refuses) && log_valve_open(&sqlite->valve, &skipped))
        log_warning("%s: %llu KiB are free on the disk, history.disk_reserve is %llu KiB, and the "
                    "next commit takes up to %llu KiB: publishes are answered 507 until there is "
                    "room; free some, or set a smaller reserve%s",
                    sqlite->path, (unsigned long long)room / 1024,
                    (unsigned long long)reserve / 1024, (unsigned long long)(asked + 1023) / 1024,
                    log_skipped(more, skipped));
    if (has_room != had_room)
        sqlite_tell_trouble(sqlite);
}

static bool look(struct sqlite_store *sqlite, uint64_t asked, bool refuses)
{
    uint64_t reserve = sqlite->base.disk_reserve, room = UINT64_MAX;

    if (reserve > 0)
        room = free_bytes(sqlite);
    /* the reserve is far below 2^64 */
    bool has_room = room == UINT64_MAX || room >= reserve + asked;
    tell(sqlite, has_room, room, asked, refuses);
    return has_room;
}

bool sqlite_has_room(struct sqlite_store *sqlite, struct message *const *events, size_t events_n)
{
    return look(sqlite, bytes_for(events, events_n), true);
}

void sqlite_look_for_room(struct sqlite_store *sqlite)
{
    look(sqlite, bytes_for(NULL, 0), false);
}
