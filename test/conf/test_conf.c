/* SPDX-License-Identifier: MIT */
/* The settings: defaults, sources and their order, what is refused and how, and printing. */
#include "conf/conf.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define TEN_TIMES(x) x x x x x x x x x x

extern char **environ;

static char file_path[] = "test_conf.XXXXXX";

static int make_file(void **state)
{
    int fd = mkstemp(file_path);
    (void)state;
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(file_path);
}

static void write_file(const char *bytes, size_t bytes_n)
{
    FILE *file = fopen(file_path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, bytes_n, file), bytes_n);
    assert_int_equal(fclose(file), 0);
}

static struct conf *new_conf(void)
{
    struct conf *conf = conf_new();
    assert_non_null(conf);
    return conf;
}

static void must_set(struct conf *conf, const char *assignment)
{
    struct conf_error error;
    if (conf_set(conf, assignment, &error) != 0)
        fail_msg("%s", error.text);
}

static void must_load(struct conf *conf, const char *text)
{
    struct conf_error error;
    write_file(text, strlen(text));
    if (conf_load_file(conf, file_path, &error) != 0)
        fail_msg("%s", error.text);
}

/* The text of the error with the file's name taken off. */
static const char *after_path(const char *text)
{
    size_t path_n = strlen(file_path);
    if (strncmp(text, file_path, path_n) != 0)
        fail_msg("'%s' does not name the file", text);
    return text + path_n;
}

static void assert_items(const struct conf_list *list, const char *expected)
{
    char joined[256] = "";
    for (size_t i = 0; i < list->items_n; i++) {
        strcat(joined, i > 0 ? " " : "");
        strcat(joined, list->items[i]);
    }
    assert_string_equal(joined, expected);
}

static void starts_from_the_defaults(void **state)
{
    struct conf *conf = new_conf();

    (void)state;
    assert_items(&conf->server.listen, "127.0.0.1:8080");
    assert_int_equal(conf->server.workers, 0);
    assert_non_null(conf->server.www);
    assert_int_equal(conf->stream.heartbeat_ms, 15000);
    assert_int_equal(conf->stream.stall_timeout_ms, 30000);
    assert_int_equal(conf->stream.retry_ms, 3000);
    assert_int_equal(conf->stream.flush_tick_ms, 5);
    assert_int_equal(conf->stream.ring_events, 65536);
    assert_int_equal(conf->stream.ring_bytes, 0);
    assert_int_equal(conf->websocket.publish, 1);
    assert_int_equal(conf->websocket.deflate, 0);
    assert_int_equal(conf->websocket.deflate_from, 512);
    assert_string_equal(conf->history.store, "sqlite:");
    assert_int_equal(conf->history.max_age_ms, 86400000);
    assert_int_equal(conf->history.max_events, 1000000);
    assert_int_equal(conf->history.max_bytes, 0);
    assert_int_equal(conf_history_bytes(conf), 1 << 30);
    assert_int_equal(conf->history.disk_reserve, 256 << 20);
    assert_int_equal(conf->limits.streams, 0);
    assert_int_equal(conf->limits.event_bytes, 64 << 10);
    assert_int_equal(conf->limits.body_bytes, 1 << 20);
    assert_int_equal(conf->limits.message_bytes, 128 << 10);
    assert_int_equal(conf->limits.message_rate, 50);
    assert_int_equal(conf->limits.header_bytes, 16 << 10);
    assert_int_equal(conf->limits.header_count, 64);
    assert_int_equal(conf->limits.url_bytes, 4 << 10);
    assert_int_equal(conf->limits.json_depth, 64);
    assert_int_equal(conf->limits.header_timeout_ms, 10000);
    assert_int_equal(conf->limits.body_timeout_ms, 15000);
    assert_int_equal(conf->limits.keepalive_timeout_ms, 75000);
    assert_int_equal(conf->limits.queue_bytes, 64 << 20);
    assert_int_equal(conf->limits.queue_age_ms, 1000);
    assert_int_equal(conf->limits.queue_wait_ms, 30);
    assert_int_equal(conf->drain.window_ms, 5000);
    assert_int_equal(conf->auth.mode, CONF_AUTH_NONE);
    assert_false(conf->auth.mode_written);
    assert_items(&conf->auth.origins, "loopback");
    assert_items(&conf->auth.ticket_key, "");
    assert_string_equal(conf->cluster.log, "");
    assert_string_equal(conf->cluster.user, "");
    assert_string_equal(conf->cluster.password, "");
    assert_string_equal(conf->cluster.prefix, "bugle");
    assert_string_equal(conf->cluster.node, "");
    assert_int_equal(conf->cluster.promise, CONF_PROMISE_MEMORY);
    assert_int_equal(conf->cluster.replicas, 0);
    assert_int_equal(conf->cluster.log_bytes, 256 << 20);
    assert_int_equal(conf->cluster.log_age_ms, 86400000);
    assert_int_equal(conf->cluster.timeout_ms, 2000);
    assert_int_equal(conf->cluster.answer_timeout_ms, 10000);
    assert_int_equal(conf->cluster.lease_ms, 10000);
    assert_int_equal(conf->cluster.ask_timeout_ms, 1000);
    assert_int_equal(conf->cluster.assume, 0);
    assert_string_equal(conf->cluster.ca, "");
    assert_int_equal(conf->log.level, LOG_LEVEL_INFO);
    assert_int_equal(conf->log.format, LOG_FORMAT_TEXT);
    conf_unref(conf);
    conf_unref(NULL);
}

/* That the last one frees, and only that one, an address sanitizer sees. */
static void the_last_reference_frees(void **state)
{
    struct conf *conf = new_conf();

    (void)state;
    assert_ptr_equal(conf_ref(conf), conf);
    assert_ptr_equal(conf_ref(conf), conf);
    assert_int_equal(conf->more_refs, 2);
    conf_unref(conf);
    conf_unref(conf);
    assert_int_equal(conf->more_refs, 0);
    assert_string_equal(conf->history.store, "sqlite:");
    conf_unref(conf);
    assert_null(conf_ref(NULL));
}

static void rings_and_a_store_in_memory_shrink_with_the_memory(void **state)
{
    struct conf *conf = new_conf();

    (void)state;
    must_set(conf, "limits.memory=1G");
    assert_int_equal(conf_memory_bytes(conf), 1 << 30);
    assert_int_equal(conf_ring_bytes(conf), 32 << 20);
    assert_int_equal(conf_shared_bytes(conf), 32 << 20);
    must_set(conf, "history.store=memory:");
    assert_int_equal(conf_shared_bytes(conf), 96 << 20);
    must_set(conf, "limits.memory=64M");
    assert_int_equal(conf_ring_bytes(conf), 16 << 20);
    assert_int_equal(conf_history_bytes(conf), 16 << 20);
    must_set(conf, "stream.ring_bytes=20M");
    assert_int_equal(conf_ring_bytes(conf), 20 << 20);
    must_set(conf, "limits.memory=0");
    assert_true(conf_memory_bytes(conf) >= 64 << 20);
    conf_unref(conf);
}

static void the_bytes_of_a_history_depend_on_its_store(void **state)
{
    struct conf *conf = new_conf();

    (void)state;
    must_set(conf, "history.store=memory:");
    assert_int_equal(conf_history_bytes(conf), 64 << 20);
    must_set(conf, "history.store=sqlite:h.db");
    assert_int_equal(conf_history_bytes(conf), 1 << 30);
    must_set(conf, "history.max_bytes=2M");
    assert_int_equal(conf_history_bytes(conf), 2 << 20);
    must_set(conf, "history.store=memory:");
    assert_int_equal(conf_history_bytes(conf), 2 << 20);
    conf_unref(conf);
}

static void defaults_pass_the_check(void **state)
{
    struct conf *conf = new_conf();
    struct conf_error error;

    (void)state;
    assert_int_equal(conf_check(conf, &error), 0);
    assert_true(conf_is_loopback_only(conf));
    conf_unref(conf);
}

static void sets_values_of_every_type(void **state)
{
    struct conf *conf = new_conf();

    (void)state;
    must_set(conf, "stream.heartbeat=20s");
    must_set(conf, "limits.body_bytes=2M");
    must_set(conf, "server.workers=4");
    must_set(conf, "server.www=/srv/a=b; c");
    must_set(conf, "server.listen=127.0.0.1:1,[::1]:2");
    must_set(conf, "log.level=debug");
    must_set(conf, "log.format=json");
    must_set(conf, "websocket.publish=off");
    must_set(conf, "websocket.deflate=on");
    assert_int_equal(conf->stream.heartbeat_ms, 20000);
    assert_int_equal(conf->limits.body_bytes, 2 << 20);
    assert_int_equal(conf->server.workers, 4);
    assert_string_equal(conf->server.www, "/srv/a=b; c");
    assert_items(&conf->server.listen, "127.0.0.1:1 [::1]:2");
    assert_int_equal(conf->log.level, LOG_LEVEL_DEBUG);
    assert_int_equal(conf->log.format, LOG_FORMAT_JSON);
    assert_int_equal(conf->websocket.publish, 0);
    assert_int_equal(conf->websocket.deflate, 1);

    must_set(conf, "server.www=");
    assert_string_equal(conf->server.www, "");
    conf_unref(conf);
}

static void set_says_what_is_wrong(void **state)
{
    static const struct {
        const char *assignment, *expected;
    } rows[] = {
        {"stream.heartbeat", "--set: expected section.key=value, given \"stream.heartbeat\""},
        {"=1", "--set: there is no setting \"\""},
        {"stream.heartbeet=4s",
         "--set: there is no setting \"stream.heartbeet\"; did you mean stream.heartbeat?"},
        {"server.heartbeat=4s",
         "--set: there is no setting \"server.heartbeat\"; did you mean stream.heartbeat?"},
        {"workers=4", "--set: there is no setting \"workers\"; did you mean server.workers?"},
        {"colour.sky=blue", "--set: there is no setting \"colour.sky\""},
        {"a\x1b[2J=1", "--set: there is no setting \"a\\x1b[2J\""},
        {"stream.heartbeat=2999ms",
         "--set: stream.heartbeat is \"2999ms\", expected a duration from 3s to 60s, such as "
         "10s, without a space"},
        {"stream.heartbeat=60001ms",
         "--set: stream.heartbeat is \"60001ms\", expected a duration from 3s to 60s, such as "
         "10s, without a space"},
        {"stream.heartbeat=",
         "--set: stream.heartbeat is \"\", expected a duration from 3s to 60s, such as "
         "10s, without a space"},
        {"limits.body_bytes=65M",
         "--set: limits.body_bytes is \"65M\", expected a size from 1 to 64M"},
        {"limits.message_bytes=1023",
         "--set: limits.message_bytes is \"1023\", expected a size from 1K to 16M"},
        {"websocket.deflate=zlib", "--set: websocket.deflate is \"zlib\", expected off or on"},
        {"server.workers=many",
         "--set: server.workers is \"many\", expected a whole number from 0 to 256"},
        {"server.www=a\nb", "--set: server.www is \"a\\x0ab\", expected a folder"},
        {"server.listen=8080", "--set: server.listen is \"8080\", expected ADDR:PORT, "
                               "localhost:PORT, *:PORT, [ADDR6]:PORT or unix:/PATH"},
        {"log.level=loud", "--set: log.level is \"loud\", expected error, warning, info or debug"},
        {"log.format=xml", "--set: log.format is \"xml\", expected text or json"},
        {"auth.mode=tokens", "--set: auth.mode is \"tokens\", expected none or token"},
        {"auth.jwt_key=a secret", "--set: auth.jwt_key has an item of another form, expected "
                                  "ALG:SECRET or ALG:@FILE"},
        {"auth.ticket_key=0123sesame", "--set: auth.ticket_key has an item of another form, "
                                       "expected KEY or @FILE, 32 bytes in hex or base64url"},
        {"auth.ticket_key=@", "--set: auth.ticket_key has an item of another form, "
                              "expected KEY or @FILE, 32 bytes in hex or base64url"},
        {"cluster.log=http://me:sesame@h",
         "--set: cluster.log has another form, expected redis://HOST:PORT, rediss://HOST:PORT or "
         "redis+sentinel://HOST:PORT,HOST:PORT/NAME"},
        {"cluster.user=me too",
         "--set: cluster.user is \"me too\", expected a name without blanks"},
        {"cluster.password=a\nb",
         "--set: cluster.password has another form, expected a text or @FILE"},
        {"cluster.prefix=", "--set: cluster.prefix is \"\", expected up to 64 letters, digits and "
                            "any of .:/_-"},
        {"cluster.prefix={bugle}",
         "--set: cluster.prefix is \"{bugle}\", expected up to 64 letters, "
         "digits and any of .:/_-"},
        {"cluster.node=my host", "--set: cluster.node is \"my host\", expected up to 64 letters, "
                                 "digits and any of ._-"},
        {"cluster.promise=all",
         "--set: cluster.promise is \"all\", expected memory, disk or replicated"},
        {"cluster.assume=on", "--set: cluster.assume is \"on\", expected nothing or disk"},
        {"auth.jwks=http://id.example/keys",
         "--set: auth.jwks is \"http://id.example/keys\", expected the path of a file, "
         "https://URL, or http://URL on a loopback address"},
        {"auth.anonymous=a*", "--set: auth.anonymous is \"a*\", expected patterns"},
        {"auth.cookie=a=b", "--set: auth.cookie is \"a=b\", expected the name of a cookie"},
        {"server.hosts=Example.org",
         "--set: server.hosts is \"Example.org\", expected HOST, HOST:PORT (lower case) or "
         "loopback"},
        {"history.store=/var/lib/bugle.db",
         "--set: history.store is \"/var/lib/bugle.db\", expected memory:, sqlite: or "
         "sqlite:PATH"},
        {"history.store=sqlite: ",
         "--set: history.store is \"sqlite: \", expected memory:, sqlite: or sqlite:PATH"},
        {"history.store=sqlite",
         "--set: history.store is \"sqlite\", expected memory:, sqlite: or sqlite:PATH"},
        {"history.store=memory:x",
         "--set: history.store is \"memory:x\", expected memory:, sqlite: or sqlite:PATH"},
        {"history.store=redis://localhost",
         "--set: history.store is \"redis://localhost\", expected memory:, sqlite: or "
         "sqlite:PATH"},
        {"auth.origins=https://example.org/",
         "--set: auth.origins is \"https://example.org/\", expected SCHEME://HOST, "
         "SCHEME://HOST:PORT (lower case, no path) or loopback"},
    };
    struct conf *conf = new_conf();

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct conf_error error;
        assert_int_equal(conf_set(conf, rows[i].assignment, &error), -EINVAL);
        assert_string_equal(error.text, rows[i].expected);
    }
    assert_int_equal(conf->stream.heartbeat_ms, 15000);
    assert_false(conf->auth.mode_written);
    conf_unref(conf);
}

static void a_flag_is_named_by_its_own_name(void **state)
{
    struct conf *conf = new_conf();
    struct conf_error error;

    (void)state;
    assert_int_equal(conf_set_as(conf, "--workers", "server.workers", "2", &error), 0);
    assert_int_equal(conf->server.workers, 2);
    assert_int_equal(conf_set_as(conf, "--workers", "server.workers", "x", &error), -EINVAL);
    assert_string_equal(
        error.text, "--workers: server.workers is \"x\", expected a whole number from 0 to 256");
    conf_unref(conf);
}

static void long_values_are_cut_in_the_message(void **state)
{
    struct conf *conf = new_conf();
    struct conf_error error;
    char value[4096];

    (void)state;
    memset(value, '\\', sizeof value);
    value[sizeof value - 1] = '\0';
    assert_int_equal(conf_set_as(conf, "x", "log.level", value, &error), -EINVAL);
    assert_non_null(strstr(error.text, "\", expected error, warning, info or debug"));
    conf_unref(conf);
}

static void reads_a_file(void **state)
{
    struct conf *conf = new_conf();

    (void)state;
    must_load(conf, "\xef\xbb\xbf# a comment\n"
                    "; another\n"
                    "\n"
                    "[server]\r\n"
                    "listen = 127.0.0.1:1, 127.0.0.1:2\r\n"
                    "listen = [::1]:3\n"
                    "  workers = 3   ; said why\n"
                    "\t\v\f\r www=/srv/www#1\n"
                    "[stream]\n"
                    "heartbeat: 10\n"
                    "heartbeat = 20s\n"
                    "[auth]\n"
                    "origins =\n"
                    "[log]\n"
                    "level = error");
    assert_items(&conf->server.listen, "127.0.0.1:1 127.0.0.1:2 [::1]:3");
    assert_int_equal(conf->server.workers, 3);
    assert_string_equal(conf->server.www, "/srv/www#1");
    assert_int_equal(conf->stream.heartbeat_ms, 20000);
    assert_items(&conf->auth.origins, "");
    assert_int_equal(conf->log.level, LOG_LEVEL_ERROR);
    assert_false(conf->auth.mode_written);
    conf_unref(conf);
}

static void a_file_says_where_it_is_wrong(void **state)
{
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"[server]\nlsten = a", ":2: there is no setting \"server.lsten\"; did you mean "
                                "server.listen?"},
        {"[sevrer]\nlisten = a", ":1: there is no section [sevrer]; did you mean [server]?"},
        {"\n  [kitchen]\n#sink = 1\n", ":2: there is no section [kitchen]"},
        {"[log]\nlevel = info\n[log\nformat = text", ":3: expected [section] or key = value"},
        {"[log]\nlevel info\nformat = xml", ":2: expected [section] or key = value"},
        {"[log]\nformat = xml\nlevel info", ":2: log.format is \"xml\", expected text or json"},
        {"[log]\nformat = xml\n[sevrer]", ":2: log.format is \"xml\", expected text or json"},
        {"listen = 127.0.0.1:1", ":1: there is no setting \"listen\"; did you mean server.listen?"},
        {"[server]\nworkers = \"4\"",
         ":2: server.workers is \"\"4\"\", expected a whole number from 0 to 256"},
        {"[server]\nlisten = 127.0.0.1:1\n    127.0.0.1:2", /* an indent means nothing */
         ":3: there is no setting \"server.127.0.0.1\""},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct conf *conf = new_conf();
        struct conf_error error;
        write_file(rows[i].text, strlen(rows[i].text));
        assert_int_equal(conf_load_file(conf, file_path, &error), -EINVAL);
        assert_string_equal(after_path(error.text), rows[i].expected);
        conf_unref(conf);
    }
}

static void a_file_may_not_hide_anything(void **state)
{
    struct conf *conf = new_conf();
    struct conf_error error;
    char text[8192];

    (void)state;
    write_file("[log]\nlevel = info\0x\n", 20);
    assert_int_equal(conf_load_file(conf, file_path, &error), -EINVAL);
    assert_string_equal(after_path(error.text), ":2: the line has a NUL byte");

    memset(text, '#', sizeof text);
    text[0] = '\n';
    write_file(text, sizeof text);
    assert_int_equal(conf_load_file(conf, file_path, &error), -EINVAL);
    assert_string_equal(after_path(error.text), ":2: the line is too long");
    conf_unref(conf);
}

static void takes_a_line_of_190_bytes_with_any_libinih(void **state)
{
    static const char text[] = "[server]\nwww = /" TEN_TIMES("123456789012345678") "\n";
    struct conf *conf = new_conf();

    (void)state;
    must_load(conf, text);
    assert_int_equal(strlen(conf->server.www), 181);
    conf_unref(conf);
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
    struct conf *conf = new_conf();
    struct conf_error error;

    (void)state;
    assert_int_equal(conf_load_file(conf, "./no-such-file", &error), -ENOENT);
    assert_string_equal(error.text, "./no-such-file: cannot be read: No such file or directory");
    assert_int_equal(conf_load_file(conf, ".", &error), -EISDIR);
    assert_string_equal(error.text, ".: cannot be read: Is a directory");
    conf_unref(conf);
}

static int load_environment(struct conf *conf, const char *const *variables,
                            struct conf_error *ret_error)
{
    char **saved = environ;
    environ = (char **)variables; /* which nobody writes to */
    int answer = conf_load_environment(conf, ret_error);
    environ = saved;
    return answer;
}

static void reads_the_environment(void **state)
{
    const char *variables[] = {"HOME=/root",
                               "BUGLE=/usr/bin/bugle",
                               "BUGLE_CONFIG=/etc/bugle.conf",
                               "BUGLE_URL=http://127.0.0.1:8080",
                               "BUGLE_TOKEN=t",
                               "BUGLE_STREAM_STALL_TIMEOUT=5s",
                               "BUGLE_SERVER_LISTEN=127.0.0.1:1,127.0.0.1:2",
                               "BUGLE_AUTH_MODE=none",
                               "XBUGLE_LOG_LEVEL=loud",
                               NULL};
    struct conf *conf = new_conf();
    struct conf_error error;

    (void)state;
    assert_int_equal(load_environment(conf, variables, &error), 0);
    assert_int_equal(conf->stream.stall_timeout_ms, 5000);
    assert_items(&conf->server.listen, "127.0.0.1:1 127.0.0.1:2");
    assert_true(conf->auth.mode_written);
    assert_int_equal(load_environment(conf, NULL, &error), 0);
    conf_unref(conf);
}

static void the_environment_says_where_it_is_wrong(void **state)
{
    static const struct {
        const char *variable;
        const char *expected;
    } rows[] = {
        {"BUGLE_STREAM_RETRY=soon", "BUGLE_STREAM_RETRY: stream.retry is \"soon\", expected a "
                                    "duration from 1s to 3600s, such as "
                                    "10s, without a space"},
        {"BUGLE_STREAM_RETRYS=3s",
         "BUGLE_STREAM_RETRYS: no setting has this variable; did you mean BUGLE_STREAM_RETRY?"},
        {"BUGLE_WORKERS=3",
         "BUGLE_WORKERS: no setting has this variable; did you mean BUGLE_SERVER_WORKERS?"},
        {"BUGLE_log_level=info",
         "BUGLE_log_level: no setting has this variable; did you mean BUGLE_LOG_LEVEL?"},
        {"BUGLE_SERVER.WORKERS=3",
         "BUGLE_SERVER.WORKERS: no setting has this variable; did you mean BUGLE_SERVER_WORKERS?"},
        {"BUGLE_SERVER_MOOD=fine", "BUGLE_SERVER_MOOD: no setting has this variable"},
        {"BUGLE_SERVR_MOOD=fine", "BUGLE_SERVR_MOOD: no setting has this variable"},
        {"BUGLE_SERVER_PORT=80", "BUGLE_SERVER_PORT: no setting has this variable"},
        {"BUGLE_SERVER_\n\n\n\n\n=",
         "BUGLE_SERVER_\\x0a\\x0a\\x0a\\x0a\\x0a: no setting has this variable"},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        const char *variables[] = {rows[i].variable, NULL};
        struct conf *conf = new_conf();
        struct conf_error error;
        assert_int_equal(load_environment(conf, variables, &error), -EINVAL);
        assert_string_equal(error.text, rows[i].expected);
        conf_unref(conf);
    }
}

static void variables_of_others_are_no_mistake(void **state)
{
    static const char *const rows[] = {
        "BUGLE_SERVICE_HOST=10.0.0.1",
        "BUGLE_SERVICE_PORT_HTTP=80",
        "BUGLE_PORT=tcp://10.0.0.1:80",
        "BUGLE_PORT_8080_TCP_ADDR=10.0.0.1",
        "BUGLE_EAST_PORT=udp://10.0.0.1:80",
        "BUGLE_NAME=/a/b",
        "BUGLE_ENV_STREAM_HEARTBEET=1",
        "BUGLE_VERSION=7",
        "BUGLE_MOOD=fine",
        "BUGLE_=",
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        const char *variables[] = {rows[i], "BUGLE_STREAM_RETRY=7s", NULL};
        struct conf *conf = new_conf();
        struct conf_error error;
        char names[64];

        assert_int_equal(load_environment(conf, variables, &error), 0);
        assert_int_equal(conf->stream.retry_ms, 7000);
        conf_unref(conf);
        char **saved = environ;
        environ = (char **)variables; /* which nobody writes to */
        assert_int_equal(conf_foreign_variables(names, sizeof names), 1);
        environ = saved;
        assert_int_equal(strlen(names), strcspn(rows[i], "="));
    }
}

static void later_sources_win(void **state)
{
    const char *variables[] = {"BUGLE_LOG_LEVEL=warning", "BUGLE_SERVER_LISTEN=127.0.0.1:3", NULL};
    struct conf *conf = new_conf();
    struct conf_error error;

    (void)state;
    must_load(conf, "[log]\nlevel = error\nformat = json\n"
                    "[server]\nlisten = 127.0.0.1:1\nlisten = 127.0.0.1:2\n"
                    "[auth]\norigins = https://example.org");
    assert_items(&conf->server.listen, "127.0.0.1:1 127.0.0.1:2");

    assert_int_equal(load_environment(conf, variables, &error), 0);
    assert_int_equal(conf->log.level, LOG_LEVEL_WARNING);
    assert_items(&conf->server.listen, "127.0.0.1:3");

    conf_begin_source(conf);
    must_set(conf, "log.level=debug");
    must_set(conf, "server.listen=127.0.0.1:4");
    must_set(conf, "server.listen=127.0.0.1:5");
    assert_int_equal(conf->log.level, LOG_LEVEL_DEBUG);
    assert_items(&conf->server.listen, "127.0.0.1:4 127.0.0.1:5");

    assert_int_equal(conf->log.format, LOG_FORMAT_JSON);
    assert_items(&conf->auth.origins, "https://example.org");
    conf_unref(conf);
}

/* Where nothing but the address protects the gateway, a name that leads there must not do. */
static void only_some_gateways_answer_to_any_name(void **state)
{
    static const struct {
        const char *listen, *mode;
        bool any;
    } rows[] = {
        {"server.listen=127.0.0.1:80,[::1]:80", "auth.mode=none", false},
        {"server.listen=127.0.0.1:80", "auth.mode=token", true},
        {"server.listen=127.0.0.1:80,unix:/run/bugle", "auth.mode=none", true},
        {"server.listen=127.0.0.1:80,10.0.0.1:80", "auth.mode=none", true},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct conf *conf = new_conf();

        must_set(conf, rows[i].listen);
        must_set(conf, rows[i].mode);
        assert_int_equal(conf_serves_any_host(conf), rows[i].any);
        conf_unref(conf);
    }
}

static void secrets_are_not_printed(void **state)
{
    struct conf *conf = new_conf();
    char *text;
    size_t text_n;
    FILE *to = open_memstream(&text, &text_n);

    (void)state;
    must_set(conf, "auth.jwt_key=HS256:sesame,RS256:@/etc/key");
    must_set(conf, "auth.api_key=shop:publish:sesame");
    must_set(conf, "auth.ticket_key=@sesame:1,@sesame");
    must_set(conf, "cluster.log=redis+sentinel://me:sesame@sesame@h:1,i/bugle");
    must_set(conf, "cluster.password=sesame:sesame");
    conf_print(conf, to);
    fclose(to);
    assert_null(strstr(text, "sesame"));
    assert_non_null(strstr(text, "auth.jwt_key = HS256:(not shown), RS256:(not shown)\n"));
    assert_non_null(strstr(text, "auth.api_key = shop:(not shown)\n"));
    assert_non_null(strstr(text, "auth.ticket_key = (not shown), (not shown)\n"));
    assert_non_null(strstr(text, "cluster.log = redis+sentinel://me:(not shown)@h:1,i/bugle\n"));
    assert_non_null(strstr(text, "cluster.password = (not shown)\n"));
    free(text);
    conf_unref(conf);
}

static void a_url_is_shown_without_its_password(void **state)
{
    static const char *const table[][2] = {
        {"redis://h:1/2", "redis://h:1/2"},
        {"redis://:sesame@h", "redis://:(not shown)@h"},
        {"rediss://me:sesame@[::1]:1", "rediss://me:(not shown)@[::1]:1"},
        {"redis://sesame@h", "redis://sesame:(not shown)@h"},
        {"redis://me:ses:ame/x@h", "redis://me:(not shown)@h"},
        {"", ""},
    };
    char shown[128];

    (void)state;
    for (size_t i = 0; i < ROWS(table); i++)
        assert_string_equal(conf_hide_password(table[i][0], shown, sizeof shown), table[i][1]);
    assert_string_equal(conf_hide_password("redis://me:sesame@h", shown, 12), "redis://me:");
}

static void what_is_not_at_its_default_is_found(void **state)
{
    struct conf *conf = new_conf();

    (void)state;
    must_set(conf, "server.workers=3");
    assert_null(conf_first_changed(conf, "cluster."));
    must_set(conf, "cluster.password=x");
    must_set(conf, "cluster.promise=disk");
    assert_string_equal(conf_first_changed(conf, "cluster."), "cluster.password");
    must_set(conf, "cluster.password=");
    assert_string_equal(conf_first_changed(conf, "cluster."), "cluster.promise");
    conf_unref(conf);
}

static void an_open_listener_needs_a_written_none(void **state)
{
    struct conf *conf = new_conf();
    struct conf_error error;

    (void)state;
    must_set(conf, "server.listen=unix:/run/bugle.sock,192.168.1.7:80,*:81");
    assert_false(conf_is_loopback_only(conf));
    assert_int_equal(conf_check(conf, &error), -EINVAL);
    assert_string_equal(
        error.text,
        "server.listen: others can reach 192.168.1.7:80, and without authentication all of them "
        "may publish and read: listen on 127.0.0.1, [::1] or unix:/PATH, set auth.mode = token, or "
        "accept it by writing auth.mode = none");

    must_load(conf, "[auth]\nmode = none\n");
    assert_true(conf->auth.mode_written);
    assert_int_equal(conf_check(conf, &error), 0);
    assert_false(conf_is_loopback_only(conf));
    conf_unref(conf);
}

static void checks_what_no_row_can_tell(void **state)
{
    static const struct {
        const char *first, *second, *expected;
    } rows[] = {
        {"server.listen=", "log.level=info", "server.listen is empty, expected an address"},
        {"limits.event_bytes=2M", "stream.ring_bytes=1M",
         "limits.event_bytes is 2M, expected at most stream.ring_bytes, which is 1M"},
        {"limits.event_bytes=65K", "history.max_bytes=64K",
         "limits.event_bytes is 65K, expected at most history.max_bytes, which is 64K"},
        {"limits.event_bytes=65537", "limits.queue_bytes=64K",
         "limits.event_bytes is 65537, expected at most limits.queue_bytes, which is 64K"},
        {"limits.url_bytes=2K", "limits.header_bytes=1K",
         "limits.url_bytes is 2K, expected at most limits.header_bytes, which is 1K"},
        {"limits.event_bytes=64K", "history.max_bytes=64K", NULL},
        {"limits.event_bytes=1K", "history.max_bytes=65535",
         "history.max_bytes is 65535, expected 0 or at least 64K"},
        {"history.store=memory:", "history.max_bytes=0", NULL},
        {"limits.memory=63M", "log.level=info", "limits.memory is 63M, expected 0 or at least 64M"},
        {"stream.ring_bytes=1K", "limits.event_bytes=1K",
         "stream.ring_bytes is 1K, expected 0 or at least 64K"},
        {"limits.memory=64M", "history.store=memory:", NULL},
        {"limits.memory=64M", "stream.ring_bytes=32M", NULL},
        {"limits.memory=64M", "stream.ring_bytes=33M",
         "stream.ring_bytes is 33M, expected at most 32M, since limits.memory is 64M"},
        {"cluster.promise=replicated", "cluster.replicas=0", NULL},
        {"cluster.promise=replicated", "cluster.log=redis://h",
         "cluster.promise is replicated, but cluster.replicas is 0: set it to the number of "
         "replicas that may be promoted"},
        {"cluster.log=redis://h", "cluster.replicas=1",
         "cluster.replicas is set, but cluster.promise is not replicated, so nothing would wait "
         "for "
         "them: set that, or cluster.replicas = 0"},
        {"cluster.log=redis://h", "cluster.lease=4s", NULL},
        {"cluster.log=redis://h", "cluster.lease=3999ms",
         "cluster.lease is 3999ms, expected at least twice cluster.timeout, which is 2s"},
        {"cluster.log=redis://h", "cluster.answer_timeout=2s", NULL},
        {"cluster.log=redis://h", "cluster.answer_timeout=1s",
         "cluster.answer_timeout is 1s, expected at least cluster.timeout, which is 2s"},
        {"cluster.log=redis://h", "auth.mode=token",
         "cluster.log and auth.mode = token are set, but there is no auth.ticket_key, with which "
         "all gateways make and take tickets: make one with `openssl rand -hex 32` and give it to "
         "each of them"},
        {"limits.memory=1G", "stream.ring_bytes=769M",
         "stream.ring_bytes is 769M, expected at most 768M, since limits.memory is 1G"},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct conf *conf = new_conf();
        struct conf_error error;
        must_set(conf, rows[i].first);
        must_set(conf, rows[i].second);
        assert_int_equal(conf_check(conf, &error), rows[i].expected ? -EINVAL : 0);
        if (rows[i].expected)
            assert_string_equal(error.text, rows[i].expected);
        conf_unref(conf);
    }
}

/* What a function prints; the caller frees it. */
static char *printed(const struct conf *conf)
{
    char *text = NULL;
    size_t text_n = 0;
    FILE *to = open_memstream(&text, &text_n);
    assert_non_null(to);
    if (conf)
        conf_print(conf, to);
    else
        conf_print_help(to);
    assert_int_equal(fclose(to), 0);
    return text;
}

static void prints_settings_that_set_the_same(void **state)
{
    struct conf *conf = new_conf();
    struct conf *again = new_conf();
    size_t lines = 0;

    (void)state;
    must_set(conf, "server.listen=127.0.0.1:1,unix:/run/b.sock");
    must_set(conf, "stream.retry=2500ms");
    must_set(conf, "auth.origins=");
    must_set(conf, "log.format=json");
    char *text = printed(conf);
    for (char *at = text, *line; (line = strsep(&at, "\n")) && *line; lines++) {
        char assignment[256];
        char *equals = strstr(line, " = ");
        assert_non_null(equals);
        assert_true((size_t)(equals - line) == strlen(conf_name_at(lines)));
        snprintf(assignment, sizeof assignment, "%s=%s", conf_name_at(lines), equals + 3);
        must_set(again, assignment);
    }
    assert_null(conf_name_at(lines));
    free(text);

    text = printed(conf);
    char *text_again = printed(again);
    assert_string_equal(text, text_again);
    assert_non_null(strstr(text, "\nstream.retry = 2500ms\n"));
    assert_non_null(strstr(text, "server.listen = 127.0.0.1:1, unix:/run/b.sock\n"));
    free(text);
    free(text_again);
    conf_unref(conf);
    conf_unref(again);
}

static void help_has_every_row_with_its_range(void **state)
{
    char *text = printed(NULL);

    (void)state;
    for (size_t i = 0; conf_name_at(i); i++) {
        char line[128];
        snprintf(line, sizeof line, "%s%s = ", i > 0 ? "\n\n" : "", conf_name_at(i));
        assert_non_null(strstr(text, line));
    }
    assert_non_null(strstr(text, "\nstream.heartbeat = 15s\n"
                                 "    Silence on a stream after which a heartbeat is sent.\n"
                                 "    Takes a duration from 3s to 60s.  Reloads.\n"));
    assert_non_null(strstr(text, "    Takes a whole number from 0 to 256.  Needs a restart.\n"));
    assert_non_null(strstr(text, "    Takes error, warning, info or debug.  Reloads.\n"));
    assert_non_null(strstr(text, "    Takes a list of ADDR:PORT, "));
    free(text);
}

static void a_reload_can_tell_what_needs_a_restart(void **state)
{
    struct conf *before = new_conf();
    struct conf *after = new_conf();
    size_t index = 0;

    (void)state;
    assert_null(conf_next_restart(before, after, &index));

    must_set(after, "server.listen=127.0.0.1:8080,127.0.0.1:8081");
    must_set(after, "server.www=/elsewhere");
    must_set(after, "limits.streams=10");
    must_set(after, "auth.origins=https://example.org"); /* these two reload */
    must_set(after, "log.level=debug");
    index = 0;
    assert_string_equal(conf_next_restart(before, after, &index), "server.listen");
    assert_string_equal(conf_next_restart(before, after, &index), "server.www");
    assert_string_equal(conf_next_restart(before, after, &index), "limits.streams");
    assert_null(conf_next_restart(before, after, &index));
    conf_unref(before);
    conf_unref(after);
}

static void a_reload_keeps_what_needs_a_restart(void **state)
{
    struct conf *before = new_conf();
    struct conf *after = new_conf();
    size_t index = 0;

    (void)state;
    must_set(before, "server.listen=127.0.0.1:8081,unix:/run/bugle");
    must_set(before, "limits.streams=7");
    must_set(after, "server.www=/elsewhere");
    must_set(after, "limits.streams=10");
    must_set(after, "auth.origins=https://example.org");
    must_set(after, "stream.heartbeat=20s");
    assert_int_equal(conf_keep_restart(after, before), 0);
    assert_null(conf_next_restart(before, after, &index));
    assert_int_equal(after->server.listen.items_n, 2);
    assert_string_equal(after->server.listen.items[1], "unix:/run/bugle");
    assert_int_equal(after->limits.streams, 7);
    assert_int_equal(after->stream.heartbeat_ms, 20000);
    assert_string_equal(after->auth.origins.items[0], "https://example.org");
    conf_unref(before);
    conf_unref(after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_from_the_defaults),
        cmocka_unit_test(the_last_reference_frees),
        cmocka_unit_test(rings_and_a_store_in_memory_shrink_with_the_memory),
        cmocka_unit_test(the_bytes_of_a_history_depend_on_its_store),
        cmocka_unit_test(defaults_pass_the_check),
        cmocka_unit_test(sets_values_of_every_type),
        cmocka_unit_test(set_says_what_is_wrong),
        cmocka_unit_test(a_flag_is_named_by_its_own_name),
        cmocka_unit_test(long_values_are_cut_in_the_message),
        cmocka_unit_test(reads_a_file),
        cmocka_unit_test(a_file_says_where_it_is_wrong),
        cmocka_unit_test(a_file_may_not_hide_anything),
        cmocka_unit_test(takes_a_line_of_190_bytes_with_any_libinih),
        cmocka_unit_test(a_file_that_cannot_be_read_is_named),
        cmocka_unit_test(reads_the_environment),
        cmocka_unit_test(the_environment_says_where_it_is_wrong),
        cmocka_unit_test(variables_of_others_are_no_mistake),
        cmocka_unit_test(later_sources_win),
        cmocka_unit_test(only_some_gateways_answer_to_any_name),
        cmocka_unit_test(secrets_are_not_printed),
        cmocka_unit_test(a_url_is_shown_without_its_password),
        cmocka_unit_test(what_is_not_at_its_default_is_found),
        cmocka_unit_test(an_open_listener_needs_a_written_none),
        cmocka_unit_test(checks_what_no_row_can_tell),
        cmocka_unit_test(prints_settings_that_set_the_same),
        cmocka_unit_test(help_has_every_row_with_its_range),
        cmocka_unit_test(a_reload_can_tell_what_needs_a_restart),
        cmocka_unit_test(a_reload_keeps_what_needs_a_restart),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
