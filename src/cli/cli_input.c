/* SPDX-License-Identifier: MIT */
/*
 * Standard input through read() and poll(): stdio cannot tell a pause from a half-read line.
 */
#include "config.h"

#include "cli/cli_input.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli_common.h"

#define READ_BYTES ((size_t)64 << 10)

void cli_input_clear(struct cli_input *input)
{
    free(input->bytes);
    *input = (struct cli_input){.fd = -1};
}

/* Move what is left to the front and have room behind it for a read. */
static void input_make_room(struct cli_input *input)
{
    input->end -= input->at;
    input->searched -= input->at;
    if (input->at > 0)
        memmove(input->bytes, input->bytes + input->at, input->end);
    input->at = 0;
    if (input->room - input->end >= READ_BYTES)
        return;
    input->room = 2 * input->room + READ_BYTES;
    input->bytes = cli_need(realloc(input->bytes, input->room));
}

/* Read once.  Returns 0 or -errno. */
static int input_read_more(struct cli_input *input)
{
    input_make_room(input);
    ssize_t n = read(input->fd, input->bytes + input->end, input->room - input->end);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : -errno;
    input->is_over = n == 0;
    input->end += (size_t)n;
    return 0;
}

/* Whether bytes or the end came in time: 1, 0 or -errno. */
static int input_wait_for_bytes(const struct cli_input *input, int quiet_ms)
{
    struct pollfd fd = {.fd = input->fd, .events = POLLIN};
    int n;

    do {
        n = poll(&fd, 1, quiet_ms);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* Take the bytes up to `end`, and `skip` more, as a line. */
static int input_take_line(struct cli_input *input, size_t end, size_t skip, const char **ret_line,
                           size_t *ret_line_n)
{
    size_t line_n = end - input->at;
    bool is_long = input->is_long || line_n > CLI_INPUT_BYTES_MAX;

    *ret_line = input->bytes + input->at;
    if (skip > 0 && line_n > 0 && (*ret_line)[line_n - 1] == '\r')
        line_n--;
    *ret_line_n = line_n;
    input->at = end + skip;
    input->searched = input->at;
    input->is_long = false;
    return is_long ? -EMSGSIZE : CLI_INPUT_LINE;
}

int cli_input_next_line(struct cli_input *input, int quiet_ms, const char **ret_line,
                        size_t *ret_line_n)
{
    for (;;) {
        size_t left_n = input->end - input->searched;
        const char *lf = left_n > 0 ? memchr(input->bytes + input->searched, '\n', left_n) : NULL;

        if (lf != NULL)
            return input_take_line(input, (size_t)(lf - input->bytes), 1, ret_line, ret_line_n);
        input->searched = input->end;
        input->is_long |= input->end - input->at > CLI_INPUT_BYTES_MAX;
        if (input->is_long)
            input->at = input->end; /* keeps no more of a line than a line may have */
        if (input->is_over && input->at == input->end && !input->is_long)
            return CLI_INPUT_END;
        if (input->is_over)
            return input_take_line(input, input->end, 0, ret_line, ret_line_n);
        int ready = input_wait_for_bytes(input, quiet_ms);
        if (ready <= 0)
            return ready < 0 ? ready : CLI_INPUT_QUIET;
        int ret = input_read_more(input);
        if (ret < 0)
            return ret;
    }
}

int cli_input_read_all(struct cli_input *input, const char **ret_text, size_t *ret_text_n)
{
    while (!input->is_over) {
        int ret = input_wait_for_bytes(input, -1);

        if (input->end > CLI_INPUT_BYTES_MAX)
            ret = -EMSGSIZE;
        if (ret >= 0)
            ret = input_read_more(input);
        if (ret < 0)
            return ret;
    }
    *ret_text = input->bytes + input->at;
    *ret_text_n = input->end - input->at;
    return *ret_text_n > CLI_INPUT_BYTES_MAX ? -EMSGSIZE : 0;
}
