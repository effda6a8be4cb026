/* SPDX-License-Identifier: MIT */
/* What the operator asked `bugle bench` to do. */
#ifndef BUGLE_BENCH_OPTIONS_H
#define BUGLE_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_HEADERS_MAX 16
#define BENCH_PIDS_MAX 16

/* How it publishes. */
enum bench_publish_way {
    BENCH_PUBLISH_POST,   /* requests */
    BENCH_PUBLISH_WS_V1,  /* `publish` of bugle.v1, whose `ack` is awaited */
    BENCH_PUBLISH_WS_RAW, /* text messages, which are to come back to who sent them */
};

/* Texts are borrowed from the command line. */
struct bench_options {
    const char *stream_url; /* templates, see bench_template.h */
    const char *publish_url;
    const char *publish_body;
    const char *publish_type;
    const char *ws_protocol; /* that streams offer; NULL: none */
    enum bench_publish_way publish_way;
    const char *headers[BENCH_HEADERS_MAX]; /* "Name: value", sent with every request */
    size_t headers_n;
    pid_t pids[BENCH_PIDS_MAX]; /* the server's processes */
    size_t pids_n;
    uint32_t streams;
    uint32_t topics;
    uint32_t connections; /* that publish */
    uint32_t connecting;  /* streams under way at a time */
    uint32_t batch;       /* events a request */
    uint32_t size;        /* bytes of data an event */
    uint32_t source_addresses;
    uint64_t events; /* to publish in all; 0: as many as the time allows */
    double rate;     /* events a second; 0: each connection as fast as it is answered */
    double seconds;
    double warmup;
    double settle; /* seconds of quiet once all streams stand */
    double drain;  /* seconds without a delivery after which the missing are lost */
    double close;  /* seconds that the closing of all streams is watched; 0: it is not */
    bool ws;       /* streams are WebSockets */
    bool random;
    bool idle;
    bool publish_only;
    bool json;
    bool progress;
};

/* Read the command line; argv[0] is the name of the command.  CLI_FINE,
 * CLI_HELPED when help was asked for and written, or CLI_USAGE after saying what is wrong. */
int bench_options_parse(struct bench_options *ret_options, int argc, char **argv);

#endif
