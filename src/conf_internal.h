/* SPDX-License-Identifier: MIT */
/* What src/conf.c shares with src/conf_load.c: how a refusal is written, and near names. */
#ifndef BUGLE_CONF_INTERNAL_H
#define BUGLE_CONF_INTERNAL_H

#include "conf.h"

/* Slips of the pen up to here are taken for the known name. */
#define CONF_NEAR_ENOUGH 3

/* Write the line for the operator and return `error`. */
int conf_refuse(struct conf_error *ret_error, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The known setting that a misspelt name most likely means; NULL when none is near. */
const char *conf_nearest(const char *name);

#endif
