/* SPDX-License-Identifier: MIT */
/* What memory there is.  See machine.h. */
#include "config.h"
#include "base/machine.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define BYTES_UNKNOWN (UINT64_C(1) << 30)
#define LINE_BYTES 1024

static FILE *open_below(const char *root, const char *path)
{
    char whole[PATH_MAX];

    if (snprintf(whole, sizeof(whole), "%s%s", root, path) >= (int)sizeof(whole))
        return NULL;
    return fopen(whole, "re");
}

/* The number in a file of one line; UINT64_MAX when it says "max", or there is none. */
static uint64_t read_limit(const char *root, const char *path)
{
    FILE *file = open_below(root, path);
    uint64_t bytes = UINT64_MAX;

    if (file == NULL)
        return UINT64_MAX;
    if (fscanf(file, "%" SCNu64, &bytes) != 1)
        bytes = UINT64_MAX;
    fclose(file);
    return bytes;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The least limit on the way from a group up to the root of its hierarchy.  A group that is not
 * there is one whose hierarchy was mounted from further down, as in containers: the root counts. */
static uint64_t least_upwards(const char *root, const char *mount, const char *group,
                              const char *file)
{
    char at[LINE_BYTES], path[LINE_BYTES * 2];
    uint64_t bytes = UINT64_MAX;
    char *slash = at;

    snprintf(at, sizeof(at), "%s", group);
    while (slash != NULL) {
        snprintf(path, sizeof(path), "%s%s/%s", mount, at, file);
        bytes = least(bytes, read_limit(root, path));
        slash = strrchr(at, '/');
        if (slash != NULL)
            *slash = '\0';
    }
    return bytes;
}

/* Whether a list with commas has the word. */
static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (const char *at = list; (at = strstr(at, word)) != NULL; at += n)
        if ((at == list || at[-1] == ',') && (at[n] == ',' || at[n] == '\0'))
            return true;
    return false;
}

/* A line of /proc/self/cgroup: "number:controllers:/group"; of version 2 there are none. */
static uint64_t limit_of_line(const char *root, char *line)
{
    char *controllers = strchr(line, ':');
    char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;

    if (group == NULL)
        return UINT64_MAX;
    controllers++;
    *group++ = '\0';
    group[strcspn(group, "\n")] = '\0';
    if (controllers[0] == '\0')
        return least(least_upwards(root, "/sys/fs/cgroup", group, "memory.max"),
                     least_upwards(root, "/sys/fs/cgroup/unified", group, "memory.max"));
    if (!has_word(controllers, "memory"))
        return UINT64_MAX;
    return least_upwards(root, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
}

uint64_t machine_cgroup_bytes(const char *root)
{
    FILE *file = open_below(root, "/proc/self/cgroup");
    uint64_t bytes = UINT64_MAX;
    char line[LINE_BYTES];

    if (file == NULL)
        return UINT64_MAX;
    while (fgets(line, sizeof(line), file) != NULL)
        bytes = least(bytes, limit_of_line(root, line));
    fclose(file);
    return bytes;
}

static uint64_t read_total(const char *root)
{
    FILE *file = open_below(root, "/proc/meminfo");
    uint64_t kib = 0;
    char line[LINE_BYTES];

    while (file != NULL && kib == 0 && fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "MemTotal: %" SCNu64, &kib) != 1)
            kib = 0;
    if (file != NULL)
        fclose(file);
    return kib > 0 ? kib * 1024 : UINT64_MAX;
}

uint64_t machine_memory_bytes(const char *root)
{
    uint64_t bytes = least(read_total(root), machine_cgroup_bytes(root));

    return bytes == UINT64_MAX ? BYTES_UNKNOWN : bytes;
}
