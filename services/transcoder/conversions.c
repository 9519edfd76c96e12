#include "conversions.h"

#include "base/clock.h"

void conversions_init(struct conversions *c)
{
	c->first = NULL;
	(void)pthread_mutex_init(&c->lock, NULL);
}

void conversions_add(struct conversions *c, struct conversion_state *s, const struct job *j)
{
	*s = (struct conversion_state){.job = j, .since_us = clock_monotonic_us()};
	(void)pthread_mutex_lock(&c->lock);
	s->next = c->first;
	c->first = s;
	(void)pthread_mutex_unlock(&c->lock);
}

void conversions_update(struct conversions *c, struct conversion_state *s, double seconds, double fraction)
{
	(void)pthread_mutex_lock(&c->lock);
	s->seconds = seconds;
	s->fraction = fraction;
	(void)pthread_mutex_unlock(&c->lock);
}

void conversions_remove(struct conversions *c, struct conversion_state *s)
{
	(void)pthread_mutex_lock(&c->lock);
	for (struct conversion_state **at = &c->first; *at; at = &(*at)->next)
		if (*at == s) {
			*at = s->next;
			break;
		}
	(void)pthread_mutex_unlock(&c->lock);
}

json_t *conversions_debug(void *conversions)
{
	struct conversions *c = conversions;
	json_t *all = json_array();
	int64_t now = clock_monotonic_us();
	(void)pthread_mutex_lock(&c->lock);
	for (const struct conversion_state *s = c->first; s; s = s->next) {
		char job[UUID_TEXT_BYTES], recording[UUID_TEXT_BYTES];
		uuid_format(&s->job->id, job);
		uuid_format(&s->job->recording, recording);
		(void)json_array_append_new(all, json_pack("{s:s, s:s, s:f, s:f, s:i}", "job", job, "recording",
							   recording, "running_s", (double)(now - s->since_us) / 1e6,
							   "media_s", s->seconds, "percent", (int)(s->fraction * 100)));
	}
	(void)pthread_mutex_unlock(&c->lock);
	return all;
}
