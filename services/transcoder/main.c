/* rushes-transcoder: copies recordings into its spool and converts them, each in a sandboxed child. */
#include "child.h"
#include "child_protocol.h"
#include "transcoder.h"

#include <string.h>

static const struct service_definition definition = {
    .name = "transcoder",
    .description = "Copies saved recordings, converts them to H.264/AAC with snapshot and filmstrip, and serves the "
		   "sealed results to its peers.",
    .schema = {.tables = {platform_options, transcoder_options}, .size = sizeof(struct transcoder_config)},
    .start = transcoder_start,
    .drain = transcoder_drain,
    .reload = transcoder_reload,
    .stop = transcoder_stop,
};

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], CHILD_ARGUMENT) == 0)
		return child_main();
	return service_main(&definition, argc, argv);
}
