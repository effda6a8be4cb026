/* SPDX-License-Identifier: MIT */
/*
 * A redis-server of the test's own, on a free port of loopback with a folder of its own, and
 * sentinels.  Tests that need one are skipped where none is installed.
 */
#ifndef BUGLE_REAL_REDIS_H
#define BUGLE_REAL_REDIS_H

#include <arpa/inet.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/redis_url.h"

#define REAL_PATIENCE_MS 20000

struct real_redis {
    char folder[64];
    struct redis_place place;
    pid_t pid; /* 0: it does not run */
    char config[4096];
    bool is_sentinel;
};

static inline bool real_redis_is_installed(void)
{
    return access("/usr/bin/redis-server", X_OK) == 0;
}

static inline int real_connect(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

static inline uint16_t real_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_n = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &address_n) != 0)
        abort();
    close(fd);
    return ntohs(address.sin_port);
}

/* Write lines to a connection and take the last `answer_n` bytes of what comes; for set-up only. */
static inline void real_tell(struct real_redis *redis, char *answer, size_t answer_n,
                             const char *format, ...)
{
    char line[1024], bytes[4096];
    int fd = real_connect(redis->place.port);
    va_list args;

    va_start(args, format);
    int n = vsnprintf(line, sizeof(line) - 2, format, args);
    va_end(args);
    strcpy(line + n, "\r\n");
    if (fd < 0 || write(fd, line, (size_t)n + 2) != n + 2)
        abort();
    ssize_t got = read(fd, bytes, sizeof(bytes) - 1);
    bytes[got > 0 ? got : 0] = '\0';
    if (answer != NULL)
        snprintf(answer, answer_n, "%.*s", (int)answer_n - 1, bytes);
    close(fd);
}

/* Start it, or start it again, and wait until it has loaded what it has. */
static inline void real_redis_run(struct real_redis *redis)
{
    char path[128], answer[256] = "";

    snprintf(path, sizeof(path), "%s/redis.conf", redis->folder);
    redis->pid = fork();
    if (redis->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl("/usr/bin/redis-server", "redis-server", path,
              redis->is_sentinel ? "--sentinel" : (char *)NULL, (char *)NULL);
        _exit(127);
    }
    for (int waited_ms = 0; waited_ms < REAL_PATIENCE_MS; waited_ms += 10) {
        int fd = real_connect(redis->place.port);

        if (fd >= 0) {
            close(fd);
            real_tell(redis, answer, sizeof(answer), "PING");
            if (strstr(answer, "LOADING") == NULL)
                return;
        }
        usleep(10000);
    }
    fprintf(stderr, "redis-server does not start\n");
    abort();
}

/* config  lines, added to what every one has */
static inline void real_redis_begin(struct real_redis *redis, const char *config)
{
    char path[128];
    FILE *file;

    memset(redis, 0, sizeof(*redis));
    strcpy(redis->folder, "/tmp/bugle-redis-XXXXXX");
    if (mkdtemp(redis->folder) == NULL)
        abort();
    strcpy(redis->place.host, "127.0.0.1");
    redis->place.port = real_free_port();
    redis->is_sentinel = strstr(config, "sentinel monitor") != NULL;
    snprintf(path, sizeof(path), "%s/redis.conf", redis->folder);
    file = fopen(path, "w");
    fprintf(file, "port %u\nbind 127.0.0.1\ndir %s\nsave \"\"\nlogfile %s/log\ndaemonize no\n%s\n",
            redis->place.port, redis->folder, redis->folder, config);
    fclose(file);
    real_redis_run(redis);
}

static inline void real_redis_kill(struct real_redis *redis)
{
    if (redis->pid > 0) {
        kill(redis->pid, SIGKILL);
        kill(redis->pid, SIGCONT);
        waitpid(redis->pid, NULL, 0);
    }
    redis->pid = 0;
}

static inline int real_remove(const char *path, const struct stat *status, int type,
                              struct FTW *walk)
{
    (void)status, (void)type, (void)walk;
    return remove(path);
}

static inline void real_redis_end(struct real_redis *redis)
{
    real_redis_kill(redis);
    nftw(redis->folder, real_remove, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
