/* SPDX-License-Identifier: MIT */
/* The new process's side of a hand-over.  See takeover.h. */
#include "config.h"
#include "handover/takeover.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

struct takeover {
    struct link *link; /* NULL: the old process is gone */
    int timeout_ms;
    bool serves;
};

/* Returns a connected socket, -ENOENT when nobody is there, or -errno. */
static int reach(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)(const void *)&address, sizeof(address)) == 0)
        return fd;
    int error = errno;
    close(fd);
    return error == ECONNREFUSED || error == ENOENT ? -ENOENT : -error;
}

/* ---- steps ---- */

static int tell_refusal(const struct link_frame *frame, struct conf_error *ret_error)
{
    struct unpack unpack = {.at = frame->bytes, .left = frame->n};
    char *why = unpack_text(&unpack);

    conf_refuse(ret_error, -1, "the running gateway refuses to hand over: %s",
                why != NULL ? why : "?");
    free(why);
    return -1;
}

/* Wait for what comes next in the protocol.  Returns 0; -EPIPE: the old process is gone; or -1 with
 * a line. */
static int expect(struct takeover *takeover, enum link_type type, struct link_frame *ret_frame,
                  struct conf_error *ret_error)
{
    int result = link_receive(takeover->link, takeover->timeout_ms, ret_frame);

    if (result == -EPIPE)
        return -EPIPE;
    if (result != 0)
        return conf_refuse(ret_error, -1, "the running gateway does not hand over: %s",
                           strerror(-result));
    if (ret_frame->type == LINK_REFUSED)
        return tell_refusal(ret_frame, ret_error);
    if (ret_frame->type != type)
        return conf_refuse(ret_error, -1, "the running gateway does not keep to the protocol");
    return 0;
}

static void old_one_is_gone(struct takeover *takeover)
{
    log_warning("the gateway that was to hand over is gone: serving without it");
    link_free(takeover->link);
    takeover->link = NULL;
}

static int say_hello(struct takeover *takeover, const char *store)
{
    struct pack pack = {0};

    pack_u32(&pack, LINK_VERSION);
    pack_text(&pack, store);
    int result = link_send_pack(takeover->link, LINK_HELLO, &pack);
    pack_clear(&pack);
    return result;
}

/* An item of server.listen for each socket, in the same order. */
static int take_sockets(struct takeover *takeover, const struct link_frame *frame,
                        struct inherited *inherited)
{
    struct unpack unpack = {.at = frame->bytes, .left = frame->n};
    int fds[LINK_SOCKETS_MAX], result = 0;
    size_t fds_n = link_take_sockets(takeover->link, fds);

    for (size_t i = 0; i < fds_n; i++) {
        bool kept = unpack_u32(&unpack) != 0;
        char *item = unpack_text(&unpack);

        if (item == NULL)
            close(fds[i]);
        if (item == NULL || inherited_add(inherited, fds[i], item, kept) != 0)
            result = -EINVAL;
        free(item);
    }
    return unpack_is_done(&unpack) ? result : -EINVAL;
}

static int negotiate(struct takeover *takeover, const char *store, struct inherited *inherited,
                     struct conf_error *ret_error)
{
    struct link_frame frame;

    /* what cannot be said may have been answered already, with a refusal */
    say_hello(takeover, store);
    int result = expect(takeover, LINK_OFFER, &frame, ret_error);
    if (result == -EPIPE)
        return conf_refuse(ret_error, -1, "the running gateway left instead of handing over");
    if (result == 0 && take_sockets(takeover, &frame, inherited) != 0)
        return conf_refuse(ret_error, -1,
                           "the running gateway offers what are no listening sockets");
    return result;
}

int takeover_begin(const char *path, const char *store, int timeout_ms, struct inherited *inherited,
                   struct takeover **ret_takeover, struct conf_error *ret_error)
{
    int fd = reach(path);

    *ret_takeover = NULL;
    if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return conf_refuse(ret_error, -1, "%s: %s", path, strerror(-fd));
    struct takeover *takeover = calloc(1, sizeof(*takeover));
    if (takeover == NULL) {
        close(fd);
        return conf_refuse(ret_error, -1, "out of memory");
    }
    takeover->timeout_ms = timeout_ms;
    takeover->link = link_new(fd);
    int result = takeover->link != NULL ? negotiate(takeover, store, inherited, ret_error)
                                        : conf_refuse(ret_error, -1, "out of memory");
    if (result == 0)
        *ret_takeover = takeover;
    else
        takeover_free(takeover);
    return result;
}

int takeover_wait_for_store(struct takeover *takeover, struct conf_error *ret_error)
{
    struct link_frame frame;

    link_send(takeover->link, LINK_READY, NULL, 0);
    int result = expect(takeover, LINK_RELEASED, &frame, ret_error);
    if (result == -EPIPE) {
        old_one_is_gone(takeover);
        result = 0;
    }
    return result;
}

int takeover_confirm(struct takeover *takeover, const char *epoch, uint64_t newest,
                     struct conf_error *ret_error)
{
    struct pack pack = {0};
    struct link_frame frame;

    if (takeover->link == NULL)
        return 0;
    pack_text(&pack, epoch);
    pack_u64(&pack, newest);
    link_send_pack(takeover->link, LINK_OPENED, &pack);
    pack_clear(&pack);
    int result = expect(takeover, LINK_GO, &frame, ret_error);
    if (result == -EPIPE) {
        old_one_is_gone(takeover);
        result = 0;
    }
    return result;
}

bool takeover_is_alone(const struct takeover *takeover)
{
    return takeover != NULL && takeover->link == NULL;
}

struct link *takeover_link(const struct takeover *takeover)
{
    return takeover->link;
}

struct link *takeover_serve(struct takeover *takeover)
{
    struct link *link = takeover->link;

    takeover->serves = true;
    takeover->link = NULL;
    if (link == NULL || link_send(link, LINK_SERVING, NULL, 0) == 0)
        return link;
    link_free(link);
    return NULL;
}

void takeover_free(struct takeover *takeover)
{
    struct pack pack = {0};

    if (takeover == NULL)
        return;
    if (takeover->link != NULL && !takeover->serves) {
        pack_text(&pack, "it cannot start, and its log says why");
        link_send_pack(takeover->link, LINK_REFUSED, &pack);
        pack_clear(&pack);
    }
    link_free(takeover->link);
    free(takeover);
}
