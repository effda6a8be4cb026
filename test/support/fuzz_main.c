/* SPDX-License-Identifier: MIT */
/*
 * Replays inputs through a fuzz target without a fuzzer: each file named on the command line, and
 * each file of each folder named there.  Without arguments the seeds of this target are replayed:
 * `$srcdir/test/seeds/NAME` for a program called `fuzz_NAME`.  A target fails by abort(), which
 * leaves the TAP plan unfulfilled, so the last line tells the input before the one that failed.
 */
#include <dirent.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct inputs {
    char **paths;
    size_t paths_n;
};

__attribute__((noreturn, format(printf, 1, 2))) static void bail_out(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    printf("Bail out! ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    exit(99);
}

static void add_file(struct inputs *inputs, const char *path)
{
    inputs->paths = realloc(inputs->paths, (inputs->paths_n + 1) * sizeof *inputs->paths);
    if (!inputs->paths || !(inputs->paths[inputs->paths_n] = strdup(path)))
        bail_out("out of memory");
    inputs->paths_n++;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void add_folder(struct inputs *inputs, const char *path)
{
    struct dirent **entries;
    int entries_n = scandir(path, &entries, is_visible, alphasort);

    if (entries_n < 0)
        bail_out("cannot read %s", path);
    for (int i = 0; i < entries_n; i++) {
        char file[4096];

        snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
        add_file(inputs, file);
        free(entries[i]);
    }
    free(entries);
}

static void add(struct inputs *inputs, const char *path)
{
    struct stat status;

    if (stat(path, &status) != 0)
        bail_out("cannot read %s", path);
    if (S_ISDIR(status.st_mode))
        add_folder(inputs, path);
    else
        add_file(inputs, path);
}

static void add_own_seeds(struct inputs *inputs, const char *program)
{
    const char *srcdir = getenv("srcdir");
    const char *name = strstr(program, "fuzz_");
    char path[4096];

    for (const char *later = name; later; later = strstr(later + 1, "fuzz_"))
        name = later;
    if (!name)
        bail_out("%s: name a folder of inputs", program);
    snprintf(path, sizeof path, "%s/test/seeds/%s", srcdir ? srcdir : ".", name + strlen("fuzz_"));
    add(inputs, path);
}

/* A copy of exactly the file's size, so that a sanitizer sees a read past its end. */
static void replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat status;
    uint8_t *data;
    size_t size;

    if (!file || fstat(fileno(file), &status) != 0)
        bail_out("cannot read %s", path);
    size = (size_t)status.st_size;
    data = malloc(size > 0 ? size : 1);
    if (!data || fread(data, 1, size, file) != size)
        bail_out("cannot read %s", path);
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
}

int main(int argc, char **argv)
{
    struct inputs inputs = {NULL, 0};

    for (int i = 1; i < argc; i++)
        add(&inputs, argv[i]);
    if (argc < 2)
        add_own_seeds(&inputs, argv[0]);
    if (inputs.paths_n == 0)
        bail_out("no inputs");
    printf("1..%zu\n", inputs.paths_n);
    for (size_t i = 0; i < inputs.paths_n; i++) {
        const char *name = strrchr(inputs.paths[i], '/');

        fflush(stdout);
        replay(inputs.paths[i]);
        printf("ok %zu - %s\n", i + 1, name ? name + 1 : inputs.paths[i]);
        free(inputs.paths[i]);
    }
    free(inputs.paths);
    return 0;
}
