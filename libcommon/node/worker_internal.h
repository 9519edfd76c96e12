/* What the files of the job engine share; nobody else includes this. */
#ifndef RUSHES_NODE_WORKER_INTERNAL_H
#define RUSHES_NODE_WORKER_INTERNAL_H

#include "base/thread.h"
#include "node/publisher.h"
#include "node/worker.h"

#define WORKER_NAME_BYTES 192

/* How far a worker's end has come; moves only downwards. */
enum worker_phase {
	WORKER_TAKING,	 /* slots claim */
	WORKER_DRAINING, /* slots finish what they hold */
	WORKER_ENDING,	 /* handlers are asked to stop, threads end */
};

struct worker_line;

struct worker_slot {
	struct worker_line *line;
	pthread_t thread;
	bool is_started;
	/* under the worker's lock */
	bool is_busy;	 /* claims or works */
	bool is_running; /* `job` is held */
	int64_t since_us;
	struct job job; /* stable while is_running */
};

/* The slots of one kind. */
struct worker_line {
	struct worker *worker;
	struct worker_kind kind;
	struct bus_consumer *consumer; /* NULL without a bus */
	struct worker_slot *slots;
	/* under the worker's lock; at most one hint per slot waits */
	struct bus_delivery *hints[WORKER_SLOTS_MAX];
	unsigned n_hints;
	int64_t next_poll_us;
	struct worker_stats stats;
};

struct worker {
	struct loop *loop;
	struct db_pool *db;
	struct bus *bus;
	char *region;
	char name[WORKER_NAME_BYTES]; /* of the leases */
	struct uuid node;
	int64_t poll_us;
	struct publisher *publisher;
	struct loop_timer *finish;
	pthread_t beat;
	bool is_beat_started;

	pthread_mutex_t lock;
	pthread_cond_t wake; /* slots and beat */
	/* under lock */
	enum worker_phase phase;
	struct worker_line *lines[JOB_KIND_MAX];
	unsigned busy; /* slots */
	loop_function *drained;
	void *drained_arg;
};

/* A slot's thread. */
void *worker_slot_main(void *arg);

/* The thread that beats the leases of the whole process. */
void *worker_beat_main(void *arg);

/* A hint for the line came; on a library thread. */
void worker_on_hint(void *arg, struct bus_delivery *d);

/* Tells the broker how many hints the line takes. Under lock. */
void worker_want(struct worker_line *line);

#endif
