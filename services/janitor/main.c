/* rushes-janitor: what is due goes, and every deletion is followed to its end. */
#include "janitor.h"

int main(int argc, char **argv)
{
	static const struct service_definition definition = {
	    .name = "janitor",
	    .description =
		"Decides what people, the API, ended accounts and lifecycle rules delete, removes personal metadata, "
		"and watches that every deletion ends in time.",
	    .schema = {{platform_options, janitor_options}, sizeof(struct janitor_config)},
	    .start = janitor_start,
	    .drain = janitor_drain,
	    .reload = janitor_reload,
	    .stop = janitor_stop,
	};
	return service_main(&definition, argc, argv);
}
