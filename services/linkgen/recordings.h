/* REST: an account's recordings. GET tells state, files, deliveries, and when each copy goes by which rule; DELETE
 * decides the deletion of everything that we hold. */
#ifndef RUSHES_LINKGEN_RECORDINGS_H
#define RUSHES_LINKGEN_RECORDINGS_H

#include "net/http.h"

http_handler recordings_list, recordings_get, recordings_delete, recordings_deletion;

#endif
