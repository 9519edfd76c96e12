/* The recorder page: its files, read once at the start, and the answer that a short link gets. The page is the same for
 * every link and holds nothing of any; what it shows it asks for itself. */
#ifndef RUSHES_LINKGEN_PAGE_H
#define RUSHES_LINKGEN_PAGE_H

#include "net/http.h"

struct page;

/* Reads the files in `folder`. `ingest_url` is the one other place that the page may talk to. ERR_FATAL names the file
 * that is missing or too large. */
int page_new(const char *folder, const char *ingest_url, struct page **ret, struct error *e) _must_check_;
void page_free(struct page *p);

/* Hash over all files: part of the addresses of the assets, so that browsers may keep them for ever. */
const char *page_version(const struct page *p);

/* The page: 200, or 404, 410, 403 for a link that cannot be used, which the page then explains. */
http_handler page_get;

/* A file of the page. */
http_handler page_asset_get;

#endif
