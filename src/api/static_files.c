/* SPDX-License-Identifier: MIT */
/* Files of server.www.  See static_files.h. */
#include "config.h"
#include "api/static_files.h"

#include <dirent.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "http/respond.h"

#define STATIC_FILES_MAX 64
#define FILE_BYTES_MAX (4 << 20)

/* The page brings all it needs, so nothing from outside may run in it. */
#define CONTENT_POLICY                                                                             \
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "   \
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

struct static_file {
    char name[128];
    const char *type;
    char *bytes;
    size_t bytes_n;
};

struct static_files {
    size_t count;
    struct static_file files[STATIC_FILES_MAX];
};

static const char *static_files_type_of(const char *name)
{
    static const struct {
        const char *ending;
        const char *type;
    } types[] = {
        {".html", "text/html; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".ico", "image/x-icon"},
        {".txt", "text/plain; charset=utf-8"},
        {".ts", "text/plain; charset=utf-8"},
        {".json", "application/json"},
        {".webmanifest", "application/manifest+json"},
    };
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot != NULL && i < sizeof(types) / sizeof(types[0]); i++)
        if (strcmp(dot, types[i].ending) == 0)
            return types[i].type;
    return "application/octet-stream";
}

static int static_files_read_file(const char *path, char **ret_bytes, size_t *ret_n)
{
    struct stat info;
    FILE *file = fopen(path, "rbe");

    if (file == NULL)
        return -errno;
    if (fstat(fileno(file), &info) != 0 || info.st_size > FILE_BYTES_MAX) {
        fclose(file);
        return -EFBIG;
    }
    char *bytes = malloc((size_t)info.st_size + 1);
    size_t n = bytes != NULL ? fread(bytes, 1, (size_t)info.st_size, file) : 0;
    fclose(file);
    if (bytes == NULL)
        return -ENOMEM;
    *ret_bytes = bytes;
    *ret_n = n;
    return 0;
}

static bool static_files_is_regular(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

static int static_files_add(struct static_files *files, const char *folder, const char *name)
{
    struct static_file *file = &files->files[files->count];
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (name[0] == '.' || !static_files_is_regular(path))
        return 0;
    if (files->count == STATIC_FILES_MAX || strlen(name) >= sizeof(file->name))
        return -EFBIG;
    int result = static_files_read_file(path, &file->bytes, &file->bytes_n);
    if (result != 0)
        return result;
    strcpy(file->name, name);
    file->type = static_files_type_of(name);
    files->count++;
    return 0;
}

static int static_files_read_folder(struct static_files *files, const char *folder)
{
    DIR *listing = opendir(folder);
    struct dirent *entry;
    int result = 0;

    if (listing == NULL)
        return -errno;
    while (result == 0 && (entry = readdir(listing)) != NULL)
        result = static_files_add(files, folder, entry->d_name);
    closedir(listing);
    return result;
}

struct static_files *static_files_new(const char *folder, struct conf_error *ret_error)
{
    struct static_files *files = calloc(1, sizeof(*files));
    int result = files == NULL       ? -ENOMEM
                 : folder[0] != '\0' ? static_files_read_folder(files, folder)
                                     : 0;

    if (result == 0)
        return files;
    snprintf(ret_error->text, sizeof(ret_error->text), "server.www: cannot read %.200s: %s", folder,
             strerror(-result));
    static_files_free(files);
    return NULL;
}

void static_files_free(struct static_files *files)
{
    if (files == NULL)
        return;
    for (size_t i = 0; i < files->count; i++)
        free(files->files[i].bytes);
    free(files);
}

static const struct static_file *static_files_find(const struct static_files *files,
                                                   const char *path)
{
    const char *name = strcmp(path, "/") == 0 ? "index.html" : path + 1;

    for (size_t i = 0; i < files->count; i++)
        if (strcmp(files->files[i].name, name) == 0)
            return &files->files[i];
    return NULL;
}

int static_files_respond(const struct static_files *files, struct request *request,
                         const char *path)
{
    const struct static_file *file = path[0] == '/' ? static_files_find(files, path) : NULL;

    if (file == NULL)
        return -ENOENT;
    /* kept until the server ends, which is after every connection */
    struct MHD_Response *response =
        MHD_create_response_from_buffer(file->bytes_n, file->bytes, MHD_RESPMEM_PERSISTENT);
    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", file->type);
    MHD_add_response_header(response, "Cache-Control", "no-cache");
    MHD_add_response_header(response, "Content-Security-Policy", CONTENT_POLICY);
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    return respond_with(request, MHD_HTTP_OK, response);
}

size_t static_files_count(const struct static_files *files)
{
    return files->count;
}
