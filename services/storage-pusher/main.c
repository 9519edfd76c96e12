/* rushes-storage-pusher: delivers processed files to their targets, and removes them there. */
#include "delivery_child.h"
#include "pusher.h"

#include <string.h>

static const struct service_definition definition = {
    .name = "storage-pusher",
    .description = "Delivers processed files to storage targets, proves that they arrived, and removes them there.",
    .schema = {.tables = {platform_options, pusher_options}, .size = sizeof(struct pusher_config)},
    .start = pusher_start,
    .drain = pusher_drain,
    .reload = pusher_reload,
    .stop = pusher_stop,
};

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], DELIVERY_CHILD_ARGUMENT) == 0)
		delivery_child_main();
	return service_main(&definition, argc, argv);
}
