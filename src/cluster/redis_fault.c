/* SPDX-License-Identifier: MIT */
/* Classes of what can go wrong with a Redis.  See redis_fault.h. */
#include "config.h"
#include "cluster/redis_fault.h"

#include <string.h>

#include "base/bytes.h"

static const struct {
    const char *word;
    enum redis_fault fault;
} words[] = {
    {"READONLY", REDIS_READONLY},
    {"LOADING", REDIS_LOADING},
    {"MASTERDOWN", REDIS_MASTERDOWN},
    {"CLUSTERDOWN", REDIS_CLUSTERDOWN},
    {"TRYAGAIN", REDIS_CLUSTERDOWN},
    {"MOVED", REDIS_MOVED},
    {"ASK", REDIS_MOVED},
    {"BUSY", REDIS_BUSY},
    {"OOM", REDIS_OOM},
    {"MISCONF", REDIS_MISCONF},
    {"NOREPLICAS", REDIS_NOREPLICAS},
    {"UNBLOCKED", REDIS_UNBLOCKED},
    {"NOAUTH", REDIS_NOAUTH},
    {"WRONGPASS", REDIS_WRONGPASS},
    {"NOPERM", REDIS_NOPERM},
    {"NOSCRIPT", REDIS_NOSCRIPT},
    {"WRONGTYPE", REDIS_WRONGTYPE},
};

/* What has no word of its own, or none in some versions. */
static const struct {
    const char *text;
    enum redis_fault fault;
} phrases[] = {
    {"ACL failure in script", REDIS_NOPERM},
    {"The user executing the script", REDIS_NOPERM},
    {"AUTH <password> called without", REDIS_WRONGPASS},
    {"unknown command", REDIS_UNKNOWN},
    {"unknown subcommand", REDIS_UNKNOWN},
    {"Unknown subcommand", REDIS_UNKNOWN},
    {"Unknown Redis command", REDIS_UNKNOWN},
};

static enum redis_fault fault_of_word(const char *word, size_t word_n)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (bytes_are(word, word_n, words[i].word))
            return words[i].fault;
    return REDIS_ERROR;
}

static size_t fault_word_bytes(const char *text, size_t text_n)
{
    size_t n = 0;

    while (n < text_n && text[n] >= 'A' && text[n] <= 'Z')
        n++;
    return n;
}

static bool has_text(const char *bytes, size_t bytes_n, const char *text)
{
    return memmem(bytes, bytes_n, text, strlen(text)) != NULL;
}

/* Redis 6.2 puts what a script met behind the script's name and line: "... 1: -OOM command". */
static enum redis_fault fault_in_script(const char *error, size_t error_n)
{
    const char *mark = memmem(error, error_n, ": -", 3);

    if (mark == NULL)
        return REDIS_ERROR;
    size_t left = error_n - (size_t)(mark + 3 - error);
    return fault_of_word(mark + 3, fault_word_bytes(mark + 3, left));
}

enum redis_fault redis_fault_of(const char *error, size_t error_n)
{
    enum redis_fault fault = fault_of_word(error, fault_word_bytes(error, error_n));

    if (fault == REDIS_ERROR && has_text(error, error_n, "script"))
        fault = fault_in_script(error, error_n);
    for (size_t i = 0; fault == REDIS_ERROR && i < sizeof(phrases) / sizeof(*phrases); i++)
        if (has_text(error, error_n, phrases[i].text))
            fault = phrases[i].fault;
    return fault;
}

const char *redis_fault_text(enum redis_fault fault)
{
    static const char *const texts[] = {
        [REDIS_FINE] = "fine",
        [REDIS_CLOSED] = "closed",
        [REDIS_UNRESOLVED] = "unknown host",
        [REDIS_REFUSED] = "connection refused",
        [REDIS_UNREACHABLE] = "unreachable",
        [REDIS_UNTRUSTED] = "not trusted",
        [REDIS_TIMEOUT] = "no answer in time",
        [REDIS_LOST] = "connection lost",
        [REDIS_GARBLED] = "not the protocol of Redis",
        [REDIS_TOO_LARGE] = "answer too large",
        [REDIS_NO_MEMORY] = "out of memory here",
        [REDIS_READONLY] = "read only",
        [REDIS_LOADING] = "loading",
        [REDIS_MASTERDOWN] = "a replica without its master",
        [REDIS_CLUSTERDOWN] = "the cluster is down",
        [REDIS_MOVED] = "moved",
        [REDIS_BUSY] = "busy with a script",
        [REDIS_OOM] = "out of memory there",
        [REDIS_MISCONF] = "cannot write its disk",
        [REDIS_NOREPLICAS] = "too few replicas",
        [REDIS_UNBLOCKED] = "its role changed",
        [REDIS_NOAUTH] = "wants a password",
        [REDIS_WRONGPASS] = "wrong password",
        [REDIS_NOPERM] = "missing right",
        [REDIS_NOSCRIPT] = "unknown script",
        [REDIS_WRONGTYPE] = "key of another type",
        [REDIS_UNKNOWN] = "unknown command",
        [REDIS_ERROR] = "error",
    };

    return texts[fault];
}

bool redis_fault_is_end(enum redis_fault fault)
{
    return fault >= REDIS_CLOSED && fault <= REDIS_NO_MEMORY;
}

bool redis_fault_is_elsewhere(enum redis_fault fault)
{
    return redis_fault_is_end(fault) || (fault >= REDIS_READONLY && fault <= REDIS_MOVED) ||
           fault == REDIS_UNBLOCKED;
}
