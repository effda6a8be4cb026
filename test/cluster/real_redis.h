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

#include "cluster/redis_log.h"
#include "cluster/redis_url.h"

#define REAL_PATIENCE_MS 20000

struct real_redis {
    char folder[64];
    struct redis_place place;
    pid_t pid; /* 0: it does not run */
    bool is_sentinel;
    bool is_tls;
};

/* What a node of this name asks of a log at `url`, both borrowed. */
static inline struct redis_log_conf real_log_conf(const struct redis_url *url, const char *name)
{
    return (struct redis_log_conf){.url = url,
                                   .prefix = "bugle",
                                   .node = name,
                                   .incarnation = name,
                                   .promise = HISTORY_MEMORY,
                                   .timeout_ms = 5000,
                                   .lease_ms = 500,
                                   .key_window_ms = 60000,
                                   .log_bytes = 1 << 28,
                                   .log_age_ms = 3600000,
                                   .group_bytes_max = 1 << 20};
}

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

/* Below those that the kernel gives to who connects; taken by chance, as tests run side by side. */
static inline uint16_t real_free_port(void)
{
    for (int tries = 0; tries < 1000; tries++) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons((uint16_t)(10000 + arc4random() % 20000)),
                                      .sin_addr.s_addr = htonl(INADDR_ANY)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int result = bind(fd, (struct sockaddr *)&address, sizeof(address));

        close(fd);
        if (result == 0)
            return ntohs(address.sin_port);
    }
    abort();
}

/* Write lines to a connection and take the last `answer_n` bytes of what comes; for set-up only. */
static inline void __attribute__((format(printf, 4, 5)))
real_tell(struct real_redis *redis, char *answer, size_t answer_n, const char *format, ...)
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

/* Whether it has loaded what it has. */
static inline bool real_redis_is_ready(struct real_redis *redis)
{
    char answer[256] = "LOADING";
    int fd = real_connect(redis->place.port);

    if (fd < 0)
        return false;
    close(fd);
    if (redis->is_tls)
        return true;
    real_tell(redis, answer, sizeof(answer), "PING");
    return strstr(answer, "LOADING") == NULL;
}

/* Start it, or start it again, and wait until it is ready.  Returns false when it ended. */
static inline bool real_redis_try(struct real_redis *redis)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/redis.conf", redis->folder);
    redis->pid = fork();
    if (redis->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl("/usr/bin/redis-server", "redis-server", path,
              redis->is_sentinel ? "--sentinel" : (char *)NULL, (char *)NULL);
        _exit(127);
    }
    for (int waited_ms = 0; waited_ms < REAL_PATIENCE_MS; waited_ms += 10) {
        if (waitpid(redis->pid, NULL, WNOHANG) == redis->pid)
            return false;
        if (real_redis_is_ready(redis))
            return true;
        usleep(10000);
    }
    return false;
}

static inline void real_redis_run(struct real_redis *redis)
{
    if (real_redis_try(redis))
        return;
    fprintf(stderr, "redis-server does not start\n");
    abort();
}

static inline void real_redis_write(const struct real_redis *redis, const char *config)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/redis.conf", redis->folder);
    file = fopen(path, "w");
    if (redis->is_tls)
        fprintf(file, "port 0\ntls-");
    fprintf(file,
            "port %u\nbind 127.0.0.1 127.0.0.2\ndir %s\nsave \"\"\nlogfile %s/log\n"
            "daemonize no\n%s\n",
            redis->place.port, redis->folder, redis->folder, config);
    fclose(file);
}

/* config  lines, added to what every one has; a sentinel or one inside TLS is known by them */
static inline void real_redis_begin(struct real_redis *redis, const char *config)
{
    memset(redis, 0, sizeof(*redis));
    strcpy(redis->folder, "/tmp/bugle-redis-XXXXXX");
    if (mkdtemp(redis->folder) == NULL)
        abort();
    strcpy(redis->place.host, "127.0.0.1");
    redis->is_sentinel = strncmp(config, "sentinel ", 9) == 0;
    redis->is_tls = strstr(config, "tls-cert-file") != NULL;
    for (int tries = 0; tries < 10; tries++) { /* another test may take the port */
        redis->place.port = real_free_port();
        real_redis_write(redis, config);
        if (real_redis_try(redis))
            return;
    }
    fprintf(stderr, "redis-server does not start\n");
    abort();
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
