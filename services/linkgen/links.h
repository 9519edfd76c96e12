/* REST: recording requests. POST makes a short link, GET tells its state and recordings, DELETE revokes it. */
#ifndef RUSHES_LINKGEN_LINKS_H
#define RUSHES_LINKGEN_LINKS_H

#include "net/http.h"

http_handler links_post, links_get, links_delete;

#endif
