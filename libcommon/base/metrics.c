#include "base/metrics.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#define METRIC_VALUE_BYTES_MAX 128 /* longer label values are cut: they come from our own code, not from outside */
#define METRIC_BOUNDS_MAX      24

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM, METRIC_TYPE_MAX };

static const char *const type_names[METRIC_TYPE_MAX] = {"counter", "gauge", "histogram"};

struct metric_series {
	struct metric_series *next;
	const struct metric *metric;
	char *values[METRIC_LABELS_MAX];
	_Atomic double value;	   /* of a histogram: the sum */
	_Atomic uint64_t *buckets; /* n_bounds + 1, each counting its own interval only */
};

struct metric {
	struct metric *next;
	struct metrics *registry;
	const char *name, *help;
	enum metric_type type;
	const char *labels[METRIC_LABELS_MAX];
	size_t n_labels;
	const double *bounds;
	size_t n_bounds;
	double (*fn)(void *arg);
	void *arg;
	struct metric_series *series; /* protected by the registry's lock, as the number */
	unsigned n_series;
};

struct metrics {
	pthread_mutex_t lock;
	struct metric *first; /* protected by lock */
	struct metric **last;
};

static void *must_calloc(size_t n, size_t size)
{
	void *p = calloc(n, size);
	if (!p)
		abort();
	return p;
}

int metrics_new(struct metrics **ret, struct error *e)
{
	struct metrics *m = calloc(1, sizeof(*m));
	if (!m)
		return error_nomem(e);
	(void)pthread_mutex_init(&m->lock, NULL);
	m->last = &m->first;
	*ret = m;
	return 0;
}

static void series_free(struct metric_series *s)
{
	for (size_t i = 0; i < METRIC_LABELS_MAX; i++)
		free(s->values[i]);
	free(s->buckets);
	free(s);
}

void metrics_free(struct metrics *m)
{
	if (!m)
		return;
	for (struct metric *f = m->first, *next; f; f = next) {
		next = f->next;
		for (struct metric_series *s = f->series, *after; s; s = after) {
			after = s->next;
			series_free(s);
		}
		free(f);
	}
	(void)pthread_mutex_destroy(&m->lock);
	free(m);
}

/* Called locked. */
static struct metric *find(struct metrics *m, const char *name)
{
	for (struct metric *f = m->first; f; f = f->next)
		if (strcmp(f->name, name) == 0)
			return f;
	return NULL;
}

static struct metric *family(struct metrics *m, enum metric_type type, const char *name, const char *help,
			     const char *const *labels)
{
	if (!m)
		return NULL;
	(void)pthread_mutex_lock(&m->lock);
	struct metric *f = find(m, name);
	if (f) {
		assert(f->type == type);
	} else {
		f = must_calloc(1, sizeof(*f));
		f->registry = m;
		f->name = name;
		f->help = help;
		f->type = type;
		for (; labels && labels[f->n_labels]; f->n_labels++) {
			assert(f->n_labels < METRIC_LABELS_MAX);
			f->labels[f->n_labels] = labels[f->n_labels];
		}
		*m->last = f;
		m->last = &f->next;
	}
	(void)pthread_mutex_unlock(&m->lock);
	return f;
}

struct metric *metrics_counter(struct metrics *m, const char *name, const char *help, const char *const *labels)
{
	return family(m, METRIC_COUNTER, name, help, labels);
}

struct metric *metrics_gauge(struct metrics *m, const char *name, const char *help, const char *const *labels)
{
	return family(m, METRIC_GAUGE, name, help, labels);
}

struct metric *metrics_histogram(struct metrics *m, const char *name, const char *help, const char *const *labels,
				 const double *bounds, size_t n)
{
	assert(n <= METRIC_BOUNDS_MAX);
	struct metric *f = family(m, METRIC_HISTOGRAM, name, help, labels);
	if (f) {
		(void)pthread_mutex_lock(&m->lock);
		assert(!f->bounds || (f->bounds == bounds && f->n_bounds == n));
		f->bounds = bounds;
		f->n_bounds = n;
		(void)pthread_mutex_unlock(&m->lock);
	}
	return f;
}

void metrics_gauge_function(struct metrics *m, const char *name, const char *help, double (*fn)(void *arg), void *arg)
{
	struct metric *f = family(m, METRIC_GAUGE, name, help, NULL);
	if (!f)
		return;
	(void)pthread_mutex_lock(&m->lock);
	f->fn = fn;
	f->arg = arg;
	(void)pthread_mutex_unlock(&m->lock);
}

/* Called locked. */
static struct metric_series *series_find(const struct metric *f, const char *const *values)
{
	for (struct metric_series *s = f->series; s; s = s->next) {
		size_t i = 0;
		while (i < f->n_labels && strncmp(s->values[i], values[i], METRIC_VALUE_BYTES_MAX) == 0)
			i++;
		if (i == f->n_labels)
			return s;
	}
	return NULL;
}

/* Called locked. */
static struct metric_series *series_add(struct metric *f, const char *const *values)
{
	struct metric_series *s = must_calloc(1, sizeof(*s));
	s->metric = f;
	for (size_t i = 0; i < f->n_labels; i++) {
		s->values[i] = strndup(values[i], METRIC_VALUE_BYTES_MAX);
		if (!s->values[i])
			abort();
	}
	if (f->type == METRIC_HISTOGRAM)
		s->buckets = must_calloc(f->n_bounds + 1, sizeof(*s->buckets));
	s->next = f->series;
	f->series = s;
	f->n_series++;
	return s;
}

struct metric_series *metric_series(struct metric *f, const char *const *values)
{
	static const char *const overflow[METRIC_LABELS_MAX] = {"other", "other", "other", "other"};
	if (!f)
		return NULL;
	assert(values || f->n_labels == 0);
	(void)pthread_mutex_lock(&f->registry->lock);
	struct metric_series *s = series_find(f, values);
	if (!s && f->n_series >= METRIC_SERIES_MAX) {
		values = overflow;
		s = series_find(f, values);
	}
	if (!s)
		s = series_add(f, values);
	(void)pthread_mutex_unlock(&f->registry->lock);
	return s;
}

static void add(_Atomic double *to, double by)
{
	double old = atomic_load_explicit(to, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(to, &old, old + by, memory_order_relaxed, memory_order_relaxed))
		;
}

void metric_add(struct metric_series *s, double by)
{
	if (!s)
		return;
	assert(s->metric->type == METRIC_GAUGE || (s->metric->type == METRIC_COUNTER && by >= 0));
	add(&s->value, by);
}

void metric_set(struct metric_series *s, double value)
{
	if (!s)
		return;
	assert(s->metric->type == METRIC_GAUGE);
	atomic_store_explicit(&s->value, value, memory_order_relaxed);
}

void metric_observe(struct metric_series *s, double value)
{
	if (!s)
		return;
	assert(s->metric->type == METRIC_HISTOGRAM);
	size_t i = 0;
	while (i < s->metric->n_bounds && value > s->metric->bounds[i])
		i++;
	(void)atomic_fetch_add_explicit(&s->buckets[i], 1, memory_order_relaxed);
	add(&s->value, value);
}

static int print_number(struct buffer *out, double v)
{
	/* whole numbers in full: %g would round counters beyond its digits */
	if (v > -9007199254740992.0 && v < 9007199254740992.0 && v == (double)(int64_t)v)
		return buffer_printf(out, "%lld", (long long)v);
	return buffer_printf(out, "%.17g", v);
}

static int print_escaped(struct buffer *out, const char *s)
{
	int r = 0;
	for (; *s && r == 0; s++) {
		if (*s == '\\' || *s == '"')
			r = buffer_printf(out, "\\%c", *s);
		else if (*s == '\n')
			r = buffer_append_string(out, "\\n");
		else
			r = buffer_append(out, s, 1);
	}
	return r;
}

/* name<suffix>{labels,le="..."}, with `le` NULL for none, and the space behind it. */
static int print_head(struct buffer *out, const struct metric_series *s, const char *suffix, const char *le)
{
	const struct metric *f = s->metric;
	int r = buffer_printf(out, "%s%s", f->name, suffix);
	bool any = false;
	for (size_t i = 0; i < f->n_labels && r == 0; i++) {
		r = buffer_printf(out, "%s%s=\"", any ? "," : "{", f->labels[i]);
		if (r == 0)
			r = print_escaped(out, s->values[i]);
		if (r == 0)
			r = buffer_append_string(out, "\"");
		any = true;
	}
	if (le && r == 0) {
		r = buffer_printf(out, "%sle=\"%s\"", any ? "," : "{", le);
		any = true;
	}
	if (r == 0)
		r = buffer_append_string(out, any ? "} " : " ");
	return r;
}

static int print_value(struct buffer *out, const struct metric_series *s, const char *suffix, double v)
{
	int r = print_head(out, s, suffix, NULL);
	if (r == 0)
		r = print_number(out, v);
	return r == 0 ? buffer_append_string(out, "\n") : r;
}

static int print_histogram(struct buffer *out, struct metric_series *s)
{
	uint64_t count = 0;
	int r = 0;
	for (size_t i = 0; i <= s->metric->n_bounds && r == 0; i++) {
		char le[32] = "+Inf";
		if (i < s->metric->n_bounds)
			(void)snprintf(le, sizeof(le), "%g", s->metric->bounds[i]);
		count += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
		r = print_head(out, s, "_bucket", le);
		if (r == 0)
			r = buffer_printf(out, "%llu\n", (unsigned long long)count);
	}
	if (r == 0)
		r = print_value(out, s, "_sum", atomic_load_explicit(&s->value, memory_order_relaxed));
	return r == 0 ? print_value(out, s, "_count", (double)count) : r;
}

static int print_family(struct buffer *out, struct metric *f)
{
	if (!f->series && !f->fn)
		return 0;
	int r = buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, type_names[f->type]);
	if (r == 0 && f->fn) {
		r = buffer_printf(out, "%s ", f->name);
		if (r == 0)
			r = print_number(out, f->fn(f->arg));
		return r == 0 ? buffer_append_string(out, "\n") : r;
	}
	for (struct metric_series *s = f->series; s && r == 0; s = s->next)
		r = f->type == METRIC_HISTOGRAM
			? print_histogram(out, s)
			: print_value(out, s, "", atomic_load_explicit(&s->value, memory_order_relaxed));
	return r;
}

int metrics_print(struct metrics *m, struct buffer *out)
{
	if (!m)
		return 0;
	int r = 0;
	(void)pthread_mutex_lock(&m->lock);
	for (struct metric *f = m->first; f && r == 0; f = f->next)
		r = print_family(out, f);
	(void)pthread_mutex_unlock(&m->lock);
	return r;
}
