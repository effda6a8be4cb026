/* SPDX-License-Identifier: MIT */
/* Answers that the gate gives itself.  See gate.h. */
#include "config.h"
#include "conn/gate_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "auth/origin.h"
#include "wire/problem.h"

/* Send a whole answer and close, so that it can be read. */
static void send_and_close(struct gate_conn *conn, const char *answer, size_t n)
{
    struct gate *gate = conn->gate;
    bool has_fd = gate_take_back(conn);
    int fd = conn->fd;

    if (has_fd)
        gate_count_off(gate, gate_address(conn));
    gate_forget(conn); /* the loop does not watch one descriptor both by edge and by level */
    if (!has_fd)
        return;
    if (send(fd, answer, n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)n)
        lingering_close_take(gate->lingering_close, fd);
    else
        close(fd);
}

/* The header lines with which a page may read why it was refused. */
static void write_lines(const struct gate *gate, char to[ORIGIN_LINES_BYTES])
{
    static const struct conf_list none;
    const struct conf *conf = gate->context->conf;
    const struct conf_list *own = gate->own_origins != NULL ? gate->own_origins : &none;
    char room[ORIGIN_BYTES_MAX];
    const char *origin = origin_find(gate->peek, gate->peeked_n, room);

    if (origin_judge(origin, own, &conf->auth.origins) != ORIGIN_LISTED)
        origin = NULL;
    origin_write_lines(to, origin, conf->auth.cookie[0] != '\0');
}

void gate_answer_refusal(struct gate_conn *conn, unsigned status, const char *why)
{
    struct stats *stats = conn->gate->context->stats;
    char detail[160], answer[PROBLEM_HTTP_BYTES], lines[ORIGIN_LINES_BYTES];

    snprintf(detail, sizeof(detail), "The request %s.", why);
    write_lines(conn->gate, lines);
    size_t n = problem_write_http(answer, status, "bad_request", detail, lines, 0);
    stats_add(stats, STATS_RESPONSES_4XX, status < 500);
    stats_add(stats, STATS_RESPONSES_5XX, status >= 500);
    send_and_close(conn, answer, n);
}

void gate_answer_busy(struct gate_conn *conn)
{
    struct stats *stats = conn->gate->context->stats;
    char answer[PROBLEM_HTTP_BYTES], lines[ORIGIN_LINES_BYTES];

    write_lines(conn->gate, lines);
    size_t n = problem_write_http(answer, 503, "memory_short",
                                  "The gateway has no memory for this now; nothing was done.",
                                  lines, problem_retry_after_s());

    stats_add(stats, STATS_RESPONSES_5XX, 1);
    stats_add(stats, STATS_CONNECTIONS_REFUSED_MEMORY, 1);
    send_and_close(conn, answer, n);
}
