/* SPDX-License-Identifier: MIT */
/* Reports of the load tool. */
#include "config.h"
#include "bench/bench_report.h"

#include <inttypes.h>
#include <string.h>

/* Figures that are made from others. */
struct derived {
    double seconds;
    double deliveries;
    double events;
    double bytes;
    double server_us; /* CPU */
    double own_percent;
};

static double ratio_of(double of, double to)
{
    return to > 0 ? of / to : 0;
}

static struct derived bench_report_derive(const struct bench_result *result)
{
    const struct bench_usage *begin = &result->begin, *end = &result->end;
    struct derived derived = {
        .seconds = (double)(end->at_ns - begin->at_ns) / (double)BENCH_SECOND_NS,
        .deliveries = (double)(end->deliveries - begin->deliveries),
        .events = (double)(end->acknowledged - begin->acknowledged),
        .bytes = (double)(end->bytes - begin->bytes),
        .server_us = (double)(end->server_cpu_ns - begin->server_cpu_ns) / 1e3,
        .own_percent = 100 * ratio_of((double)(end->own_cpu_ns - begin->own_cpu_ns),
                                      (double)(end->at_ns - begin->at_ns)),
    };

    return derived;
}

/* What one stream adds to the server's memory; 0 when it shrank. */
static double memory_a_stream(const struct bench_result *result)
{
    if (result->memory_standing < result->memory_before)
        return 0;
    return ratio_of((double)(result->memory_standing - result->memory_before),
                    result->streams->standing + result->streams->ended);
}

/* Microseconds of the server's CPU that each of the streams took between two moments. */
static double cpu_us_a_stream(const struct bench_result *result, uint64_t from_ns, uint64_t to_ns)
{
    return ratio_of((double)(to_ns - from_ns) / 1e3,
                    result->streams->standing + result->streams->ended);
}

static double cpu_us_a_connect(const struct bench_result *result)
{
    return cpu_us_a_stream(result, result->cpu_before_ns, result->cpu_standing_ns);
}

static double cpu_us_a_close(const struct bench_result *result)
{
    return cpu_us_a_stream(result, result->cpu_closing_ns, result->cpu_closed_ns);
}

bool bench_report_is_good(const struct bench_result *result)
{
    const struct bench_streams_facts *streams = result->streams;
    const struct bench_publish_facts *publish = result->publish;
    uint64_t asked = result->options->streams;

    return streams->standing == asked && streams->failed == 0 && streams->ended == 0 &&
           streams->duplicated == 0 && streams->late == 0 && streams->misrouted == 0 &&
           result->lost == 0 && publish->refused == 0 && publish->unanswered == 0 &&
           publish->unsent == 0 && (result->options->idle || publish->acknowledged > 0);
}

static void bench_report_put_time(FILE *to, uint64_t ns)
{
    if (ns < 10000000)
        fprintf(to, "%.3f ms", (double)ns / 1e6);
    else
        fprintf(to, "%.1f ms", (double)ns / 1e6);
}

static void put_latency(FILE *to, const char *label, const struct bench_latency *latency)
{
    static const struct {
        const char *name;
        double percent;
    } shown[] = {{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}, {"max", 100}};

    if (latency->count == 0)
        return;
    fprintf(to, "%-12s", label);
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
        fprintf(to, "%s%s ", i ? ", " : "", shown[i].name);
        bench_report_put_time(to, bench_latency_percentile(latency, shown[i].percent));
    }
    fputc('\n', to);
}

/* A line of its own for what went wrong first, if anything did. */
static void put_trouble(FILE *to, const char *trouble)
{
    if (trouble[0])
        fprintf(to, "%-12s%s\n", "", trouble);
}

static void put_streams(FILE *to, const struct bench_result *result)
{
    const struct bench_streams_facts *streams = result->streams;

    fprintf(to, "%-12s%u standing, %u failed, %u ended early; connected in %.2f s\n", "streams",
            streams->standing, streams->failed, streams->ended,
            (double)result->connect_ns / (double)BENCH_SECOND_NS);
    put_trouble(to, streams->trouble);
}

static void put_publish(FILE *to, const struct bench_result *result, const struct derived *derived)
{
    const struct bench_publish_facts *publish = result->publish;

    fprintf(to,
            "%-12s%" PRIu64 " published, %" PRIu64 " acknowledged, %" PRIu64 " refused, %" PRIu64
            " unanswered, %" PRIu64 " unsent; %.1f/s\n",
            "events", publish->issued, publish->acknowledged, publish->refused, publish->unanswered,
            publish->unsent, ratio_of(derived->events, derived->seconds));
    put_trouble(to, publish->trouble);
}

static void put_deliveries(FILE *to, const struct bench_result *result,
                           const struct derived *derived)
{
    const struct bench_streams_facts *streams = result->streams;

    fprintf(to,
            "%-12s%" PRIu64 " expected, %" PRIu64 " received, %" PRIu64 " lost, %" PRIu64
            " duplicated, %" PRIu64 " out of order; %.0f/s\n",
            "deliveries", result->publish->expected, streams->received, result->lost,
            streams->duplicated, streams->late, ratio_of(derived->deliveries, derived->seconds));
    if (streams->misrouted || streams->foreign)
        fprintf(to, "%-12s%" PRIu64 " of topics not asked for, %" PRIu64 " not of this run\n", "",
                streams->misrouted, streams->foreign);
}

static void put_server(FILE *to, const struct bench_result *result, const struct derived *derived)
{
    fprintf(to, "%-12s%.1f %% of a core", "server", derived->server_us / derived->seconds / 1e4);
    if (derived->deliveries > 0)
        fprintf(to, ", %.2f us CPU a delivery", derived->server_us / derived->deliveries);
    if (derived->events > 0)
        fprintf(to, ", %.1f us an event", derived->server_us / derived->events);
    if (derived->deliveries > 0)
        fprintf(to, ", %.2f GB a second of CPU",
                ratio_of(derived->bytes, derived->server_us) / 1e3);
    fputc('\n', to);
    if (result->options->streams)
        fprintf(to, "%-12s%.1f us CPU to connect a stream", "", cpu_us_a_connect(result));
    if (result->options->streams && result->options->close > 0)
        fprintf(to, ", %.1f us to close one", cpu_us_a_close(result));
    if (result->options->streams)
        fputc('\n', to);
    fprintf(to, "%-12s%.2f MiB private before the streams, %.2f with them, %.2f at the end", "",
            (double)result->memory_before / 1048576, (double)result->memory_standing / 1048576,
            (double)result->memory_after / 1048576);
    if (result->options->streams)
        fprintf(to, "; %.2f KiB a stream", memory_a_stream(result) / 1024);
    fputc('\n', to);
}

void bench_report_text(FILE *to, const struct bench_result *result)
{
    const struct derived derived = bench_report_derive(result);
    bool streams = result->options->streams > 0, events = !result->options->idle;

    if (streams)
        put_streams(to, result);
    if (events)
        put_publish(to, result, &derived);
    if (streams && events)
        put_deliveries(to, result, &derived);
    put_latency(to, "first bytes", &result->streams->first_bytes);
    put_latency(to, "latency", &result->streams->latency);
    put_latency(to, "answers", &result->publish->latency);
    put_latency(to, "sent late", &result->publish->lag);
    fprintf(to, "%-12s%.2f s, this tool took %.1f %% of a core\n", "measured", derived.seconds,
            derived.own_percent);
    if (result->has_server)
        put_server(to, result, &derived);
}

static void json_latency(FILE *to, const char *name, const struct bench_latency *latency)
{
    fprintf(to,
            "  \"%s\": {\"count\": %" PRIu64 ", \"p50_us\": %.3f, \"p90_us\": %.3f, "
            "\"p99_us\": %.3f, \"p99_9_us\": %.3f, \"max_us\": %.3f},\n",
            name, latency->count, (double)bench_latency_percentile(latency, 50) / 1e3,
            (double)bench_latency_percentile(latency, 90) / 1e3,
            (double)bench_latency_percentile(latency, 99) / 1e3,
            (double)bench_latency_percentile(latency, 99.9) / 1e3, (double)latency->max_ns / 1e3);
}

static void json_counts(FILE *to, const struct bench_result *result)
{
    const struct bench_streams_facts *streams = result->streams;
    const struct bench_publish_facts *publish = result->publish;

    fprintf(to,
            "  \"streams\": {\"asked\": %u, \"standing\": %u, \"failed\": %u, \"ended\": %u, "
            "\"connect_s\": %.3f},\n",
            result->options->streams, streams->standing, streams->failed, streams->ended,
            (double)result->connect_ns / (double)BENCH_SECOND_NS);
    fprintf(to,
            "  \"events\": {\"published\": %" PRIu64 ", \"acknowledged\": %" PRIu64
            ", \"refused\": %" PRIu64 ", \"unanswered\": %" PRIu64 ", \"unsent\": %" PRIu64 "},\n",
            publish->issued, publish->acknowledged, publish->refused, publish->unanswered,
            publish->unsent);
    fprintf(to,
            "  \"deliveries\": {\"expected\": %" PRIu64 ", \"received\": %" PRIu64
            ", \"lost\": %" PRIu64 ", \"duplicated\": %" PRIu64 ", \"out_of_order\": %" PRIu64
            ", \"crossed\": %" PRIu64 ", \"misrouted\": %" PRIu64 ", \"foreign\": %" PRIu64
            ", \"bytes\": %" PRIu64 "},\n",
            publish->expected, streams->received, result->lost, streams->duplicated, streams->late,
            streams->crossed, streams->misrouted, streams->foreign, streams->bytes);
}

static void json_window(FILE *to, const struct derived *derived)
{
    fprintf(to,
            "  \"window\": {\"seconds\": %.3f, \"events\": %.0f, \"deliveries\": %.0f, "
            "\"events_per_s\": %.1f, \"deliveries_per_s\": %.1f, \"tool_cpu_percent\": %.2f},\n",
            derived->seconds, derived->events, derived->deliveries,
            ratio_of(derived->events, derived->seconds),
            ratio_of(derived->deliveries, derived->seconds), derived->own_percent);
}

static void json_server(FILE *to, const struct bench_result *result, const struct derived *derived)
{
    if (!result->has_server) {
        fputs("  \"server\": null,\n", to);
        return;
    }
    fprintf(to,
            "  \"server\": {\"cpu_us\": %.1f, \"cpu_percent\": %.3f, "
            "\"cpu_us_per_delivery\": %.4f, \"cpu_us_per_event\": %.4f,\n",
            derived->server_us, derived->server_us / derived->seconds / 1e4,
            ratio_of(derived->server_us, derived->deliveries),
            ratio_of(derived->server_us, derived->events));
    fprintf(to,
            "    \"cpu_us_per_connect\": %.3f, \"cpu_us_per_close\": %.3f, "
            "\"bytes_per_cpu_s\": %.0f,\n",
            cpu_us_a_connect(result), cpu_us_a_close(result),
            ratio_of(derived->bytes, derived->server_us) * 1e6);
    fprintf(to,
            "    \"private_before\": %" PRIu64 ", \"private_standing\": %" PRIu64
            ", \"private_after\": %" PRIu64 ", \"private_per_stream\": %.1f},\n",
            result->memory_before, result->memory_standing, result->memory_after,
            memory_a_stream(result));
}

void bench_report_json(FILE *to, const struct bench_result *result)
{
    const struct derived derived = bench_report_derive(result);

    fputs("{\n", to);
    json_counts(to, result);
    json_latency(to, "first_bytes", &result->streams->first_bytes);
    json_latency(to, "latency", &result->streams->latency);
    json_latency(to, "answers", &result->publish->latency);
    json_latency(to, "sent_late", &result->publish->lag);
    json_window(to, &derived);
    json_server(to, result, &derived);
    fprintf(to, "  \"good\": %s\n}\n", bench_report_is_good(result) ? "true" : "false");
}
