#include "child.h"

#include "child_protocol.h"
#include "convert.h"
#include "media_log.h"
#include "sealed_io.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

/* A sign of life this often; the service waits much longer. */
#define PROGRESS_US 500000

struct child {
	struct child_setup setup;
	struct convert_job job;
	struct sealed_reader *reader;
	struct media_io input;
	struct sealed_output sealed[OUTPUT_MAX];
	struct media_io outputs[OUTPUT_MAX];
	int64_t last_progress;
};

static int read_setup(struct child_setup *s, struct error *e)
{
	ssize_t n;
	do
		n = read(CHILD_FD_CONTROL, s, sizeof(*s));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot read the setup");
	if ((size_t)n != sizeof(*s) || s->size != sizeof(*s))
		return error_set(e, ERR_FATAL, "the setup has %zd bytes instead of %zu", n, sizeof(*s));
	return 0;
}

/* Called by every transfer of input and outputs: work without transfers is stuck. */
static void progress(void *arg)
{
	struct child *c = arg;
	int64_t now = clock_monotonic_us();
	if (now - c->last_progress < PROGRESS_US)
		return;
	c->last_progress = now;
	double total = (double)MAX(c->job.input_bytes, 1), at = (double)c->job.input_position / total;
	struct child_message m = {.type = CHILD_PROGRESS, .seconds = c->job.seconds, .fraction = at < 1 ? at : 1};
	if (child_message_send(CHILD_FD_CONTROL, &m, NULL) < 0)
		_exit(1); /* nobody waits for the result any more */
}

static int open_files(struct child *c, struct error *e)
{
	const struct child_setup *s = &c->setup;
	int r = sealed_reader_new(CHILD_FD_INPUT, s->key, &s->input, &c->reader, e);
	if (r < 0)
		return error_wrap(e, "the raw recording");
	media_io_init(&c->input, &media_io_sealed_input, c->reader);
	c->input.moved = progress;
	c->input.moved_arg = c;
	c->job.input = &c->input;
	for (int i = 0; i < OUTPUT_MAX; i++) {
		if (!s->wanted[i])
			continue;
		r = sealed_output_open(&c->sealed[i], CHILD_FD_OUTPUT + i, &s->outputs[i], s->key, e);
		if (r < 0)
			return error_wrap(e, "output %s", output_to_string((enum output)i));
		media_io_init(&c->outputs[i], &media_io_sealed_output, &c->sealed[i]);
		c->outputs[i].moved = progress;
		c->outputs[i].moved_arg = c;
		c->job.outputs[i] = &c->outputs[i];
	}
	c->job.encoder_threads = s->encoder_threads;
	return 0;
}

static int prepare(struct child *c, struct error *e)
{
	/* the service may have died between spawning and here: the read then finds the end */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	int r = read_setup(&c->setup, e);
	if (r < 0)
		return r;
	media_log_init();
	r = sandbox_warm_up(e);
	if (r == 0)
		r = open_files(c, e);
	explicit_bzero(c->setup.key, sizeof(c->setup.key));
	return r < 0 ? r : sandbox_enter(&c->setup.limits, c->setup.trap, STDERR_FILENO, e);
}

int child_main(void)
{
	static struct child c;
	struct child_message m = {.type = CHILD_DONE};
	int r = prepare(&c, &m.error);
	if (r == 0)
		r = convert_run(&c.job, &m.facts, &m.error);
	if (r < 0)
		m.type = CHILD_FAILED;
	for (int i = 0; i < OUTPUT_MAX; i++)
		sealed_output_close(&c.sealed[i]);
	/* _exit: the libraries' own ends of process are of no use here */
	_exit(child_message_send(CHILD_FD_CONTROL, &m, NULL) < 0 ? 1 : 0);
}
