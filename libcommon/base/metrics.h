/* Counters, gauges and histograms with labels, printed as Prometheus text. A registry is passed around, not global; it
 * outlives everything that was made in it. Any thread. A NULL registry, metric or series is allowed everywhere and
 * counts nothing, so that modules need not ask whether they are watched. */
#ifndef RUSHES_BASE_METRICS_H
#define RUSHES_BASE_METRICS_H

#include "base/buffer.h"

struct metrics;
struct metric;	      /* one family: name, help, label names */
struct metric_series; /* one of its rows: label values */

#define METRIC_LABELS_MAX 4
/* Rows of one family; further label values are counted in a row whose labels are all "other". */
#define METRIC_SERIES_MAX 500

int metrics_new(struct metrics **ret, struct error *e) _must_check_;
void metrics_free(struct metrics *m);
DEFINE_CLEANUP(struct metrics, metrics_free)

/* Registers a family, or yields the one of that name and type. Names, help and the NULL-ended `labels` (NULL: none) are
 * literals and live as long as the registry. Abort without memory and on a name that was registered otherwise. Names
 * carry the unit: "rushes_http_requests_total", "..._bytes", "..._seconds". */
struct metric *metrics_counter(struct metrics *m, const char *name, const char *help, const char *const *labels);
struct metric *metrics_gauge(struct metrics *m, const char *name, const char *help, const char *const *labels);
/* `bounds`: `n` rising upper limits (a literal); +Inf is added. */
struct metric *metrics_histogram(struct metrics *m, const char *name, const char *help, const char *const *labels,
				 const double *bounds, size_t n);

/* A gauge that is read when the metrics are printed, on the printing thread; it may not call this module. */
void metrics_gauge_function(struct metrics *m, const char *name, const char *help, double (*fn)(void *arg), void *arg);

/* The row of these label values, as many as the family has names (NULL without labels); made when new. Valid as long as
 * the registry: keep it where the path is hot. */
struct metric_series *metric_series(struct metric *f, const char *const *values);

void metric_add(struct metric_series *s, double by);	    /* counters: by >= 0 */
void metric_set(struct metric_series *s, double value);	    /* gauges */
void metric_observe(struct metric_series *s, double value); /* histograms */

/* In one go: metric_count(f, "GET", "200") adds one to the row of these labels. */
#define metric_count(f, ...) metric_add(metric_series((f), (const char *const[]){__VA_ARGS__}), 1)

/* Appends the text format 0.0.4. */
int metrics_print(struct metrics *m, struct buffer *out) _must_check_;

#endif
