/* SPDX-License-Identifier: MIT */
/* A read of the history for a worker; delivering its page needs no memory. */
#ifndef BUGLE_PAGE_ASK_H
#define BUGLE_PAGE_ASK_H

#include "history/page_reader.h"
#include "loop/inbox.h"

struct page_ask {
    struct page_reader_request request; /* first: page_reader_request_free() frees all of this */
    struct inbox_note note;
};

#endif
