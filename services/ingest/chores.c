#include "chores.h"

#include "recording_rows.h"
#include "recover.h"

#include <string.h>

#define COPIED_MS  250 /* a page waits for it */
#define REVOKED_MS 2000
#define TOUCH_MS   15000
#define RECOVER_MS 5000
#define SOON_MS	   200

#define REASON_BYTES 48

enum chore_kind { CHORE_COPIED, CHORE_REVOKED, CHORE_TOUCH, CHORE_RECOVER, CHORE_KIND_MAX };

struct chore_answer {
	struct uuid recording;
	char reason[REASON_BYTES];
};

/* One question: asked on the pool, at most once at a time. */
struct chore {
	struct chores *chores;
	enum chore_kind kind;
	int64_t period_ms;
	struct loop_timer *timer;
	bool running;
	/* the question */
	struct uuid *ids;
	int64_t *epochs;
	size_t n;
	/* the answer */
	struct chore_answer *answers;
	size_t n_answers;
	struct recover_case *cases;
	size_t n_cases;
	bool is_chosen; /* the cases were looked through on the loop: deal with them now */
	struct error trouble;
	bool had_trouble;
};

struct chores {
	struct ingest *g;
	bool stopped;
	struct chore list[CHORE_KIND_MAX];
};

static int ask_rows(struct chore *c, const struct db_statement *st, struct error *e)
{
	_cleanup_(freep) char *ids = uuid_array(c->ids, c->n);
	_cleanup_(freep) char *epochs = int_array(c->epochs, c->n);
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	if (!ids || !epochs)
		return error_nomem(e);
	int r = db_run(platform_db(c->chores->g->platform), st, (const char *[]){ids, epochs}, &rows, e);
	if (r < 0 || c->kind == CHORE_TOUCH)
		return r;
	c->answers = calloc(db_rows(rows) + 1, sizeof(*c->answers));
	if (!c->answers)
		return error_nomem(e);
	for (size_t i = 0; i < db_rows(rows); i++) {
		struct chore_answer *a = &c->answers[c->n_answers];
		if (!db_uuid(rows, i, 0, &a->recording))
			continue;
		const char *reason = db_text(rows, i, 1);
		(void)snprintf(a->reason, sizeof(a->reason), "%s", reason ? reason : "");
		c->n_answers++;
	}
	return 0;
}

static struct recover_options recover_options_of(struct chore *c)
{
	struct ingest *g = c->chores->g;
	return (struct recover_options){&g->host, platform_bus(g->platform), platform_metrics(g->platform),
					g->config->platform.region};
}

static int recover(struct chore *c, struct error *e)
{
	struct recover_options o = recover_options_of(c);
	int r = 0;
	if (!c->is_chosen)
		return recover_list(&o, c->cases, RECOVER_BATCH, &c->n_cases, e);
	for (size_t i = 0; i < c->n_cases && r != ERR_RETRY; i++) {
		struct error why = {0};
		r = recover_one(&o, &c->cases[i], &why);
		/* somebody else dealt with it */
		if (r < 0 && r != ERR_CONFLICT && r != ERR_CANCELLED && r != ERR_NOTFOUND)
			*e = why;
	}
	return e->code;
}

static void work(void *arg)
{
	static const struct db_statement copied = {
	    "recordings_copied", "SELECT recording, NULL FROM rushes.recording_states($1::uuid[]) WHERE is_copied", 1};
	static const struct db_statement revoked = {"streams_revoked",
						    "SELECT recording, reason FROM rushes.streams_revoked($1::uuid[], "
						    "$2::integer[])",
						    2};
	static const struct db_statement touch = {"recording_touch", "SELECT rushes.recording_touch($1::uuid[])", 1};
	struct chore *c = arg;
	c->trouble = (struct error){0};
	if (c->kind == CHORE_COPIED)
		(void)!ask_rows(c, &copied, &c->trouble);
	else if (c->kind == CHORE_REVOKED)
		(void)!ask_rows(c, &revoked, &c->trouble);
	else if (c->kind == CHORE_TOUCH)
		(void)!ask_rows(c, &touch, &c->trouble);
	else
		(void)!recover(c, &c->trouble);
}

static void done(void *arg);

static void submit(struct chore *c)
{
	c->running = !c->chores->stopped && pool_submit(c->chores->g->pool, work, done, c) == 0;
	if (!c->running) {
		c->n_cases = 0;
		c->is_chosen = false;
		loop_timer_set(c->timer, c->period_ms);
	}
}

static void apply(struct chore *c)
{
	struct intakes *s = c->chores->g->intakes;
	for (size_t i = 0; i < c->n_answers; i++) {
		struct chore_answer *a = &c->answers[i];
		struct intake *intake = intakes_find(s, &a->recording);
		if (!intake)
			continue;
		if (c->kind == CHORE_COPIED)
			intake_copied(intake);
		else if (strcmp(a->reason, "deleted") == 0)
			intake_revoked(intake, "recording-deleted");
		else if (strcmp(a->reason, "superseded") == 0)
			(void)intake_supersede(intake);
		else
			intake_revoked(intake, strcmp(a->reason, "finished") == 0 ? "superseded" : a->reason);
	}
	free(TAKE_PTR(c->answers));
	c->n_answers = 0;
}

/* Leaves out what this process is receiving: its own connections decide of it. */
static bool choose_cases(struct chore *c)
{
	size_t kept = 0;
	for (size_t i = 0; i < c->n_cases; i++)
		if (!intakes_find(c->chores->g->intakes, &c->cases[i].recording))
			c->cases[kept++] = c->cases[i];
	c->n_cases = kept;
	return kept > 0;
}

static void done(void *arg)
{
	struct chore *c = arg;
	c->running = false;
	if (c->trouble.code && !c->had_trouble)
		log_warning(NULL, "a regular question to the database failed: %s", c->trouble.text);
	c->had_trouble = c->trouble.code != 0;
	if (c->answers)
		apply(c);
	if (c->kind == CHORE_RECOVER && !c->is_chosen && !c->trouble.code && choose_cases(c)) {
		c->is_chosen = true;
		submit(c);
		return;
	}
	c->is_chosen = false;
	c->n_cases = 0;
	if (!c->chores->stopped)
		loop_timer_set(c->timer, c->period_ms);
}

static void due(void *arg)
{
	struct chore *c = arg;
	struct ingest *g = c->chores->g;
	if (c->running || c->chores->stopped)
		return;
	if (c->kind != CHORE_RECOVER) {
		size_t max = intakes_count(g->intakes);
		free(c->ids);
		free(c->epochs);
		c->ids = calloc(max + 1, sizeof(*c->ids));
		c->epochs = calloc(max + 1, sizeof(*c->epochs));
		bool has_room = c->ids && c->epochs;
		c->n = has_room ? intakes_attached(g->intakes, c->kind == CHORE_COPIED, c->ids, c->epochs, max) : 0;
		if (c->n == 0) {
			loop_timer_set(c->timer, c->period_ms);
			return;
		}
	}
	submit(c);
}

int chores_new(struct ingest *g, struct chores **ret, struct error *e)
{
	static const int64_t periods[CHORE_KIND_MAX] = {COPIED_MS, REVOKED_MS, TOUCH_MS, RECOVER_MS};
	_cleanup_(chores_freep) struct chores *c = calloc(1, sizeof(*c));
	if (!c)
		return error_nomem(e);
	c->g = g;
	for (int k = 0; k < CHORE_KIND_MAX; k++) {
		struct chore *one = &c->list[k];
		one->chores = c;
		one->kind = (enum chore_kind)k;
		one->period_ms = periods[k];
		one->cases = calloc(RECOVER_BATCH, sizeof(*one->cases));
		if (!one->cases || loop_timer_new(platform_loop(g->platform), due, one, &one->timer) < 0)
			return error_nomem(e);
		loop_timer_set(one->timer, one->period_ms);
	}
	*ret = TAKE_PTR(c);
	return 0;
}

void chores_recover_soon(struct chores *c)
{
	if (!c->stopped)
		loop_timer_set(c->list[CHORE_RECOVER].timer, SOON_MS);
}

void chores_stop(struct chores *c)
{
	c->stopped = true;
	for (int k = 0; k < CHORE_KIND_MAX; k++)
		loop_timer_cancel(c->list[k].timer);
}

void chores_free(struct chores *c)
{
	if (!c)
		return;
	for (int k = 0; k < CHORE_KIND_MAX; k++) {
		loop_timer_free(c->list[k].timer);
		free(c->list[k].ids);
		free(c->list[k].epochs);
		free(c->list[k].cases);
		free(c->list[k].answers);
	}
	free(c);
}
