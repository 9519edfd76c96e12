#include "pauses.h"

#include "base/log.h"
#include "domain/retention.h"

#include <pthread.h>
#include <string.h>

struct pauses {
	struct metric *in_force;
	pthread_mutex_t lock; /* of the list, which /debug/state reads on the loop */
	struct retention_pause *list;
	size_t n;
};

int pauses_new(struct metrics *m, struct pauses **ret, struct error *e)
{
	static const char *const labels[] = {"rule", "place", NULL};
	struct pauses *p = calloc(1, sizeof(*p));
	if (!p)
		return error_nomem(e);
	(void)pthread_mutex_init(&p->lock, NULL);
	p->in_force = metrics_gauge(m, "rushes_retention_paused",
				    "1 while a rule is paused on a place until a person confirms.", labels);
	*ret = p;
	return 0;
}

void pauses_free(struct pauses *p)
{
	if (!p)
		return;
	(void)pthread_mutex_destroy(&p->lock);
	free(p->list);
	free(p);
}

static const struct retention_pause *find(const struct retention_pause *list, size_t n,
					  const struct retention_pause *wanted)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i].rule, wanted->rule) == 0 && strcmp(list[i].place, wanted->place) == 0)
			return &list[i];
	return NULL;
}

static void set(struct pauses *p, const struct retention_pause *pause, bool on)
{
	metric_set(metric_series(p->in_force, (const char *const[]){pause->rule, pause->place}), on);
}

static void begun(struct pauses *p, const struct retention_pause *pause)
{
	set(p, pause, true);
	log_error(NULL,
		  "ALARM: rule %s is paused on %s since %s by %s: %s; `rushesctl retention confirm` lets it go on",
		  pause->rule, pause->place, pause->since, pause->by, pause->reason);
}

int pauses_look(struct pauses *p, struct db_pool *db, struct error *e)
{
	struct retention_pause *now = NULL;
	size_t n = 0;
	int r = retention_paused(db, &now, &n, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		const struct retention_pause *before = find(p->list, p->n, &now[i]);
		/* confirmed and paused again between two looks: a new one */
		if (!before || strcmp(before->since, now[i].since) != 0)
			begun(p, &now[i]);
	}
	for (size_t i = 0; i < p->n; i++)
		if (!find(now, n, &p->list[i])) {
			set(p, &p->list[i], false);
			log_info(NULL, "rule %s works again on %s", p->list[i].rule, p->list[i].place);
		}
	(void)pthread_mutex_lock(&p->lock);
	free(p->list);
	p->list = now;
	p->n = n;
	(void)pthread_mutex_unlock(&p->lock);
	return 0;
}

json_t *pauses_state(struct pauses *p)
{
	json_t *state = json_array();
	(void)pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < p->n; i++) {
		const struct retention_pause *x = &p->list[i];
		(void)json_array_append_new(state,
					    json_pack("{s:s, s:s, s:s, s:s, s:s}", "rule", x->rule, "place", x->place,
						      "since", x->since, "by", x->by, "reason", x->reason));
	}
	(void)pthread_mutex_unlock(&p->lock);
	return state;
}
