/* rushes-ingest: receives recordings and keeps them sealed until they are copied. */
#include "ingest.h"

static const struct service_definition definition = {
    .name = "ingest",
    .description = "Receives recordings over WebSocket and HTTP, acknowledges only what is durable, and serves the "
		   "sealed segments to its peers.",
    .schema = {.tables = {platform_options, ingest_options}, .size = sizeof(struct ingest_config)},
    .start = ingest_start,
    .drain = ingest_drain,
    .reload = ingest_reload,
    .stop = ingest_stop,
};

int main(int argc, char **argv)
{
	return service_main(&definition, argc, argv);
}
