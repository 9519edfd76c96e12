/* A service that only works off jobs of kind copy, as rows of a test table tell it; engine.test.mjs starts it and looks
 * at the database. What the table says of a job: done            commits at once sleep           commits after 300 ms
 *   fail            fails
 *   never           fails as what can never work
 *   hang            goes on until it is asked to stop
 *   stale           doesn't care when it is asked to stop; waits until the table says "stale-done", then commits */
#include "domain/job.h"
#include "node/platform.h"

#include <semaphore.h>
#include <string.h>

struct config {
	struct platform_config platform; /* first */
};

struct app {
	struct platform *platform;
	struct worker *worker;
};

#define WORD_BYTES 16
#define TURN_US	   20000

static int instruction(struct app *a, const struct job *j, char ret[WORD_BYTES], struct error *e)
{
	static const struct db_statement st = {"probe_instruction",
					       "SELECT what FROM probe.instruction WHERE job = $1::uuid", 1};
	struct job_params params;
	job_params(j, &params);
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(platform_db(a->platform), &st, (const char *[]){params.id}, &rows, e);
	if (r == 0 && db_rows(rows) == 0)
		r = error_set(e, ERR_NOTFOUND, "the test says nothing about this job");
	if (r == 0)
		(void)snprintf(ret, WORD_BYTES, "%s", db_text(rows, 0, 0));
	return r;
}

static int note(struct app *a, const struct job *j, const char *what, struct error *e)
{
	static const struct db_statement st = {
	    "probe_note",
	    "INSERT INTO probe.note (job, attempt, pid, what) VALUES ($1::uuid, $2::integer, $3::integer, $4)", 4};
	struct job_params params;
	char pid[DB_INT_BYTES];
	job_params(j, &params);
	const char *values[] = {params.id, params.attempt, db_param_int(getpid(), pid), what};
	return db_run(platform_db(a->platform), &st, values, NULL, e);
}

static int commit(struct app *a, const struct job *j, struct error *e)
{
	static const struct db_statement st = {"probe_done", "SELECT probe.job_done($1::uuid, $2::integer)", 2};
	struct job_params params;
	job_params(j, &params);
	int r = db_run(platform_db(a->platform), &st, (const char *[]){params.id, params.attempt}, NULL, e);
	/* the answer may be lost while the commit is not: said again it is refused as fenced */
	if (r == ERR_CONFLICT || r == ERR_CANCELLED)
		(void)!note(a, j, "fenced", NULL);
	return r;
}

static void on_loop(void *arg)
{
	(void)sem_post(arg);
}

/* Waits for the loop at each turn, as a handler does that uses the HTTP client. */
static int hang(struct app *a, struct job *j, struct error *e)
{
	sem_t turned;
	(void)sem_init(&turned, 0, 0);
	while (job_stop(j) == JOB_GO_ON) {
		loop_post(platform_loop(a->platform), on_loop, &turned);
		while (sem_wait(&turned) < 0)
			;
		(void)usleep(TURN_US);
	}
	(void)sem_destroy(&turned);
	(void)!note(a, j, job_stop(j) == JOB_CANCELLED ? "cancelled" : "asked-to-leave", NULL);
	return error_set(e, ERR_CANCELLED, "stopped");
}

static int be_stale(struct app *a, struct job *j, struct error *e)
{
	char word[WORD_BYTES] = "stale";
	while (strcmp(word, "stale") == 0) {
		(void)usleep(TURN_US);
		int r = instruction(a, j, word, e);
		if (r < 0)
			return r;
	}
	return commit(a, j, e);
}

static int run_copy(struct job *j, void *state, struct error *e)
{
	struct app *a = state;
	char word[WORD_BYTES];
	int r = instruction(a, j, word, e);
	if (r == 0)
		r = note(a, j, "begin", e);
	if (r < 0)
		return r;
	if (strcmp(word, "hang") == 0)
		return hang(a, j, e);
	if (strcmp(word, "stale") == 0)
		return be_stale(a, j, e);
	if (strcmp(word, "fail") == 0)
		return error_set(e, ERR_RETRY, "failed as it was told");
	if (strcmp(word, "never") == 0)
		return error_set(e, ERR_REJECT, "no decoder opens it");
	if (strcmp(word, "sleep") == 0)
		(void)usleep(300000);
	return commit(a, j, e);
}

static int start(struct service *s, const void *config, void **ret_state, struct error *e)
{
	const struct config *c = config;
	struct app *a = calloc(1, sizeof(*a));
	if (!a)
		return error_nomem(e);
	*ret_state = a;
	int r = platform_start(s, &c->platform, PLATFORM_BUS | PLATFORM_REDIS | PLATFORM_OUTBOX, &a->platform, e);
	if (r == 0)
		r = platform_worker(a->platform, NULL, &a->worker, e);
	struct worker_kind kind = {.kind = JOB_COPY, .slots = 4, .run = run_copy, .state = a};
	return r == 0 ? worker_add(a->worker, &kind, e) : r;
}

static void drain(void *state)
{
	struct app *a = state;
	platform_drain(a->platform, NULL, NULL);
}

static int reload(void *state, struct error *e)
{
	struct app *a = state;
	return platform_reload(a->platform, e);
}

static void stop(void *state)
{
	struct app *a = state;
	platform_stop(a->platform);
	free(a);
}

int main(int argc, char **argv)
{
	const struct service_definition d = {.name = "transcoder",
					     .description = "Works off jobs as a test tells it.",
					     .schema = {.tables = {platform_options}, .size = sizeof(struct config)},
					     .start = start,
					     .drain = drain,
					     .reload = reload,
					     .stop = stop};
	return service_main(&d, argc, argv);
}
