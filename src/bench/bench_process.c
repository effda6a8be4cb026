/* SPDX-License-Identifier: MIT */
/* CPU and memory of other processes. */
#include "config.h"
#include "bench/bench_process.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* First number of a thread's schedstat: nanoseconds on a CPU. */
static int thread_cpu(pid_t pid, const char *tid, uint64_t *ret_ns)
{
    char path[320];

    snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, tid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -errno;
    int found = fscanf(file, "%" SCNu64, ret_ns);
    fclose(file);
    return found == 1 ? 0 : -ENODATA;
}

static int threads_cpu(pid_t pid, uint64_t *ret_ns)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL)
        return -ESRCH;
    uint64_t sum = 0, ns;
    int read_n = 0;
    for (struct dirent *task; (task = readdir(tasks));) {
        if (task->d_name[0] == '.' || thread_cpu(pid, task->d_name, &ns) != 0)
            continue;
        sum += ns;
        read_n++;
    }
    closedir(tasks);
    if (read_n == 0)
        return -ENODATA;
    *ret_ns = sum;
    return 0;
}

/* User and system time of the whole process, in clock ticks. */
static int ticks_cpu(pid_t pid, uint64_t *ret_ns)
{
    char path[64], text[1024];

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -ESRCH;
    size_t text_n = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[text_n] = '\0';
    char *after_name = strrchr(text, ')'); /* the name may hold anything */
    uint64_t user, system;
    if (after_name == NULL ||
        sscanf(after_name, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64,
               &user, &system) != 2)
        return -ESRCH;
    *ret_ns = (user + system) * (UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK));
    return 0;
}

static int private_of(pid_t pid, uint64_t *ret_bytes)
{
    char path[64], line[256];

    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -ESRCH;
    uint64_t sum = 0, kib;
    int found = 0;
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "Private_Clean: %" SCNu64, &kib) == 1 ||
            sscanf(line, "Private_Dirty: %" SCNu64, &kib) == 1) {
            sum += kib * 1024;
            found++;
        }
    }
    fclose(file);
    if (found == 0)
        return -ESRCH;
    *ret_bytes = sum;
    return 0;
}

/* The memory first: to walk over it takes time in which a server goes on using its CPU. */
int bench_process_look(const pid_t *pids, size_t pids_n, uint64_t *ret_cpu_ns, uint64_t *ret_bytes)
{
    uint64_t sum_ns = 0, sum_bytes = 0, one;
    int rc = 0;

    for (size_t i = 0; ret_bytes != NULL && rc == 0 && i < pids_n; i++)
        if ((rc = private_of(pids[i], &one)) == 0)
            sum_bytes += one;
    for (size_t i = 0; ret_cpu_ns != NULL && rc == 0 && i < pids_n; i++) {
        rc = threads_cpu(pids[i], &one);
        if (rc == -ENODATA)
            rc = ticks_cpu(pids[i], &one);
        sum_ns += rc == 0 ? one : 0;
    }
    if (rc == 0 && ret_bytes != NULL)
        *ret_bytes = sum_bytes;
    if (rc == 0 && ret_cpu_ns != NULL)
        *ret_cpu_ns = sum_ns;
    return rc;
}
