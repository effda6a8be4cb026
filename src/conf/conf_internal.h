/* SPDX-License-Identifier: MIT */
/* What the files of the settings share: the rows, how a refusal is written, and near names. */
#ifndef BUGLE_CONF_INTERNAL_H
#define BUGLE_CONF_INTERNAL_H

#include "conf/conf_value.h"

/* Slips of the pen up to here are taken for the known name. */
#define CONF_NEAR_ENOUGH 3

/* The text of a number, with its unit. */
#define CONF_NUMBER_TEXT_MAX 32

enum conf_reload { CONF_RESTART, CONF_RELOAD };

/* How much of a value may be seen, by whoever reads the log or the output of check-config. */
enum conf_secrecy {
    CONF_OPEN,
    CONF_LABELLED, /* what stands before the first colon */
    CONF_HIDDEN,
    CONF_IN_URL, /* all but the password of a URL; nothing of what is no URL */
};

/* A setting. */
struct conf_row {
    const char *name;
    enum conf_type type;
    size_t offset;        /* of its member in struct conf */
    const char *fallback; /* the default; like min and max as an operator would write it */
    enum conf_reload reload;
    const char *sentence;
    const char *min; /* numbers: the range, ends included */
    const char *max;
    bool (*fits)(const char *value); /* text and the items of a list */
    enum conf_secrecy secrecy;
    const char *const *choices; /* choice: by the enum's value, then NULL */
    const char *form;           /* all but numbers: completes "expected ..." */
};

/* The rows in their order; NULL past the last. */
const struct conf_row *conf_row_at(size_t index);

/* A row's `fits` for what may be any text. */
bool conf_fits_any(const char *value);

/* The known setting that a misspelt name most likely means; NULL when none is near. */
const char *conf_nearest(const char *name);

#endif
