/* SPDX-License-Identifier: MIT */
/* `bugle bench`: the phases of a run and the loop under them.  One thread, one epoll. */
#include "config.h"
#include "bench/bench.h"

#include "bench/bench_epoll.h"
#include "bench/bench_options.h"
#include "bench/bench_process.h"
#include "bench/bench_publish.h"
#include "bench/bench_report.h"
#include "bench/bench_streams.h"
#include "cli/cli_common.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define ENTRIES 256
#define OTHER_DESCRIPTORS 16              /* standard ones, epoll, timer, a file of /proc */
#define CONNECT_PATIENCE_S 15             /* without another stream standing */
#define LEAD_NS (BENCH_SECOND_NS / 100)   /* between the last look at usage and the first event */
#define SPIN_NS 60000                     /* before an event is due */
#define AWAKE_NS 500000                   /* and after one was sent: see bench_run_loop() */
#define LINGER_NS (BENCH_SECOND_NS / 5)   /* for duplicates behind the last delivery */
#define OVERTIME_NS (2 * BENCH_SECOND_NS) /* for requests that were due and are not sent */

enum phase {
    PHASE_CONNECT,
    PHASE_SETTLE,
    PHASE_WARM_UP,
    PHASE_MEASURE,
    PHASE_DRAIN,
    PHASE_LINGER,
    PHASE_CLOSE,
    PHASE_OVER,
};

struct bench_run {
    const struct bench_options *options;
    int epoll;
    int timer;
    int signal;
    enum phase phase;
    uint64_t now_ns;
    uint64_t begun_ns;
    uint64_t deadline_ns;    /* of the phase */
    uint64_t measure_ns;     /* begin of the measured window */
    bool connected;          /* at least a stream, and a connection to publish over */
    bool interrupted;        /* before there was anything to report */
    bool starting;           /* more connections may start at once */
    uint64_t armed_ns;       /* what the timer is set to */
    uint64_t awake_until_ns; /* no sleep before this */
    uint64_t progress_ns;    /* when the next line of progress is due */
    uint64_t seen;           /* deliveries or answers when it was last looked whether any came */
    uint64_t shown_ns;       /* of the last line of progress: when, and what it told */
    enum phase shown_phase;
    uint64_t shown_received;
    uint64_t shown_acknowledged;
    struct bench_streams *streams;
    struct bench_publish *publish; /* NULL when idle */
    struct bench_result result;
};

static uint64_t ns_of_seconds(double s)
{
    return (uint64_t)(s * (double)BENCH_SECOND_NS);
}

/* What was used by now; either may be NULL. */
static void look_at_server(struct bench_run *run, uint64_t *ret_bytes, uint64_t *ret_cpu_ns)
{
    const struct bench_options *options = run->options;

    if (run->result.has_server)
        run->result.has_server =
            bench_process_look(options->pids, options->pids_n, ret_cpu_ns, ret_bytes) == 0;
}

static void look_at_usage(struct bench_run *run, struct bench_usage *ret_usage)
{
    const struct bench_streams_facts *streams = bench_streams_facts(run->streams);
    struct timespec own;

    look_at_server(run, NULL, &ret_usage->server_cpu_ns);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    ret_usage->own_cpu_ns = (uint64_t)own.tv_sec * BENCH_SECOND_NS + (uint64_t)own.tv_nsec;
    ret_usage->at_ns = bench_now();
    ret_usage->deliveries = streams->received;
    ret_usage->bytes = streams->bytes;
    if (run->publish != NULL)
        ret_usage->acknowledged = bench_publish_facts(run->publish)->acknowledged;
}

/*
 * Set the schedule of events and the moment from which they are measured.  What was used until
 * then is looked at a little earlier, since that takes time of its own.
 */
static void start_events(struct bench_run *run)
{
    run->now_ns = bench_now();
    uint64_t from_ns = run->now_ns + LEAD_NS;
    run->measure_ns = from_ns + ns_of_seconds(run->options->warmup);
    run->deadline_ns = run->measure_ns - LEAD_NS / 2;
    bench_streams_measure(run->streams, run->measure_ns);
    if (run->publish != NULL)
        bench_publish_start(run->publish, from_ns, run->measure_ns);
}

/* Look at the server, close all streams if that is asked for, and leave it time to be done. */
static void close_streams(struct bench_run *run)
{
    look_at_server(run, &run->result.memory_after, &run->result.cpu_closing_ns);
    if (run->options->close > 0)
        bench_streams_close(run->streams);
    run->deadline_ns = bench_now() + ns_of_seconds(run->options->close);
}

/* When the window ended: with the last delivery or answer, not with the wait for more. */
static uint64_t last_moment(const struct bench_run *run)
{
    if (run->publish == NULL)
        return run->now_ns;
    uint64_t last = bench_streams_facts(run->streams)->last_ns;
    if (last < bench_publish_facts(run->publish)->last_ns)
        last = bench_publish_facts(run->publish)->last_ns;
    if (last > run->measure_ns)
        return last;
    return run->now_ns > run->measure_ns ? run->now_ns : run->measure_ns;
}

/* The one place where the phase changes. */
static void bench_run_enter(struct bench_run *run, enum phase phase)
{
    const struct bench_options *options = run->options;

    run->phase = phase;
    switch (phase) {
    case PHASE_CONNECT:
        run->deadline_ns = run->now_ns + CONNECT_PATIENCE_S * BENCH_SECOND_NS;
        return;
    case PHASE_SETTLE:
        run->result.connect_ns = run->now_ns - run->begun_ns;
        run->deadline_ns = run->now_ns + (options->streams ? ns_of_seconds(options->settle) : 0);
        return;
    case PHASE_WARM_UP:
        look_at_server(run, &run->result.memory_standing, &run->result.cpu_standing_ns);
        start_events(run);
        return;
    case PHASE_MEASURE:
        look_at_usage(run, &run->result.begin);
        run->result.begin.at_ns = run->measure_ns;
        run->deadline_ns = run->measure_ns + ns_of_seconds(options->seconds);
        if (options->events)
            run->deadline_ns = BENCH_NEVER;
        return;
    case PHASE_DRAIN:
        run->deadline_ns = run->now_ns + ns_of_seconds(options->drain);
        return;
    case PHASE_LINGER:
        look_at_usage(run, &run->result.end);
        run->result.end.at_ns = last_moment(run);
        run->deadline_ns = run->now_ns + (run->publish != NULL ? LINGER_NS : 0);
        return;
    case PHASE_CLOSE:
        close_streams(run);
        return;
    case PHASE_OVER:
        run->result.cpu_closed_ns = run->result.cpu_closing_ns;
        if (options->close > 0)
            look_at_server(run, NULL, &run->result.cpu_closed_ns);
        return;
    }
}

static void bench_run_connect_more(struct bench_run *run)
{
    const struct bench_streams_facts *counts = bench_streams_facts(run->streams);
    uint64_t done = (uint64_t)counts->standing + counts->failed + counts->ended;

    run->starting = bench_streams_connect(run->streams);
    if (done != run->seen)
        bench_run_enter(run, PHASE_CONNECT); /* one more: wait on */
    run->seen = done;
    bool late = run->now_ns >= run->deadline_ns;
    if (late) {
        bench_streams_give_up(run->streams);
        run->starting = false;
    }
    bool publisher_settled = run->publish == NULL || bench_publish_settled(run->publish);
    if (!late && !(bench_streams_settled(run->streams) && publisher_settled))
        return;
    run->connected = (counts->standing || run->options->streams == 0) &&
                     !(run->publish && bench_publish_failed(run->publish));
    bench_run_enter(run, run->connected ? PHASE_SETTLE : PHASE_OVER);
}

/* Over when everything has come, or when nothing has come for long. */
static void bench_run_drain(struct bench_run *run)
{
    const struct bench_publish_facts *publish = bench_publish_facts(run->publish);
    uint64_t received = bench_streams_facts(run->streams)->received;
    uint64_t done = received + publish->acknowledged + publish->refused + publish->unanswered;

    if (done != run->seen)
        bench_run_enter(run, PHASE_DRAIN);
    run->seen = done;
    if (bench_publish_finished(run->publish) && received >= publish->expected) {
        bench_run_enter(run, PHASE_LINGER);
    } else if (run->now_ns >= run->deadline_ns) {
        bench_publish_give_up(run->publish);
        bench_run_enter(run, PHASE_LINGER);
    }
}

static void bench_run_measure(struct bench_run *run)
{
    if (run->publish == NULL) {
        if (run->now_ns >= run->deadline_ns)
            bench_run_enter(run, PHASE_LINGER);
        return;
    }
    /* Requests that were due in time may still go; what cannot be sent even then is overload. */
    bool overtime =
        run->deadline_ns != BENCH_NEVER && run->now_ns >= run->deadline_ns + OVERTIME_NS;
    if (overtime)
        bench_publish_stop(run->publish, run->deadline_ns);
    if (bench_publish_finished(run->publish) || overtime)
        bench_run_enter(run, PHASE_DRAIN);
}

static void bench_run_step(struct bench_run *run)
{
    switch (run->phase) {
    case PHASE_CONNECT:
        bench_run_connect_more(run);
        return;
    case PHASE_MEASURE:
        bench_run_measure(run);
        return;
    case PHASE_DRAIN:
        bench_run_drain(run);
        return;
    case PHASE_SETTLE:
    case PHASE_WARM_UP:
    case PHASE_LINGER:
    case PHASE_CLOSE:
        if (run->now_ns >= run->deadline_ns)
            bench_run_enter(run, run->phase + 1);
        return;
    case PHASE_OVER:
        return;
    }
}

static void bench_run_interrupt(struct bench_run *run)
{
    struct signalfd_siginfo info;

    if (read(run->signal, &info, sizeof(info)) != sizeof(info))
        return;
    run->interrupted = run->phase < PHASE_MEASURE;
    if (run->interrupted) {
        bench_run_enter(run, PHASE_OVER);
    } else if (run->phase > PHASE_MEASURE || run->publish == NULL) {
        bench_run_enter(run, run->phase < PHASE_LINGER ? PHASE_LINGER : run->phase + 1);
    } else {
        bench_publish_stop(run->publish, run->now_ns);
        bench_run_enter(run, PHASE_DRAIN);
    }
}

static void publish_due(struct bench_run *run)
{
    if (run->publish == NULL || run->now_ns < bench_publish_due(run->publish))
        return;
    bench_publish_run(run->publish, run->now_ns);
    if (run->options->rate > 0)
        run->awake_until_ns = run->now_ns + AWAKE_NS;
}

static void bench_run_serve(struct bench_run *run, uint64_t key)
{
    uint64_t expirations;

    switch ((enum bench_kind)(key >> 32)) {
    case BENCH_KIND_TIMER:
        run->armed_ns = BENCH_NEVER;
        if (read(run->timer, &expirations, sizeof(expirations)) < 0)
            assert(errno == EAGAIN);
        run->now_ns = bench_now();
        break;
    case BENCH_KIND_SIGNAL:
        bench_run_interrupt(run);
        break;
    case BENCH_KIND_STREAM:
        run->now_ns = bench_streams_ready(run->streams, (uint32_t)key);
        break;
    case BENCH_KIND_PUBLISHER:
        run->now_ns = bench_publish_ready(run->publish, (uint32_t)key);
        break;
    }
    /* Between any two reads, so that a burst of deliveries does not delay the next event. */
    publish_due(run);
}

static void show_progress(struct bench_run *run)
{
    static const char *const names[] = {
        [PHASE_CONNECT] = "connecting", [PHASE_SETTLE] = "settling", [PHASE_WARM_UP] = "warming up",
        [PHASE_MEASURE] = "measuring",  [PHASE_DRAIN] = "draining",  [PHASE_LINGER] = "ending",
        [PHASE_CLOSE] = "closing",      [PHASE_OVER] = "over",
    };
    const struct bench_streams_facts *streams = bench_streams_facts(run->streams);
    uint64_t acknowledged =
        run->publish != NULL ? bench_publish_facts(run->publish)->acknowledged : 0;
    double since_s = (double)(run->now_ns - run->shown_ns + 1) / (double)BENCH_SECOND_NS;

    fprintf(stderr,
            "%4.0f s  %-10s  %u streams  %" PRIu64 " events (%.0f/s)  %" PRIu64
            " deliveries (%.0f/s)  p99 %.3f ms\n",
            (double)(run->now_ns - run->begun_ns) / (double)BENCH_SECOND_NS, names[run->phase],
            streams->standing, acknowledged,
            (double)(acknowledged - run->shown_acknowledged) / since_s, streams->received,
            (double)(streams->received - run->shown_received) / since_s,
            (double)bench_latency_percentile(&streams->latency, 99) / 1e6);
    run->shown_acknowledged = acknowledged;
    run->shown_received = streams->received;
    run->shown_ns = run->now_ns;
    run->shown_phase = run->phase;
}

/* A line a second, and one at the moment when another phase begins: scripts wait for it. */
static void bench_run_progress(struct bench_run *run)
{
    bool due = run->now_ns >= run->progress_ns;

    if (!run->options->progress || (!due && run->phase == run->shown_phase))
        return;
    show_progress(run);
    if (due)
        run->progress_ns += BENCH_SECOND_NS;
}

static uint64_t bench_run_earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* A sleeper is woken some 40 us late, so the sleep ends that much before an event is due and the
 * rest is spent asking. */
static uint64_t wake_ns(const struct bench_run *run)
{
    uint64_t due = run->publish != NULL ? bench_publish_due(run->publish) : BENCH_NEVER;

    return due < SPIN_NS || due == BENCH_NEVER ? due : due - SPIN_NS;
}

/* Set the timer to what comes next, if it is not. */
static void bench_run_arm(struct bench_run *run)
{
    uint64_t next = bench_run_earlier(run->progress_ns, run->deadline_ns);

    if (run->phase == PHASE_MEASURE && run->publish != NULL && run->deadline_ns != BENCH_NEVER)
        next = bench_run_earlier(run->progress_ns, run->deadline_ns + OVERTIME_NS);
    next = bench_run_earlier(next, wake_ns(run));
    if (next == run->armed_ns)
        return;
    struct itimerspec when = {0};
    if (next != BENCH_NEVER) {
        when.it_value.tv_sec = (time_t)(next / BENCH_SECOND_NS);
        when.it_value.tv_nsec = (long)(next % BENCH_SECOND_NS) + (next == 0);
    }
    timerfd_settime(run->timer, TFD_TIMER_ABSTIME, &when, NULL);
    run->armed_ns = next;
}

/* Waking a sleeping core takes up to 0.1 ms, which would be counted as the server's latency.  So
 * the tool stays awake for as long as a quick server takes. */
static int bench_run_loop(struct bench_run *run)
{
    struct epoll_event entries[ENTRIES];

    while (run->phase != PHASE_OVER) {
        bool spinning =
            run->starting || run->now_ns >= wake_ns(run) || run->now_ns < run->awake_until_ns;

        if (!spinning)
            bench_run_arm(run);
        int entries_n = epoll_wait(run->epoll, entries, ENTRIES, spinning ? 0 : -1);
        if (entries_n < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < entries_n && run->phase != PHASE_OVER; i++)
            bench_run_serve(run, entries[i].data.u64);
        run->now_ns = bench_now();
        publish_due(run);
        for (enum phase before = PHASE_OVER; before != run->phase;) {
            before = run->phase;
            bench_run_step(run);
        }
        bench_run_progress(run);
    }
    return 0;
}

static int bench_run_watch(struct bench_run *run, int fd, enum bench_kind kind)
{
    struct epoll_event entry = {.events = EPOLLIN, .data.u64 = bench_key(kind, 0)};

    return epoll_ctl(run->epoll, EPOLL_CTL_ADD, fd, &entry) < 0 ? -errno : 0;
}

static int bench_run_open_loop(struct bench_run *run)
{
    sigset_t interrupts;

    sigemptyset(&interrupts);
    sigaddset(&interrupts, SIGINT);
    sigprocmask(SIG_BLOCK, &interrupts, NULL);
    run->epoll = epoll_create1(EPOLL_CLOEXEC);
    run->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    run->signal = signalfd(-1, &interrupts, SFD_NONBLOCK | SFD_CLOEXEC);
    if (run->epoll < 0 || run->timer < 0 || run->signal < 0)
        return -errno;
    int rc = bench_run_watch(run, run->timer, BENCH_KIND_TIMER);
    return rc != 0 ? rc : bench_run_watch(run, run->signal, BENCH_KIND_SIGNAL);
}

/* Raise the limit of descriptors as far as it goes, and see whether that is enough. */
static int check_descriptors(const struct bench_options *options)
{
    uint64_t needed = (uint64_t)options->streams + OTHER_DESCRIPTORS;

    needed += options->idle ? 0 : options->connections;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (needed <= limit.rlim_cur)
        return 0;
    cli_fail("bench", "this takes %" PRIu64 " descriptors and a process may have %" PRIu64, needed,
             (uint64_t)limit.rlim_cur);
    return -EMFILE;
}

static int bench_run_set_up(struct bench_run *run)
{
    uint32_t stamp = 0;

    if (getrandom(&stamp, sizeof(stamp), 0) < 0)
        return -errno;
    int rc = check_descriptors(run->options);
    if (rc == 0)
        rc = bench_run_open_loop(run);
    run->result.has_server = run->options->pids_n > 0;
    look_at_server(run, &run->result.memory_before, &run->result.cpu_before_ns);
    if (run->options->pids_n && !run->result.has_server) {
        cli_fail("bench", "cannot read /proc of the server's process");
        return -EINVAL;
    }
    if (rc == 0)
        rc = bench_streams_new(&run->streams, run->options, run->epoll, stamp);
    if (rc == 0 && !run->options->idle)
        rc = bench_publish_new(&run->publish, run->options, run->epoll, stamp,
                               bench_streams_facts(run->streams)->listening);
    return rc;
}

static void bench_run_clean_up(struct bench_run *run)
{
    const int fds[] = {run->epoll, run->timer, run->signal};

    bench_publish_free(run->publish);
    bench_streams_free(run->streams);
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static int bench_run_report(struct bench_run *run)
{
    static const struct bench_publish_facts none;
    struct bench_result *result = &run->result;

    result->options = run->options;
    result->streams = bench_streams_facts(run->streams);
    result->publish = &none;
    if (run->publish != NULL) {
        result->publish = bench_publish_facts(run->publish);
        result->lost = bench_streams_missing(run->streams, result->publish->numbers,
                                             result->publish->unaccepted);
    }
    if (run->options->json)
        bench_report_json(stdout, result);
    else
        bench_report_text(stdout, result);
    return bench_report_is_good(result) ? CLI_FINE : CLI_FAILED;
}

static void say_why_not_connected(const struct bench_run *run)
{
    if (bench_streams_facts(run->streams)->standing == 0 && run->options->streams)
        cli_fail("bench", "no stream could be opened: %s",
                 bench_streams_facts(run->streams)->trouble);
    else
        cli_fail("bench", "no connection to publish over: %s",
                 bench_publish_facts(run->publish)->trouble);
}

/* SIGINT ends the events early and still reports; the signal stays blocked afterwards. */
static int bench_run(const struct bench_options *options)
{
    struct bench_run run = {.options = options, .epoll = -1, .timer = -1, .signal = -1};
    int status = CLI_FAILED;
    int rc = bench_run_set_up(&run);

    if (rc == -EINVAL || rc == -EMFILE)
        goto out;
    if (rc == 0) {
        run.now_ns = run.begun_ns = run.shown_ns = bench_now();
        run.armed_ns = BENCH_NEVER;
        run.progress_ns = options->progress ? run.begun_ns + BENCH_SECOND_NS : BENCH_NEVER;
        bench_run_enter(&run, PHASE_CONNECT);
        run.starting = bench_streams_connect(run.streams);
        rc = bench_run_loop(&run);
    }
    if (rc != 0)
        cli_fail("bench", "%s", strerror(-rc));
    else if (run.interrupted)
        cli_fail("bench", "interrupted before anything was measured");
    else if (!run.connected)
        say_why_not_connected(&run);
    else
        status = bench_run_report(&run);
out:
    bench_run_clean_up(&run);
    return status;
}

int bench_main(int argc, char **argv)
{
    struct bench_options options;
    int status = bench_options_parse(&options, argc, argv);

    if (status != CLI_FINE)
        return status == CLI_HELPED ? CLI_FINE : status;
    return bench_run(&options);
}
