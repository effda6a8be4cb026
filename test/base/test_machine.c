/* SPDX-License-Identifier: MIT */
/* What memory there is, read from a made-up root. */
#include "base/machine.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define NO_LIMIT "9223372036854771712\n" /* as version 1 says it */

static char root[PATH_MAX];

static void put(const char *path, const char *text)
{
    char whole[PATH_MAX * 2];

    snprintf(whole, sizeof(whole), "%s%s", root, path);
    for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        assert_true(mkdir(whole, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    assert_int_equal(fputs(text, file) >= 0, 1);
    fclose(file);
}

static int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "%s/test_machine.XXXXXX",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    if (mkdtemp(root) == NULL)
        return -1;
    put("/proc/meminfo", "MemTotal:        1000 kB\nMemFree: 5 kB\n");
    return 0;
}

static int drop_root(void **state)
{
    char command[PATH_MAX + 64];

    (void)state;
    snprintf(command, sizeof(command), "rm -r '%s'", root);
    return system(command);
}

static void without_a_group_it_is_the_machine(void **state)
{
    (void)state;
    assert_int_equal(machine_memory_bytes(root), 1000 * 1024);
    assert_true(machine_cgroup_bytes(root) == UINT64_MAX);
}

static void with_nothing_to_read_it_is_a_gigabyte(void **state)
{
    (void)state;
    assert_int_equal(machine_memory_bytes("/nonexistent"), 1 << 30);
}

static void version_2_has_a_limit_for_each_group_above(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/system.slice/bugle.service\n");
    put("/sys/fs/cgroup/system.slice/bugle.service/memory.max", "max\n");
    assert_true(machine_cgroup_bytes(root) == UINT64_MAX);
    put("/sys/fs/cgroup/system.slice/memory.max", "700000\n");
    assert_int_equal(machine_cgroup_bytes(root), 700000);
    put("/sys/fs/cgroup/system.slice/bugle.service/memory.max", "600000\n");
    assert_int_equal(machine_memory_bytes(root), 600000);
}

static void in_a_container_of_version_2_the_group_is_the_root(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/\n");
    put("/sys/fs/cgroup/memory.max", "500000\n");
    assert_int_equal(machine_memory_bytes(root), 500000);
}

static void version_1_is_found_among_the_controllers(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "5:memoryless:/no\n4:cpu,memory:/a/b\n0::/\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", NO_LIMIT);
    put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "400000\n");
    put("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", NO_LIMIT);
    put("/sys/fs/cgroup/memory/no/memory.limit_in_bytes", "1\n");
    assert_int_equal(machine_memory_bytes(root), 400000);
}

static void in_a_container_of_version_1_the_path_leads_nowhere(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "4:memory:/docker/0123\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "300000\n");
    assert_int_equal(machine_memory_bytes(root), 300000);
}

static void a_group_with_more_than_the_machine_has_is_no_limit(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "4:memory:/\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", NO_LIMIT);
    assert_int_equal(machine_memory_bytes(root), 1000 * 1024);
}

static void lines_that_are_none_are_passed_over(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "\nmemory\n4:memory\n:::\n4:memory:/\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "200000\n");
    assert_int_equal(machine_memory_bytes(root), 200000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, drop_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_a_group_it_is_the_machine),
        TEST(with_nothing_to_read_it_is_a_gigabyte),
        TEST(version_2_has_a_limit_for_each_group_above),
        TEST(in_a_container_of_version_2_the_group_is_the_root),
        TEST(version_1_is_found_among_the_controllers),
        TEST(in_a_container_of_version_1_the_path_leads_nowhere),
        TEST(a_group_with_more_than_the_machine_has_is_no_limit),
        TEST(lines_that_are_none_are_passed_over),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
