/* SPDX-License-Identifier: MIT */
/* Whether something moves on.  See progress.h. */
#include "config.h"
#include "progress.h"

void progress_begin(struct progress *progress, int64_t now_ms, int64_t bytes)
{
    *progress = (struct progress){
        .begun_ms = now_ms, .begun_bytes = bytes, .moved_ms = now_ms, .bytes = bytes};
}

void progress_note(struct progress *progress, int64_t now_ms, int64_t bytes)
{
    if (bytes == progress->bytes)
        return;
    progress->bytes = bytes;
    progress->moved_ms = now_ms;
}

int64_t progress_still_ms(const struct progress *progress, int64_t now_ms)
{
    return now_ms - progress->moved_ms;
}

bool progress_is_slow(const struct progress *progress, int64_t now_ms, uint64_t rate)
{
    int64_t counted_ms = now_ms - progress->begun_ms - PROGRESS_GRACE_MS;
    double came = (double)(progress->bytes - progress->begun_bytes);

    return counted_ms > 0 && came < (double)rate * (double)counted_ms / 1000;
}
