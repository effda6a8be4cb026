/* SPDX-License-Identifier: MIT */
/* A read of the history for somebody on a worker, whom its page reaches without memory. */
#ifndef BUGLE_PAGE_ASK_H
#define BUGLE_PAGE_ASK_H

#include "loop/inbox.h"
#include "history/pager.h"

struct page_ask {
    struct pager_request request; /* first: pager_request_free() frees all of this */
    struct inbox_note note;
};

#endif
