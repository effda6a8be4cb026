/* SPDX-License-Identifier: MIT */
/* The new process's side of a hand-over.  See handover_new.h. */
#include "config.h"
#include "handover/handover_new.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

struct handover_new {
    struct handover_link *link; /* NULL: the old process is gone */
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

static int tell_refusal(const struct handover_link_frame *frame, struct conf_error *ret_error)
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
static int expect(struct handover_new *takeover, enum handover_link_type type,
                  struct handover_link_frame *ret_frame, struct conf_error *ret_error)
{
    int result = handover_link_receive(takeover->link, takeover->timeout_ms, ret_frame);

    if (result == -EPIPE)
        return -EPIPE;
    if (result != 0)
        return conf_refuse(ret_error, -1, "the running gateway does not hand over: %s",
                           strerror(-result));
    if (ret_frame->type == HANDOVER_LINK_REFUSED)
        return tell_refusal(ret_frame, ret_error);
    if (ret_frame->type != type)
        return conf_refuse(ret_error, -1, "the running gateway does not keep to the protocol");
    return 0;
}

/* The same where it does not matter any more what comes, or that the old process is gone. */
static int expect_or_go_alone(struct handover_new *takeover, enum handover_link_type type,
                              struct conf_error *ret_error)
{
    struct handover_link_frame frame;
    int result = expect(takeover, type, &frame, ret_error);

    if (result != -EPIPE)
        return result;
    log_warning("the old gateway is gone: serving without it");
    handover_link_free(takeover->link);
    takeover->link = NULL;
    return 0;
}

static void say_hello(struct handover_new *takeover, const char *store)
{
    struct pack pack = {0};

    pack_u32(&pack, HANDOVER_LINK_VERSION);
    pack_text(&pack, store);
    handover_link_send_pack(takeover->link, HANDOVER_LINK_HELLO, &pack);
}

/* An item of server.listen for each socket, in the same order. */
static int take_sockets(struct handover_new *takeover, const struct handover_link_frame *frame,
                        struct inherited_sockets *inherited)
{
    struct unpack unpack = {.at = frame->bytes, .left = frame->n};
    int fds[HANDOVER_LINK_SOCKETS_MAX], result = 0;
    size_t fds_n = handover_link_take_sockets(takeover->link, fds);

    for (size_t i = 0; i < fds_n; i++) {
        bool kept = unpack_u32(&unpack) != 0;
        char *item = unpack_text(&unpack);

        if (item == NULL)
            close(fds[i]);
        if (item == NULL || inherited_sockets_add(inherited, fds[i], item, kept) != 0)
            result = -EINVAL;
        free(item);
    }
    return unpack_is_done(&unpack) ? result : -EINVAL;
}

static int negotiate(struct handover_new *takeover, const char *store,
                     struct inherited_sockets *inherited, struct conf_error *ret_error)
{
    struct handover_link_frame frame;

    /* what cannot be said may have been answered already, with a refusal */
    say_hello(takeover, store);
    int result = expect(takeover, HANDOVER_LINK_OFFER, &frame, ret_error);
    if (result == -EPIPE)
        return conf_refuse(ret_error, -1, "the running gateway left instead of handing over");
    if (result == 0 && take_sockets(takeover, &frame, inherited) != 0)
        return conf_refuse(ret_error, -1,
                           "the running gateway sent descriptors that are not listening sockets");
    return result;
}

int handover_new_begin(const char *path, const char *store, int timeout_ms,
                       struct inherited_sockets *inherited, struct handover_new **ret_takeover,
                       struct conf_error *ret_error)
{
    int fd = reach(path);

    *ret_takeover = NULL;
    if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return conf_refuse(ret_error, -1, "%s: %s", path, strerror(-fd));
    struct handover_new *takeover = calloc(1, sizeof(*takeover));
    if (takeover == NULL) {
        close(fd);
        return conf_refuse(ret_error, -1, "out of memory");
    }
    takeover->timeout_ms = timeout_ms;
    takeover->link = handover_link_new(fd);
    int result = takeover->link != NULL ? negotiate(takeover, store, inherited, ret_error)
                                        : conf_refuse(ret_error, -1, "out of memory");
    if (result == 0)
        *ret_takeover = takeover;
    else
        handover_new_free(takeover);
    return result;
}

int handover_new_wait_for_store(struct handover_new *takeover, struct conf_error *ret_error)
{
    handover_link_send(takeover->link, HANDOVER_LINK_READY, NULL, 0);
    return expect_or_go_alone(takeover, HANDOVER_LINK_RELEASED, ret_error);
}

int handover_new_confirm(struct handover_new *takeover, const char *epoch, uint64_t newest,
                         struct conf_error *ret_error)
{
    struct pack pack = {0};

    if (takeover->link == NULL)
        return 0;
    pack_text(&pack, epoch);
    pack_u64(&pack, newest);
    handover_link_send_pack(takeover->link, HANDOVER_LINK_OPENED, &pack);
    return expect_or_go_alone(takeover, HANDOVER_LINK_GO, ret_error);
}

bool handover_new_is_alone(const struct handover_new *takeover)
{
    return takeover != NULL && takeover->link == NULL;
}

struct handover_link *handover_new_link(const struct handover_new *takeover)
{
    return takeover->link;
}

struct handover_link *handover_new_serve(struct handover_new *takeover)
{
    struct handover_link *link = takeover->link;

    takeover->serves = true;
    takeover->link = NULL;
    if (link == NULL || handover_link_send(link, HANDOVER_LINK_SERVING, NULL, 0) == 0)
        return link;
    handover_link_free(link);
    return NULL;
}

void handover_new_free(struct handover_new *takeover)
{
    if (takeover == NULL)
        return;
    if (takeover->link != NULL && !takeover->serves)
        handover_link_refuse(takeover->link, "it cannot start, and its log says why");
    handover_link_free(takeover->link);
    free(takeover);
}
