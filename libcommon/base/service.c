#include "base/service.h"

#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

struct service {
	const struct service_definition *definition;
	struct loop *loop;
	void *config;
	void *state;
	struct event *signals[3];
	struct loop_timer *drain_limit;
	_Atomic enum service_phase phase;
	_Atomic bool failed;
	bool is_held; /* start() waits in service_hold(): its state is half made */
};

static const char *const phase_names[SERVICE_PHASE_MAX] = {"starting", "ready", "draining", "leaving"};

/* The logging options that every service shares. */
struct service_options {
	const char *config_file;
	bool check, print, markdown, help, version;
};

const char *service_phase_to_string(enum service_phase p)
{
	return p < SERVICE_PHASE_MAX ? phase_names[p] : "unknown";
}

struct loop *service_loop(struct service *s)
{
	return s->loop;
}

enum service_phase service_phase(const struct service *s)
{
	return s->phase;
}

const char *service_name(const struct service *s)
{
	return s->definition->name;
}

static bool set_phase(struct service *s, enum service_phase to)
{
	enum service_phase from = s->phase;
	if (to <= from)
		return false;
	s->phase = to;
	log_info(NULL, "service %s: %s -> %s", s->definition->name, phase_names[from], phase_names[to]);
	return true;
}

void service_drained(struct service *s)
{
	(void)set_phase(s, SERVICE_LEAVING);
	loop_stop(s->loop);
}

static void begin_drain(struct service *s)
{
	if (set_phase(s, SERVICE_DRAINING)) {
		loop_timer_set(s->drain_limit, SERVICE_DRAIN_LIMIT_MS);
		if (s->is_held)
			loop_stop(s->loop);
		else if (s->definition->drain && s->state)
			s->definition->drain(s->state);
		else
			service_drained(s);
	} else if (set_phase(s, SERVICE_LEAVING)) {
		loop_stop(s->loop);
	}
}

int service_hold(struct service *s, struct error *e)
{
	s->is_held = true;
	loop_run(s->loop);
	s->is_held = false;
	return s->phase < SERVICE_DRAINING ? 0 : error_set(e, ERR_CANCELLED, "asked to stop while the start was held");
}

void service_go_on(struct service *s)
{
	if (s->is_held)
		loop_stop(s->loop);
}

static void on_drain_limit(void *arg)
{
	struct service *s = arg;
	log_warning(NULL, "drain took longer than %d ms; leaving what is left to its leases", SERVICE_DRAIN_LIMIT_MS);
	service_drained(s);
}

static void on_stop_signal(evutil_socket_t number _unused_, short what _unused_, void *arg)
{
	begin_drain(arg);
}

static void on_reload_signal(evutil_socket_t number _unused_, short what _unused_, void *arg)
{
	struct service *s = arg;
	struct error e = {0};
	if (!s->definition->reload || !s->state || s->is_held)
		return;
	if (s->definition->reload(s->state, &e) < 0)
		log_error(NULL, "reload failed, the old settings stay: %s", e.text);
	else
		log_info(NULL, "reloaded");
}

static void on_failed(void *arg)
{
	struct service *s = arg;
	if (s->phase < SERVICE_DRAINING)
		begin_drain(s);
}

void service_fail(struct service *s, const struct error *e)
{
	log_error(NULL, "stopping: %s", e->text);
	s->failed = true;
	loop_post(s->loop, on_failed, s);
}

static void print_help(const struct service_definition *d)
{
	(void)
	    printf("usage: rushes-%s [--config FILE] [--check-config | --print-config | --version | --help]\n\n%s\n\n"
		   "  --config FILE    read NAME=VALUE lines; variables of the environment win\n"
		   "  --check-config   say whether the configuration is valid, and end\n"
		   "  --print-config   print the effective configuration, and end\n"
		   "  --version        print the version, and end\n\n"
		   "SIGTERM drains and stops, a second one leaves at once, SIGHUP reloads certificates.\n\nOptions:\n",
		   d->name, d->description);
	config_print_help(&d->schema, stdout);
}

static int parse_arguments(int argc, char **argv, struct service_options *ret)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
			ret->config_file = argv[++i];
		else if (strcmp(argv[i], "--check-config") == 0)
			ret->check = true;
		else if (strcmp(argv[i], "--print-config") == 0)
			ret->print = true;
		else if (strcmp(argv[i], "--print-markdown") == 0)
			ret->markdown = true;
		else if (strcmp(argv[i], "--version") == 0)
			ret->version = true;
		else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			ret->help = true;
		else {
			(void)fprintf(stderr, "%s: unknown argument %s; --help lists them\n", argv[0], argv[i]);
			return ERR_REJECT;
		}
	}
	return 0;
}

/* Keys and recordings must not reach a core file or a debugger. */
static int harden(struct error *e)
{
	(void)umask(077);
	(void)signal(SIGPIPE, SIG_IGN);
	/* a limit on the size of files is an error of the write */
	(void)signal(SIGXFSZ, SIG_IGN);
	struct rlimit none = {0, 0};
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot forbid core dumps");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot make the process undumpable");
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	return 0;
}

static int watch_signals(struct service *s, struct error *e)
{
	static const int numbers[3] = {SIGTERM, SIGINT, SIGHUP};
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		s->signals[i] = evsignal_new(loop_base(s->loop), numbers[i],
					     numbers[i] == SIGHUP ? on_reload_signal : on_stop_signal, s);
		if (!s->signals[i] || evsignal_add(s->signals[i], NULL) < 0)
			return error_set(e, ERR_FATAL, "cannot watch signal %d", numbers[i]);
	}
	return loop_timer_new(s->loop, on_drain_limit, s, &s->drain_limit) < 0 ? error_nomem(e) : 0;
}

static int run(struct service *s, struct error *e)
{
	const struct service_definition *d = s->definition;
	int r = harden(e);
	if (r == 0)
		r = loop_new(&s->loop, e);
	if (r == 0)
		r = watch_signals(s, e);
	if (r == 0)
		r = d->start(s, s->config, &s->state, e);
	if (r == 0) {
		(void)set_phase(s, SERVICE_READY);
		log_info(NULL, "rushes-%s %s is up, libevent %s, pid %d", d->name, RUSHES_VERSION, event_get_version(),
			 (int)getpid());
		loop_run(s->loop);
	}
	if (s->state)
		d->stop(s->state);
	loop_timer_free(s->drain_limit);
	for (size_t i = 0; i < ARRAY_SIZE(s->signals); i++)
		if (s->signals[i])
			event_free(s->signals[i]);
	loop_free(s->loop);
	return r;
}

int service_main(const struct service_definition *d, int argc, char **argv)
{
	struct service_options options = {0};
	if (parse_arguments(argc, argv, &options) < 0)
		return 2;
	if (options.help || options.version || options.markdown) {
		if (options.help)
			print_help(d);
		else if (options.markdown)
			config_print_markdown(&d->schema, stdout);
		else
			(void)printf("rushes-%s %s\n", d->name, RUSHES_VERSION);
		return 0;
	}
	struct error e = {0};
	_cleanup_(freep) void *config = calloc(1, d->schema.size);
	if (!config)
		return 1;
	if (config_load(&d->schema, options.config_file, config, &e) < 0) {
		(void)fprintf(stderr, "rushes-%s: %s\n", d->name, e.text);
		return 2;
	}
	int status = 0;
	if (options.print) {
		config_print(&d->schema, config, stdout);
	} else if (!options.check) {
		log_init(d->name, LOG_LEVEL_INFO);
		struct service s = {.definition = d, .config = config};
		int r = run(&s, &e);
		if (r < 0 && !(r == ERR_CANCELLED && s.phase >= SERVICE_DRAINING)) {
			log_error(NULL, "cannot start: %s", e.text);
			status = 1;
		} else {
			log_info(NULL, "rushes-%s stopped", d->name);
			status = s.failed ? 1 : 0;
		}
	}
	config_done(&d->schema, config);
	return status;
}
