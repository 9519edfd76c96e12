/* rushes-linkgen: short links, their page, sessions, and the REST API. */
#include "linkgen.h"

int main(int argc, char **argv)
{
	static const struct service_definition definition = {
	    .name = "linkgen",
	    .description = "Makes short links, serves the recorder page behind them, and answers the REST API.",
	    .schema = {{platform_options, linkgen_options}, sizeof(struct linkgen_config)},
	    .start = linkgen_start,
	    .drain = linkgen_drain,
	    .reload = linkgen_reload,
	    .stop = linkgen_stop,
	};
	return service_main(&definition, argc, argv);
}
