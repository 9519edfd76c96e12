#include "delivery.h"

#include "base/clock.h"
#include "base/log.h"
#include "channel.h"
#include "delivery_child.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

#define TICK_MS	      500
#define WAIT_MS	      500
#define OPEN_MS	      15000
#define END_MS	      5000
#define POLL_US	      10000
#define ACCOUNT_BYTES 64

enum child_state {
	CHILD_BUSY,   /* a job's thread has it */
	CHILD_IDLE,   /* waits for the next job of its batch */
	CHILD_ENDING, /* its channel is closed; it is waited for */
};

struct child {
	struct child *next;
	enum child_state state;
	pid_t pid;
	int fd;
	char account[ACCOUNT_BYTES];
	char *target; /* its row as text: another endpoint or credential is another child */
	int64_t since_us, changed_us;
	unsigned jobs;
	uint64_t bytes; /* of the running job */
	bool killed;
};

struct delivery_pool {
	pthread_mutex_t lock;
	struct child *children;
	json_t *settings;
	struct loop_timer *tick;
	unsigned count;
};

static void child_free(struct child *c)
{
	closep(&c->fd);
	free(c->target);
	free(c);
}

/* Closes the channel: the child ends by itself. Under lock, or while the child is in no list. */
static void end_child(struct child *c)
{
	closep(&c->fd);
	c->fd = -1;
	c->state = CHILD_ENDING;
	c->changed_us = clock_monotonic_us();
}

/* Whether an ending child is gone; one that does not end in time is killed. */
static bool is_reaped(struct child *c)
{
	int status = 0;
	pid_t pid = waitpid(c->pid, &status, WNOHANG);
	if (pid == 0) {
		if (!c->killed && clock_monotonic_us() - c->changed_us > (int64_t)END_MS * 1000) {
			log_warning(NULL, "delivery child %d does not end: killed", (int)c->pid);
			c->killed = true;
			(void)kill(c->pid, SIGKILL);
		}
		return false;
	}
	if (pid > 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
		log_warning(NULL, "delivery child %d ended by %s %d", (int)c->pid,
			    WIFEXITED(status) ? "status" : "signal",
			    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	return true;
}

/* Ends children whose batch is over and forgets those that are gone. */
static void sweep(struct delivery_pool *p, bool end_all)
{
	int64_t now = clock_monotonic_us();
	(void)pthread_mutex_lock(&p->lock);
	for (struct child **at = &p->children; *at;) {
		struct child *c = *at;
		if (c->state == CHILD_IDLE && (end_all || now - c->changed_us > (int64_t)DELIVERY_IDLE_MS * 1000))
			end_child(c);
		if (c->state != CHILD_ENDING || !is_reaped(c)) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		p->count--;
		child_free(c);
	}
	(void)pthread_mutex_unlock(&p->lock);
}

static void on_tick(void *arg)
{
	struct delivery_pool *p = arg;
	sweep(p, false);
	loop_timer_set(p->tick, TICK_MS);
}

int delivery_pool_new(struct loop *l, json_t *settings, struct delivery_pool **ret, struct error *e)
{
	struct delivery_pool *p = calloc(1, sizeof(*p));
	if (!p)
		return error_nomem(e);
	(void)pthread_mutex_init(&p->lock, NULL);
	p->settings = json_incref(settings);
	if (loop_timer_new(l, on_tick, p, &p->tick) < 0) {
		delivery_pool_free(p);
		return error_nomem(e);
	}
	loop_timer_set(p->tick, TICK_MS);
	*ret = p;
	return 0;
}

void delivery_pool_free(struct delivery_pool *p)
{
	if (!p)
		return;
	loop_timer_free(p->tick);
	for (sweep(p, true); p->count > 0; sweep(p, true))
		(void)usleep(POLL_US);
	json_decref(p->settings);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
}

/* Starts this very binary as a child whose descriptor 3 is `fd`: no secrets in arguments or environment, signals of the
 * terminal go to the service alone. */
static int spawn(int fd, pid_t *ret, struct error *e)
{
	char *const argv[] = {(char[]){"rushes-storage-pusher"}, (char[]){DELIVERY_CHILD_ARGUMENT}, NULL};
	char *const environment[] = {(char[]){"PATH=/usr/bin:/bin"}, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, broken;
	(void)sigemptyset(&none);
	(void)sigemptyset(&broken);
	(void)sigaddset(&broken, SIGPIPE);
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawnattr_init(&attributes);
	int error = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (error == 0)
		error = posix_spawn_file_actions_adddup2(&actions, fd, DELIVERY_CHILD_FD);
	if (error == 0)
		error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
								  POSIX_SPAWN_SETSIGDEF);
	if (error == 0)
		error = posix_spawnattr_setsigmask(&attributes, &none);
	if (error == 0)
		error = posix_spawnattr_setsigdefault(&attributes, &broken);
	if (error == 0)
		error = posix_spawn(ret, "/proc/self/exe", &actions, &attributes, argv, environment);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)posix_spawnattr_destroy(&attributes);
	return error ? error_set_errno(e, ERR_RETRY, error, "cannot start a delivery child") : 0;
}

static bool is_op(const json_t *message, const char *op)
{
	const char *text = json_string_value(json_object_get(message, "op"));
	return text && strcmp(text, op) == 0;
}

static int open_child(struct delivery_pool *p, struct child *c, json_t *target, struct error *e)
{
	json_t *answer = NULL;
	json_t *message = json_pack("{s:s,s:O,s:O}", "op", "open", "settings", p->settings, "target", target);
	int r = channel_send(c->fd, message, e);
	if (r == 0)
		r = channel_receive(c->fd, OPEN_MS, &answer, e);
	if (r < 0)
		return error_set(e, ERR_RETRY, "the delivery child did not open the target");
	r = is_op(answer, "opened") ? 0 : channel_failure_read(answer, e);
	json_decref(answer);
	return r;
}

static void add_child(struct delivery_pool *p, struct child *c)
{
	(void)pthread_mutex_lock(&p->lock);
	c->next = p->children;
	p->children = c;
	p->count++;
	(void)pthread_mutex_unlock(&p->lock);
}

static int start_child(struct delivery_pool *p, const char *account, json_t *target, char *fingerprint,
		       struct child **ret, struct error *e)
{
	int ends[2];
	struct child *c = calloc(1, sizeof(*c));
	if (!c || channel_pair(ends, e) < 0) {
		free(c);
		free(fingerprint);
		return e && e->code ? e->code : error_nomem(e);
	}
	(void)snprintf(c->account, sizeof(c->account), "%s", account);
	c->target = fingerprint;
	c->fd = ends[0];
	c->state = CHILD_BUSY;
	c->since_us = c->changed_us = clock_monotonic_us();
	int r = spawn(ends[1], &c->pid, e);
	(void)close(ends[1]);
	if (r < 0) {
		child_free(c);
		return r;
	}
	add_child(p, c);
	*ret = c;
	return open_child(p, c, target, e);
}

/* An idle child of this account and this very target, or a new one. On failure *ret may still be set: to be given back.
 */
static int take_child(struct delivery_pool *p, const char *account, json_t *target, struct child **ret, struct error *e)
{
	*ret = NULL;
	char *fingerprint = json_dumps(target, JSON_COMPACT | JSON_SORT_KEYS);
	if (!fingerprint)
		return error_nomem(e);
	(void)pthread_mutex_lock(&p->lock);
	for (struct child *c = p->children; c && !*ret; c = c->next)
		if (c->state == CHILD_IDLE && strcmp(c->account, account) == 0 && strcmp(c->target, fingerprint) == 0)
			*ret = c;
	if (*ret) {
		(*ret)->state = CHILD_BUSY;
		(*ret)->bytes = 0;
	}
	(void)pthread_mutex_unlock(&p->lock);
	if (!*ret)
		return start_child(p, account, target, fingerprint, ret, e);
	free(fingerprint);
	return 0;
}

static void give_back(struct delivery_pool *p, struct child *c, bool usable)
{
	int64_t now = clock_monotonic_us();
	(void)pthread_mutex_lock(&p->lock);
	c->jobs++;
	if (usable && c->jobs < DELIVERY_JOBS_MAX && now - c->since_us < (int64_t)DELIVERY_AGE_MS * 1000) {
		c->state = CHILD_IDLE;
		c->changed_us = now;
	} else {
		end_child(c);
	}
	(void)pthread_mutex_unlock(&p->lock);
}

static int on_upload(struct child *c, const json_t *message, const struct delivery_watch *w, struct error *e)
{
	const char *upload = json_string_value(json_object_get(message, "id"));
	struct error reason = {0};
	int r = upload ? w->upload_begun(w->arg, upload, &reason)
		       : error_set(&reason, ERR_RETRY, "the delivery child names no upload");
	int sent = channel_send(c->fd, json_pack("{s:s}", "op", r == 0 ? "go" : "stop"), e);
	if (r < 0)
		*e = reason;
	return r < 0 ? r : sent;
}

/* One message of a working child. 1: it goes on; 0: it is done, *ret_answer is set. */
static int on_message(struct delivery_pool *p, struct child *c, json_t *message, const struct delivery_watch *w,
		      json_t **ret_answer, bool *ret_clean, struct error *e)
{
	if (is_op(message, "progress")) {
		(void)pthread_mutex_lock(&p->lock);
		c->bytes = (uint64_t)json_integer_value(json_object_get(message, "bytes"));
		(void)pthread_mutex_unlock(&p->lock);
		return 1;
	}
	if (is_op(message, "upload")) {
		int r = on_upload(c, message, w, e);
		return r < 0 ? r : 1;
	}
	if (is_op(message, "delivered") || is_op(message, "removed")) {
		*ret_answer = json_incref(message);
		return 0;
	}
	*ret_clean = json_is_true(json_object_get(message, "clean"));
	return channel_failure_read(message, e);
}

/* Waits for what an unwanted or refused delivery still says: whether it left something. */
static void wind_down(struct delivery_pool *p, struct child *c, bool *ret_clean)
{
	static const struct delivery_watch nobody;
	struct error ignored = {0};
	int64_t deadline = clock_monotonic_us() + (int64_t)DELIVERY_STOP_MS * 1000;
	for (int r = 1; r > 0 && clock_monotonic_us() < deadline;) {
		json_t *message = NULL, *answer = NULL;
		r = channel_receive(c->fd, WAIT_MS, &message, &ignored);
		if (r == ERR_RETRY) {
			r = 1;
			continue;
		}
		if (r < 0)
			return;
		/* an upload that begins only now is not recorded, so it must not go on */
		if (is_op(message, "upload"))
			r = channel_send(c->fd, json_pack("{s:s}", "op", "stop"), &ignored) < 0 ? -1 : 1;
		else
			r = on_message(p, c, message, &nobody, &answer, ret_clean, &ignored);
		json_decref(answer);
		json_decref(message);
	}
}

static int stop_child(struct delivery_pool *p, struct child *c, bool *ret_clean, struct error *e)
{
	struct error ignored = {0};
	if (channel_send(c->fd, json_pack("{s:s}", "op", "stop"), &ignored) == 0)
		wind_down(p, c, ret_clean);
	return error_set(e, ERR_CANCELLED, "the delivery is no longer wanted");
}

static int wait_for_answer(struct delivery_pool *p, struct child *c, const struct delivery_watch *w,
			   json_t **ret_answer, bool *ret_clean, struct error *e)
{
	int64_t heard = clock_monotonic_us();
	for (int r = 1; r > 0;) {
		json_t *message = NULL;
		if (w->stop(w->arg))
			return stop_child(p, c, ret_clean, e);
		r = channel_receive(c->fd, WAIT_MS, &message, e);
		if (r == ERR_RETRY && clock_monotonic_us() - heard < (int64_t)DELIVERY_SILENCE_MS * 1000) {
			r = 1;
			continue;
		}
		if (r == ERR_RETRY)
			return error_set(e, ERR_RETRY, "the delivery child has said nothing for %d s",
					 DELIVERY_SILENCE_MS / 1000);
		if (r < 0)
			return error_set(e, ERR_RETRY, "the delivery child ended in the middle of its work");
		heard = clock_monotonic_us();
		r = on_message(p, c, message, w, ret_answer, ret_clean, e);
		bool failed = is_op(message, "failed");
		json_decref(message);
		/* what it was refused it still has to give up */
		if (r < 0 && !failed)
			wind_down(p, c, ret_clean);
		if (r <= 0)
			return r;
	}
	return 0;
}

int delivery_run(struct delivery_pool *p, const char *account, json_t *target, json_t *message,
		 const struct delivery_watch *watch, json_t **ret_answer, bool *ret_clean, struct error *e)
{
	struct child *c = NULL;
	*ret_clean = false;
	if (!message)
		return error_nomem(e);
	int r = take_child(p, account, target, &c, e);
	if (r < 0) {
		*ret_clean = true; /* nothing was asked of it */
		json_decref(message);
	} else {
		r = channel_send(c->fd, message, e);
		if (r == 0)
			r = wait_for_answer(p, c, watch, ret_answer, ret_clean, e);
		else if (r == ERR_NOTFOUND && e)
			e->code = r = ERR_RETRY; /* it died between two jobs */
	}
	/* after an error the next job begins with a fresh child: who knows what this one still holds */
	if (c)
		give_back(p, c, r == 0);
	return r;
}

json_t *delivery_debug(void *pool)
{
	struct delivery_pool *p = pool;
	static const char *const states[] = {"busy", "idle", "ending"};
	json_t *list = json_array();
	int64_t now = clock_monotonic_us();
	(void)pthread_mutex_lock(&p->lock);
	for (struct child *c = p->children; c; c = c->next) {
		json_t *target = json_loads(c->target, 0, NULL);
		const char *id = json_string_value(json_object_get(target, "id"));
		(void)json_array_append_new(list, json_pack("{s:i,s:s,s:s,s:s?,s:i,s:I,s:f}", "pid", (int)c->pid,
							    "state", states[c->state], "account", c->account, "target",
							    id, "jobs", (int)c->jobs, "bytes", (json_int_t)c->bytes,
							    "age_s", (double)(now - c->since_us) / 1e6));
		json_decref(target);
	}
	(void)pthread_mutex_unlock(&p->lock);
	return list;
}

unsigned delivery_children(struct delivery_pool *p)
{
	(void)pthread_mutex_lock(&p->lock);
	unsigned n = p->count;
	(void)pthread_mutex_unlock(&p->lock);
	return n;
}
