/* SPDX-License-Identifier: MIT */
/* Certificates and keys from files, what is refused and how, and real handshakes with them. */
#include "config.h"
#include "conn/tls_credentials.h"

#include <setjmp.h>
#include <errno.h>
#include <gnutls/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "conf/conf_value.h"

#define PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
#define STEPS_MAX 100

struct bench {
    char folder[64];
    struct conf *conf;
    gnutls_x509_privkey_t key;
};

static const char *path_of(const struct bench *bench, const char *name)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/%s", bench->folder, name);
    return path;
}

static void write_file(const struct bench *bench, const char *name, const void *bytes, size_t n)
{
    FILE *file = fopen(path_of(bench, name), "w");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void write_key(struct bench *bench, const char *name)
{
    gnutls_datum_t text;

    if (bench->key != NULL)
        gnutls_x509_privkey_deinit(bench->key);
    gnutls_x509_privkey_init(&bench->key);
    assert_int_equal(gnutls_x509_privkey_generate(bench->key, GNUTLS_PK_ECDSA,
                                                  GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1),
                                                  0),
                     0);
    assert_int_equal(gnutls_x509_privkey_export2(bench->key, GNUTLS_X509_FMT_PEM, &text), 0);
    write_file(bench, name, text.data, text.size);
    gnutls_free(text.data);
}

/* Of the last key. */
static void write_certificate(struct bench *bench, const char *name, time_t expires_s)
{
    gnutls_x509_crt_t crt;
    gnutls_datum_t text;

    gnutls_x509_crt_init(&crt);
    gnutls_x509_crt_set_version(crt, 3);
    gnutls_x509_crt_set_serial(crt, "\1", 1);
    gnutls_x509_crt_set_activation_time(crt, expires_s - 100000);
    gnutls_x509_crt_set_expiration_time(crt, expires_s);
    gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, name, strlen(name));
    gnutls_x509_crt_set_key(crt, bench->key);
    assert_int_equal(gnutls_x509_crt_sign2(crt, crt, bench->key, GNUTLS_DIG_SHA256, 0), 0);
    assert_int_equal(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &text), 0);
    write_file(bench, name, text.data, text.size);
    gnutls_free(text.data);
    gnutls_x509_crt_deinit(crt);
}

static void set(struct bench *bench, const char *name, const char *value)
{
    struct conf_error error = {.text = ""};

    conf_begin_source(bench->conf);
    assert_int_equal(conf_set_as(bench->conf, "test", name, value, &error), 0);
}

static void set_files(struct bench *bench, const char *certificate, const char *key)
{
    set(bench, "tls.certificate", path_of(bench, certificate));
    set(bench, "tls.key", path_of(bench, key));
}

static int begin(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    strcpy(bench->folder, "/tmp/bugle-test-XXXXXX");
    assert_non_null(mkdtemp(bench->folder));
    bench->conf = conf_new();
    set(bench, "tls.listen", "127.0.0.1:8443");
    write_key(bench, "a.key");
    write_certificate(bench, "a.pem", time(NULL) + 1000);
    set_files(bench, "a.pem", "a.key");
    *state = bench;
    return 0;
}

static int end(void **state)
{
    static const char *const names[] = {"a.key", "a.pem", "b.key", "b.pem", "empty", "noise"};
    struct bench *bench = *state;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(path_of(bench, names[i]));
    assert_int_equal(rmdir(bench->folder), 0);
    gnutls_x509_privkey_deinit(bench->key);
    conf_unref(bench->conf);
    free(bench);
    return 0;
}

static struct tls_credentials *read_set(struct bench *bench, const struct tls_credentials *before)
{
    struct conf_error error = {.text = ""};
    struct tls_credentials *set = tls_credentials_new(bench->conf, before, &error);

    if (set == NULL)
        print_error("%s\n", error.text);
    assert_non_null(set);
    return set;
}

static void assert_refused(struct bench *bench, const char *why)
{
    struct conf_error error = {.text = ""};

    assert_null(tls_credentials_new(bench->conf, NULL, &error));
    if (strstr(error.text, why) == NULL)
        print_error("\"%s\" is not in \"%s\"\n", why, error.text);
    assert_non_null(strstr(error.text, why));
    assert_int_equal(tls_credentials_check_conf(bench->conf, &error), -EINVAL);
}

/* ---- files ---- */

static void a_pair_is_read(void **state)
{
    struct bench *bench = *state;
    time_t first_s = time(NULL) + 500;
    struct conf_error error;
    char both[256];

    assert_int_equal(tls_credentials_check_conf(bench->conf, &error), 0);
    write_key(bench, "b.key");
    write_certificate(bench, "b.pem", first_s);
    snprintf(both, sizeof(both), "%s/a.pem, %s/b.pem", bench->folder, bench->folder);
    set(bench, "tls.certificate", both);
    snprintf(both, sizeof(both), "%s/a.key, %s/b.key", bench->folder, bench->folder);
    set(bench, "tls.key", both);
    struct tls_credentials *set = read_set(bench, NULL);
    assert_int_equal(tls_credentials_expires_s(set), first_s);
    tls_credentials_unref(set);
}

static void bad_files_are_told(void **state)
{
    struct bench *bench = *state;

    write_file(bench, "empty", "", 0);
    write_file(bench, "noise", "secret noise", 12);
    set_files(bench, "none.pem", "a.key");
    assert_refused(bench, "none.pem: No such file or directory");
    set_files(bench, "a.pem", "none.key");
    assert_refused(bench, "none.key: No such file or directory");
    set_files(bench, "empty", "a.key");
    assert_refused(bench, "empty: there is no certificate in PEM form");
    set_files(bench, "a.pem", "noise");
    assert_refused(bench, "noise: there is no private key in PEM form");
    set_files(bench, "a.key", "a.key");
    assert_refused(bench, "a.key: there is no certificate in PEM form");
    write_key(bench, "b.key");
    set_files(bench, "a.pem", "b.key");
    assert_refused(bench, "b.key is not the key of the certificate in");
}

static void lists_must_pair_up(void **state)
{
    struct bench *bench = *state;

    set(bench, "tls.key", "");
    assert_refused(bench, "a tls.key for each");
    set(bench, "tls.certificate", "");
    assert_refused(bench, "TLS needs tls.certificate");
    struct conf_error error;
    set(bench, "tls.listen", "");
    assert_int_equal(tls_credentials_check_conf(bench->conf, &error), 0);
}

static void old_versions_are_refused(void **state)
{
    struct bench *bench = *state;

    set(bench, "tls.priority", "NORMAL:-VERS-ALL:+VERS-TLS1.2:+VERS-TLS1.0");
    assert_refused(bench, "other versions than TLS 1.2 and 1.3");
    set(bench, "tls.priority", "NORMAL:-VERS-ALL");
    assert_refused(bench, "tls.priority");
    set(bench, "tls.priority", "NORMAL:+BLUE:-RSA");
    assert_refused(bench, "from \"+BLUE:-RSA\" on");
    set(bench, "tls.priority", "NORMAL:-VERS-ALL:+VERS-TLS1.3");
    tls_credentials_unref(read_set(bench, NULL));
}

/* ---- handshakes ---- */

struct side {
    gnutls_session_t session;
    gnutls_certificate_credentials_t credentials; /* the client's */
};

static int on_finished(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
                       const gnutls_datum_t *message)
{
    (void)type;
    (void)when;
    (void)message;
    *(int *)gnutls_db_get_ptr(session) += incoming != 0;
    return 0;
}

/* A handshake between the set and a client, who may bring a session.  What came of it. */
struct outcome {
    int result; /* of the client */
    int finished_n;
    bool resumed;
    gnutls_protocol_t version;
    gnutls_datum_t ticket;
    char name[32];
};

static void read_name(gnutls_session_t session, char name[32])
{
    unsigned list_n;
    const gnutls_datum_t *list = gnutls_certificate_get_peers(session, &list_n);
    size_t name_n = 32;
    gnutls_x509_crt_t crt;

    if (list == NULL)
        return;
    gnutls_x509_crt_init(&crt);
    gnutls_x509_crt_import(crt, &list[0], GNUTLS_X509_FMT_DER);
    gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &name_n);
    gnutls_x509_crt_deinit(crt);
}

static int shake(gnutls_session_t server, gnutls_session_t client)
{
    int left = GNUTLS_E_AGAIN, right = GNUTLS_E_AGAIN;

    for (int i = 0; i < STEPS_MAX && (left == GNUTLS_E_AGAIN || right == GNUTLS_E_AGAIN); i++) {
        if (right == GNUTLS_E_AGAIN)
            right = gnutls_handshake(client);
        if (left == GNUTLS_E_AGAIN)
            left = gnutls_handshake(server);
        if (left < 0 && left != GNUTLS_E_AGAIN)
            return left;
        if (right < 0 && right != GNUTLS_E_AGAIN)
            return right;
    }
    return right;
}

static struct outcome meet(struct tls_credentials *set, const char *priority,
                           const gnutls_datum_t *ticket)
{
    struct outcome outcome = {0};
    gnutls_session_t server, client;
    gnutls_certificate_credentials_t trust;
    char byte;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    gnutls_init(&server, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
    gnutls_init(&client, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
    gnutls_certificate_allocate_credentials(&trust);
    gnutls_credentials_set(client, GNUTLS_CRD_CERTIFICATE, trust);
    assert_int_equal(gnutls_priority_set_direct(client, priority, NULL), 0);
    if (ticket != NULL)
        gnutls_session_set_data(client, ticket->data, ticket->size);
    gnutls_transport_set_int(server, fds[0]);
    gnutls_transport_set_int(client, fds[1]);
    gnutls_db_set_ptr(server, &outcome.finished_n);
    assert_int_equal(tls_credentials_apply(set, server, on_finished), 0);
    outcome.result = shake(server, client);
    if (outcome.result == 0) {
        gnutls_record_send(server, "x", 1);
        gnutls_record_recv(client, &byte, 1); /* and so the ticket, which comes before */
        outcome.version = gnutls_protocol_get_version(client);
        outcome.resumed = gnutls_session_is_resumed(server) != 0;
        gnutls_session_get_data2(client, &outcome.ticket);
        read_name(client, outcome.name);
    }
    gnutls_deinit(server);
    gnutls_deinit(client);
    gnutls_certificate_free_credentials(trust);
    close(fds[0]);
    close(fds[1]);
    return outcome;
}

static void handshakes_are_done(void **state)
{
    static const struct {
        const char *priority;
        gnutls_protocol_t version;
    } rows[] = {{"NORMAL:-VERS-ALL:+VERS-TLS1.3", GNUTLS_TLS1_3},
                {"NORMAL:-VERS-ALL:+VERS-TLS1.2", GNUTLS_TLS1_2}};
    struct tls_credentials *set = read_set(*state, NULL);

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct outcome outcome = meet(set, rows[i].priority, NULL);

        assert_int_equal(outcome.result, 0);
        assert_int_equal(outcome.version, rows[i].version);
        assert_int_equal(outcome.finished_n, 1);
        assert_false(outcome.resumed);
        assert_string_equal(outcome.name, "a.pem");
        gnutls_free(outcome.ticket.data);
    }
    tls_credentials_unref(set);
}

static void weak_handshakes_fail(void **state)
{
    static const char *const priorities[] = {
        "LEGACY:-VERS-ALL:+VERS-TLS1.1",
        "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-CBC:-KX-ALL:+ECDHE-ECDSA",
    };
    struct tls_credentials *set = read_set(*state, NULL);

    for (size_t i = 0; i < sizeof(priorities) / sizeof(priorities[0]); i++)
        assert_true(meet(set, priorities[i], NULL).result < 0);
    tls_credentials_unref(set);
}

/* A session that began with the old set is resumed with the new one, and a full handshake sees the
 * new certificate; the old set lives as long as somebody has it. */
static void a_new_set_takes_old_tickets(void **state)
{
    struct bench *bench = *state;
    struct tls_credentials *before = read_set(bench, NULL);
    struct outcome first = meet(before, PRIORITY, NULL);

    write_key(bench, "b.key");
    write_certificate(bench, "b.pem", time(NULL) + 1000);
    set_files(bench, "b.pem", "b.key");
    struct tls_credentials *after = read_set(bench, before);
    tls_credentials_ref(before);
    tls_credentials_unref(before);
    struct outcome again = meet(after, PRIORITY, &first.ticket);
    assert_true(again.resumed);
    struct outcome full = meet(after, PRIORITY, NULL);
    assert_string_equal(full.name, "b.pem");
    struct outcome old = meet(before, PRIORITY, NULL);
    assert_string_equal(old.name, "a.pem");
    struct tls_credentials *other = read_set(bench, NULL);
    struct outcome foreign = meet(other, PRIORITY, &first.ticket);
    assert_false(foreign.resumed);
    gnutls_free(first.ticket.data);
    gnutls_free(again.ticket.data);
    gnutls_free(full.ticket.data);
    gnutls_free(old.ticket.data);
    gnutls_free(foreign.ticket.data);
    tls_credentials_unref(before);
    tls_credentials_unref(after);
    tls_credentials_unref(other);
    tls_credentials_unref(NULL);
}

/* ---- the first bytes ---- */

static void hellos_are_told_apart(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        enum tls_hello hello;
    } rows[] = {
        {"", 0, TLS_HELLO_MORE},
        {"\x16", 1, TLS_HELLO_MORE},
        {"\x16\x03", 2, TLS_HELLO_MORE},
        {"\x16\x03\x01\x00", 4, TLS_HELLO_MORE},
        {"\x16\x03\x01\x00\x01", 5, TLS_HELLO_MORE},
        {"\x16\x03\x01\x00\x01\x01", 6, TLS_HELLO_WHOLE},
        {"\x16\x03\x03\x00\x02\x01", 6, TLS_HELLO_MORE},
        {"\x16\x03\x03\x00\x02\x01\x00", 7, TLS_HELLO_WHOLE},
        {"\x16\x03\x03\x00\x02\x01\x00 and more", 16, TLS_HELLO_WHOLE},
        {"\x16\x03\x03\x40\x00\x01\x00\x00\x00\x00", 10, TLS_HELLO_WHOLE}, /* no more room */
        {"\x16\x03\x03\x40\x01\x01", 6, TLS_HELLO_NONE},
        {"\x16\x03\x01\x00\x00", 5, TLS_HELLO_NONE},
        {"\x16\x02", 2, TLS_HELLO_NONE},
        {"\x16\x03\x01\x00\x05\x02", 6, TLS_HELLO_NONE},
        {"\x15\x03\x01", 3, TLS_HELLO_NONE},
        {"\x80\x2e\x01", 3, TLS_HELLO_NONE},
        {"\0", 1, TLS_HELLO_NONE},
        {"GET / ", 6, TLS_HELLO_HTTP},
        {"p", 1, TLS_HELLO_HTTP},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(tls_hello_look(rows[i].bytes, rows[i].n, rows[i].n == 10 ? 10 : 20000),
                         rows[i].hello);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_pair_is_read, begin, end),
        cmocka_unit_test_setup_teardown(bad_files_are_told, begin, end),
        cmocka_unit_test_setup_teardown(lists_must_pair_up, begin, end),
        cmocka_unit_test_setup_teardown(old_versions_are_refused, begin, end),
        cmocka_unit_test_setup_teardown(handshakes_are_done, begin, end),
        cmocka_unit_test_setup_teardown(weak_handshakes_fail, begin, end),
        cmocka_unit_test_setup_teardown(a_new_set_takes_old_tickets, begin, end),
        cmocka_unit_test(hellos_are_told_apart),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
