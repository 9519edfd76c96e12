#include "bus/pull.h"

#include <string.h>

#define BACKOFF_MIN_US	250000
#define BACKOFF_MAX_US	5000000
#define REFUSED_WAIT_US 1000000

void pull_want(struct pull *p, unsigned n)
{
	p->want = n;
}

void pull_lost(struct pull *p)
{
	p->bound = false;
	p->outstanding = 0;
	p->not_before_us = 0;
	p->backoff_us = 0;
}

void pull_bound(struct pull *p, int64_t now_us)
{
	p->generation++;
	p->bound = true;
	p->outstanding = 0;
	p->suspicions = 0;
	p->heard_us = now_us;
	p->inspect_us = now_us + PULL_SUSPECT_US;
	p->not_before_us = 0;
	p->backoff_us = 0;
}

void pull_failed(struct pull *p, int64_t now_us)
{
	p->backoff_us = p->backoff_us ? MIN(2 * p->backoff_us, BACKOFF_MAX_US) : BACKOFF_MIN_US;
	p->not_before_us = now_us + p->backoff_us;
}

unsigned pull_batch(const struct pull *p)
{
	return p->want > p->outstanding ? p->want - p->outstanding : 0;
}

void pull_requested(struct pull *p, unsigned batch, int64_t now_us)
{
	/* an idle consumer's silence begins with its first request */
	if (p->outstanding == 0) {
		p->heard_us = now_us;
		p->inspect_us = now_us + PULL_SUSPECT_US;
	}
	p->outstanding += batch;
}

bool pull_on_message(struct pull *p, unsigned generation, int64_t now_us)
{
	if (!p->bound || generation != p->generation)
		return false;
	p->heard_us = now_us;
	p->inspect_us = now_us + PULL_SUSPECT_US;
	p->suspicions = 0;
	if (p->outstanding > 0)
		p->outstanding--;
	if (p->want > 0)
		p->want--;
	return true;
}

static bool names_loss(const char *description)
{
	static const char *const losses[] = {"Consumer Deleted", "Consumer is push based", "Leadership Change",
					     "Server Shutdown"};
	for (size_t i = 0; description && i < ARRAY_SIZE(losses); i++)
		if (strcasecmp(description, losses[i]) == 0)
			return true;
	return false;
}

void pull_on_status(struct pull *p, unsigned generation, int code, const char *description, int64_t pending,
		    int64_t now_us)
{
	if (!p->bound || generation != p->generation)
		return;
	p->heard_us = now_us;
	if (code == 100)
		return;
	if (code == 503 || (code == 409 && names_loss(description))) {
		pull_lost(p);
		if (code == 503)
			pull_failed(p, now_us);
	} else if (code == 404 || code == 408) {
		unsigned rest = pending < 0 ? p->outstanding : (unsigned)MIN(pending, (int64_t)p->outstanding);
		p->outstanding -= rest;
	} else {
		/* refused; which of the requests is not said, so all are counted as gone: at worst more arrives */
		p->outstanding = 0;
		p->not_before_us = now_us + REFUSED_WAIT_US;
	}
}

bool pull_inspected(struct pull *p, uint64_t pending, int64_t now_us)
{
	p->suspicions = pending > 0 ? p->suspicions + 1 : 0;
	/* a message may be on its way: only what two looks in a row found is held back */
	p->inspect_us = now_us + (p->suspicions ? PULL_SUSPECT_AGAIN_US : PULL_SUSPECT_US);
	return p->suspicions >= 2;
}

enum pull_action pull_next(const struct pull *p, int64_t now_us, int64_t *ret_until_us)
{
	*ret_until_us = INT64_MAX;
	bool may_act = now_us >= p->not_before_us;
	if (!p->bound || (p->outstanding > 0 && now_us - p->heard_us >= PULL_SILENCE_US)) {
		*ret_until_us = p->not_before_us;
		return may_act ? PULL_ENSURE : PULL_WAIT;
	}
	if (pull_batch(p) > 0) {
		*ret_until_us = p->not_before_us;
		return may_act ? PULL_REQUEST : PULL_WAIT;
	}
	if (p->outstanding == 0)
		return PULL_WAIT;
	if (now_us >= p->inspect_us)
		return PULL_INSPECT;
	*ret_until_us = MIN(p->heard_us + PULL_SILENCE_US, p->inspect_us);
	return PULL_WAIT;
}
