/* SPDX-License-Identifier: MIT */
/*
 * Which files of a folder are pages and how they are answered, with a stand-in for respond_with()
 * that notes the answer instead of sending it.
 */
#include "config.h"
#include "api/static_files.h"

#include <setjmp.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "http/respond.h"

/* What the stand-in was given last. */
static struct {
    size_t calls_n;
    struct request *request;
    unsigned status;
    char headers[4][512];
} answer;

static const char *const header_names[] = {"Content-Type", "Cache-Control",
                                           "Content-Security-Policy", "Referrer-Policy"};

int respond_with(struct request *request, unsigned status, struct MHD_Response *response)
{
    answer.calls_n++;
    answer.request = request;
    answer.status = status;
    for (size_t i = 0; i < 4; i++) {
        const char *value = MHD_get_response_header(response, header_names[i]);

        snprintf(answer.headers[i], sizeof(answer.headers[i]), "%s", value != NULL ? value : "");
    }
    MHD_destroy_response(response);
    return MHD_YES;
}

/* ---- a folder of its own for each test ---- */

struct folder {
    char path[64];
};

static void make_folder(struct folder *folder)
{
    strcpy(folder->path, "/tmp/test_pages.XXXXXX");
    assert_non_null(mkdtemp(folder->path));
}

static const char *in_folder(const struct folder *folder, const char *name)
{
    static char path[512];

    snprintf(path, sizeof(path), "%s/%s", folder->path, name);
    return path;
}

static void add_file(const struct folder *folder, const char *name, size_t bytes_n)
{
    int fd = open(in_folder(folder, name), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)bytes_n), 0);
    close(fd);
}

static void remove_file(const struct folder *folder, const char *name)
{
    assert_int_equal(unlink(in_folder(folder, name)), 0);
}

static void remove_folder(const struct folder *folder)
{
    assert_int_equal(rmdir(folder->path), 0);
}

static struct static_files *read_folder(const struct folder *folder)
{
    struct conf_error error;
    struct static_files *pages = static_files_new(folder->path, &error);

    assert_non_null(pages);
    return pages;
}

static void assert_unreadable(const char *path, const char *why)
{
    struct conf_error error = {""};

    assert_null(static_files_new(path, &error));
    assert_memory_equal(error.text, "server.www: ", 12);
    assert_non_null(strstr(error.text, path));
    assert_non_null(strstr(error.text, why));
    assert_null(strchr(error.text, '\n'));
}

static int ask(const struct static_files *pages, const char *path)
{
    static char request;

    memset(&answer, 0, sizeof(answer));
    return static_files_respond(pages, (struct request *)(void *)&request, path);
}

/* ---- tests ---- */

static void without_a_folder_there_are_no_pages(void **state)
{
    struct conf_error error;
    struct static_files *pages = static_files_new("", &error);

    (void)state;
    assert_non_null(pages);
    assert_int_equal(static_files_count(pages), 0);
    assert_int_equal(ask(pages, "/"), -ENOENT);
    static_files_free(pages);
    static_files_free(NULL);
}

static void answers_with_a_file_and_its_type(void **state)
{
    static const struct {
        const char *name, *type;
    } cases[] = {
        {"index.html", "text/html; charset=utf-8"},
        {"a.css", "text/css; charset=utf-8"},
        {"a.js", "text/javascript; charset=utf-8"},
        {"a.min.js", "text/javascript; charset=utf-8"},
        {"a.svg", "image/svg+xml"},
        {"a.png", "image/png"},
        {"favicon.ico", "image/x-icon"},
        {"a.txt", "text/plain; charset=utf-8"},
        {"a.json", "application/json"},
        {"a.webmanifest", "application/manifest+json"},
        {"a.html.bin", "application/octet-stream"},
        {"html", "application/octet-stream"},
    };
    enum { FILES = sizeof(cases) / sizeof(cases[0]) };
    struct folder folder;

    (void)state;
    make_folder(&folder);
    for (size_t i = 0; i < FILES; i++)
        add_file(&folder, cases[i].name, i);
    struct static_files *pages = read_folder(&folder);
    for (size_t i = 0; i < FILES; i++)
        remove_file(&folder, cases[i].name); /* they are served from memory */
    remove_folder(&folder);
    assert_int_equal(static_files_count(pages), FILES);
    for (size_t i = 0; i < FILES; i++) {
        char path[64];

        snprintf(path, sizeof(path), "/%s", cases[i].name);
        assert_int_equal(ask(pages, path), MHD_YES);
        assert_int_equal(answer.calls_n, 1);
        assert_non_null(answer.request);
        assert_int_equal(answer.status, 200);
        assert_string_equal(answer.headers[0], cases[i].type);
        assert_string_equal(answer.headers[1], "no-cache");
        assert_non_null(strstr(answer.headers[2], "default-src 'none'"));
        assert_non_null(strstr(answer.headers[2], "frame-ancestors 'none'"));
        assert_string_equal(answer.headers[3], "no-referrer");
    }
    assert_int_equal(ask(pages, "/"), MHD_YES);
    assert_string_equal(answer.headers[0], "text/html; charset=utf-8");
    static_files_free(pages);
}

static void knows_only_names_it_has_read(void **state)
{
    static const char *const paths[] = {"/",     "/b.txt",         "/a.tx",    "/a.txt/",
                                        "a.txt", "//a.txt",        "/./a.txt", "/A.TXT",
                                        "",      "/../etc/passwd", "*",        "/a.txt?"};
    struct folder folder;

    (void)state;
    make_folder(&folder);
    add_file(&folder, "a.txt", 1);
    struct static_files *pages = read_folder(&folder);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        assert_int_equal(ask(pages, paths[i]), -ENOENT);
        assert_int_equal(answer.calls_n, 0);
    }
    assert_int_equal(ask(pages, "/a.txt"), MHD_YES);
    static_files_free(pages);
    remove_file(&folder, "a.txt");
    remove_folder(&folder);
}

static void leaves_out_what_is_no_plain_file(void **state)
{
    struct folder folder;

    (void)state;
    make_folder(&folder);
    add_file(&folder, "page.html", 10);
    add_file(&folder, ".hidden", 10);
    assert_int_equal(mkdir(in_folder(&folder, "sub"), 0700), 0);
    assert_int_equal(mkfifo(in_folder(&folder, "pipe"), 0600), 0);
    struct static_files *pages = read_folder(&folder);
    assert_int_equal(static_files_count(pages), 1);
    assert_int_equal(ask(pages, "/page.html"), MHD_YES);
    assert_int_equal(ask(pages, "/.hidden"), -ENOENT);
    assert_int_equal(ask(pages, "/sub"), -ENOENT);
    static_files_free(pages);
    remove_file(&folder, "page.html");
    remove_file(&folder, ".hidden");
    remove_file(&folder, "pipe");
    assert_int_equal(rmdir(in_folder(&folder, "sub")), 0);
    remove_folder(&folder);
}

static void says_why_a_folder_cannot_be_read(void **state)
{
    struct folder folder;

    (void)state;
    assert_unreadable("/nonexistent/folder", strerror(ENOENT));
    make_folder(&folder);
    add_file(&folder, "file", 1);
    assert_unreadable(in_folder(&folder, "file"), strerror(ENOTDIR));
    remove_file(&folder, "file");
    remove_folder(&folder);
}

static void takes_so_many_files_and_no_more(void **state)
{
    struct folder folder;
    char name[16];

    (void)state;
    make_folder(&folder);
    for (int i = 0; i < 64; i++) {
        snprintf(name, sizeof(name), "%d.txt", i);
        add_file(&folder, name, 1);
    }
    struct static_files *pages = read_folder(&folder);
    assert_int_equal(static_files_count(pages), 64);
    static_files_free(pages);
    add_file(&folder, "64.txt", 1);
    assert_unreadable(folder.path, strerror(EFBIG));
    for (int i = 0; i < 65; i++) {
        snprintf(name, sizeof(name), "%d.txt", i);
        remove_file(&folder, name);
    }
    remove_folder(&folder);
}

static void takes_files_of_so_many_bytes_and_no_more(void **state)
{
    struct folder folder;

    (void)state;
    make_folder(&folder);
    add_file(&folder, "large", 4 << 20);
    struct static_files *pages = read_folder(&folder);
    assert_int_equal(static_files_count(pages), 1);
    static_files_free(pages);
    add_file(&folder, "large", (4 << 20) + 1);
    assert_unreadable(folder.path, strerror(EFBIG));
    remove_file(&folder, "large");
    remove_folder(&folder);
}

static void takes_names_of_so_many_bytes_and_no_more(void **state)
{
    struct folder folder;
    char name[129];

    (void)state;
    make_folder(&folder);
    memset(name, 'n', 128);
    name[127] = '\0';
    add_file(&folder, name, 1);
    struct static_files *pages = read_folder(&folder);
    assert_int_equal(static_files_count(pages), 1);
    static_files_free(pages);
    remove_file(&folder, name);
    name[127] = 'n';
    name[128] = '\0';
    add_file(&folder, name, 1);
    assert_unreadable(folder.path, strerror(EFBIG));
    remove_file(&folder, name);
    remove_folder(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_folder_there_are_no_pages),
        cmocka_unit_test(answers_with_a_file_and_its_type),
        cmocka_unit_test(knows_only_names_it_has_read),
        cmocka_unit_test(leaves_out_what_is_no_plain_file),
        cmocka_unit_test(says_why_a_folder_cannot_be_read),
        cmocka_unit_test(takes_so_many_files_and_no_more),
        cmocka_unit_test(takes_files_of_so_many_bytes_and_no_more),
        cmocka_unit_test(takes_names_of_so_many_bytes_and_no_more),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
