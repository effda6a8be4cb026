/* SPDX-License-Identifier: MIT */
/*
 * What libevent and libmicrohttpd have to say by themselves goes into the log: left alone they
 * write to standard error, which may keep a thread waiting.  The others say nothing.
 */
#ifndef BUGLE_LIBRARIES_H
#define BUGLE_LIBRARIES_H

/* Once, before there are threads. */
void libraries_log(void);

#endif
