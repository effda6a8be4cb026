/* SPDX-License-Identifier: MIT */
/* What src/conf.c shares with src/conf_load.c: near names. */
#ifndef BUGLE_CONF_INTERNAL_H
#define BUGLE_CONF_INTERNAL_H

#include "conf.h"

/* Slips of the pen up to here are taken for the known name. */
#define CONF_NEAR_ENOUGH 3

/* The known setting that a misspelt name most likely means; NULL when none is near. */
const char *conf_nearest(const char *name);

#endif
