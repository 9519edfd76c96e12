#include "node/platform.h"

#include "base/log.h"
#include "node/platform_internal.h"

#include <assert.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#define POOL_THREADS  4
#define POOL_QUEUE    1024
#define DRAIN_POLL_MS 100

#define FIELD(f) offsetof(struct platform_config, f)

const struct config_option platform_options[] = {
    {"RUSHES_LOG_LEVEL", CONFIG_CHOICE, "info", 0, 0, "debug|info|warning|error", FIELD(log_level),
     "Lowest level of the lines that are written"},
    {"RUSHES_REGION", CONFIG_STRING, "eu1", 0, 0, NULL, FIELD(region), "Region that this service works for"},
    {"RUSHES_ADMIN_LISTEN", CONFIG_ADDRESS, "127.0.0.1:0", 0, 0, NULL, FIELD(admin_listen),
     "Address of /healthz, /readyz, /metrics and /debug/state; beyond loopback only with client certificates"},
    {"RUSHES_DATABASE", CONFIG_STRING, NULL, 0, 0, NULL, FIELD(database),
     "libpq connection string of PostgreSQL: a client certificate and sslmode=verify-full, or a Unix socket"},
    {"RUSHES_DATABASE_CONNECTIONS", CONFIG_UINT, "8", 2, 200, NULL, FIELD(database_connections),
     "Most connections to PostgreSQL at once"},
    {"RUSHES_NATS_URL", CONFIG_STRING, "", 0, 0, NULL, FIELD(nats_url),
     "tls:// address of NATS; without it due work is found by polling"},
    {"RUSHES_REDIS", CONFIG_STRING, "", 0, 0, NULL, FIELD(redis),
     "host:port (TLS) or unix:/path of Redis; without it limits count per process"},
    {"RUSHES_REDIS_USER", CONFIG_STRING, "", 0, 0, NULL, FIELD(redis_user), "ACL user of Redis"},
    {"RUSHES_REDIS_PASSWORD_FILE", CONFIG_PATH, "", 0, 0, NULL, FIELD(redis_password_file),
     "File whose first line is the password of that user"},
    {"RUSHES_TLS_CERTIFICATE", CONFIG_PATH, NULL, 0, 0, NULL, FIELD(tls_certificate),
     "Certificate chain of this service for everything internal; its SAN URI is the service's identity"},
    {"RUSHES_TLS_KEY", CONFIG_PATH, NULL, 0, 0, NULL, FIELD(tls_key), "Private key of that certificate"},
    {"RUSHES_TLS_CA", CONFIG_PATH, NULL, 0, 0, NULL, FIELD(tls_ca),
     "Authorities that internal peers are verified against"},
    {0},
};

/* The SAN URI of the own certificate. */
static bool find_identity(X509 *certificate, struct tls_identity *ret)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	unsigned found = 0;
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		if (name->type != GEN_URI)
			continue;
		const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
		found +=
		    tls_identity_parse((const char *)ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri), ret);
	}
	GENERAL_NAMES_free(names);
	return found == 1;
}

static int read_identity(struct platform *p, struct error *e)
{
	const char *path = p->config->tls_certificate;
	_cleanup_(fclosep) FILE *file = fopen(path, "re");
	X509 *certificate = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
	struct tls_identity identity = {0};
	bool found = certificate && find_identity(certificate, &identity);
	X509_free(certificate);
	if (!found)
		return error_set(e, ERR_FATAL,
				 "the certificate %s cannot be read, or has not exactly one SAN URI "
				 "rushes://region/service/name",
				 path);
	if (strcmp(identity.region, p->config->region) != 0)
		return error_set(e, ERR_FATAL, "the certificate %s is for region %s, the service is configured for %s",
				 path, identity.region, p->config->region);
	(void)snprintf(p->identity, sizeof(p->identity), "%s/%s", identity.service, identity.name);
	return 0;
}

static void on_bus_fault(void *arg, const struct error *e)
{
	service_fail(arg, e);
}

static int open_bus(struct platform *p, struct error *e)
{
	const struct platform_config *c = p->config;
	char name[TLS_IDENTITY_PART_BYTES + 8];
	(void)snprintf(name, sizeof(name), "rushes-%s", service_name(p->service));
	struct bus_options o = {.url = c->nats_url,
				.service = name,
				.certificate = c->tls_certificate,
				.key = c->tls_key,
				.ca = c->tls_ca,
				.fault = on_bus_fault,
				.fault_arg = p->service};
	return bus_new(&o, &p->bus, e);
}

static int open_redis(struct platform *p, struct error *e)
{
	const struct platform_config *c = p->config;
	struct redis_options o = {.address = c->redis,
				  .user = c->redis_user,
				  .password_file = c->redis_password_file,
				  .certificate = c->tls_certificate,
				  .key = c->tls_key,
				  .ca = c->tls_ca};
	return redis_new(p->loop, &o, &p->redis, e);
}

static int open_outbox(struct platform *p, struct error *e)
{
	/* the process' own number: two processes of one identity must not hold one lease together */
	char holder[sizeof(p->identity) + 24];
	(void)snprintf(holder, sizeof(holder), "%s#%d", p->identity, (int)getpid());
	int r = publisher_new(p->db, p->bus, holder, &p->outbox, e);
	if (r == 0)
		publisher_add_outbox(p->outbox);
	return r;
}

static bool is_ready(void *arg, const char **ret_why)
{
	struct platform *p = arg;
	if (!platform_watch_ready(p->watch, ret_why))
		return false;
	for (size_t i = 0; i < p->n_ready; i++)
		if (!p->ready[i].ready(p->ready[i].arg, ret_why))
			return false;
	return true;
}

static bool is_loopback(const char *address)
{
	return strncmp(address, "127.", 4) == 0 || strncmp(address, "[::1]:", 6) == 0;
}

static int open_admin(struct platform *p, struct error *e)
{
	const struct platform_config *c = p->config;
	int r = 0;
	if (!is_loopback(c->admin_listen)) {
		struct tls_settings s = {.certificate_path = c->tls_certificate,
					 .key_path = c->tls_key,
					 .ca_path = c->tls_ca};
		r = tls_server_new(&s, &p->admin_tls, e);
	}
	struct admin_options o = {.address = c->admin_listen,
				  .tls = p->admin_tls,
				  .metrics = p->metrics,
				  .service = p->service,
				  .ready = is_ready,
				  .arg = p};
	if (r == 0)
		r = admin_new(p->loop, &o, &p->admin, e);
	if (r == 0)
		admin_add_state(p->admin, "platform", platform_state, p);
	return r;
}

static int open_database(struct platform *p, unsigned parts, struct error *e)
{
	char name[TLS_IDENTITY_PART_BYTES + 8];
	(void)snprintf(name, sizeof(name), "rushes-%s", service_name(p->service));
	struct db_pool_options o = {.conninfo = p->config->database,
				    .application_name = name,
				    .connections = (unsigned)p->config->database_connections,
				    .fails_fast = parts & PLATFORM_FAILS_FAST};
	int r = db_pool_new(&o, &p->db, e);
	if (r == 0)
		r = pool_new(p->loop, "blocking", POOL_THREADS, POOL_QUEUE, &p->pool, e);
	if (r == 0)
		r = platform_watch_wait(p, e);
	return r == 0 ? platform_watch_new(p, &p->watch, e) : r;
}

static void on_drain(void *arg);

int platform_start(struct service *s, const struct platform_config *config, unsigned parts, struct platform **ret,
		   struct error *e)
{
	struct platform *p = calloc(1, sizeof(*p));
	if (!p)
		return error_nomem(e);
	p->service = s;
	p->loop = service_loop(s);
	p->config = config;
	p->worker_is_empty = true;
	log_set_level(log_level_from_string(config->log_level));
	int r = loop_timer_new(p->loop, on_drain, p, &p->drain) < 0 ? error_nomem(e) : 0;
	if (r == 0)
		r = read_identity(p, e);
	if (r == 0)
		r = metrics_new(&p->metrics, e);
	if (r == 0)
		r = open_database(p, parts, e);
	if (r == 0 && (parts & PLATFORM_BUS) && *config->nats_url)
		r = open_bus(p, e);
	if (r == 0 && (parts & PLATFORM_REDIS) && *config->redis)
		r = open_redis(p, e);
	if (r == 0 && (parts & PLATFORM_OUTBOX) && p->bus)
		r = open_outbox(p, e);
	if (r == 0)
		r = open_admin(p, e);
	if (r < 0) {
		platform_stop(p);
		return r;
	}
	*ret = p;
	return 0;
}

void platform_stop(struct platform *p)
{
	if (!p)
		return;
	loop_timer_free(p->drain);
	platform_watch_free(p->watch);
	admin_free(p->admin);
	worker_free(p->worker);
	publisher_free(p->outbox);
	redis_free(p->redis);
	bus_free(p->bus);
	pool_free(p->pool);
	db_pool_free(p->db);
	platform_counters_free(p->counters);
	metrics_free(p->metrics);
	tls_free(p->admin_tls);
	free(p);
}

static void on_worker_empty(void *arg)
{
	struct platform *p = arg;
	p->worker_is_empty = true;
}

static void on_drain(void *arg)
{
	struct platform *p = arg;
	if (p->worker_is_empty && !(p->busy && p->busy(p->busy_arg)))
		service_drained(p->service);
	else
		loop_timer_set(p->drain, DRAIN_POLL_MS);
}

void platform_drain(struct platform *p, bool (*busy)(void *arg), void *arg)
{
	p->busy = busy;
	p->busy_arg = arg;
	if (p->worker) {
		p->worker_is_empty = false;
		worker_drain(p->worker, on_worker_empty, p);
	}
	loop_timer_set(p->drain, 0);
}

int platform_reload(struct platform *p, struct error *e)
{
	int r = p->admin_tls ? tls_reload(p->admin_tls, e) : 0;
	if (r < 0)
		return r;
	db_pool_renew(p->db);
	if (p->bus)
		bus_renew(p->bus);
	if (p->redis)
		redis_renew(p->redis);
	return 0;
}

struct service *platform_service(struct platform *p)
{
	return p->service;
}

struct loop *platform_loop(struct platform *p)
{
	return p->loop;
}

struct db_pool *platform_db(struct platform *p)
{
	return p->db;
}

struct bus *platform_bus(struct platform *p)
{
	return p->bus;
}

struct redis *platform_redis(struct platform *p)
{
	return p->redis;
}

struct pool *platform_pool(struct platform *p)
{
	return p->pool;
}

struct metrics *platform_metrics(struct platform *p)
{
	return p->metrics;
}

const struct platform_config *platform_config(struct platform *p)
{
	return p->config;
}

const char *platform_identity(struct platform *p)
{
	return p->identity;
}

static json_t *worker_state(void *arg)
{
	return worker_debug(arg);
}

int platform_worker(struct platform *p, const struct uuid *node, struct worker **ret, struct error *e)
{
	assert(!p->worker);
	struct worker_options o = {
	    .loop = p->loop, .db = p->db, .bus = p->bus, .identity = p->identity, .region = p->config->region};
	if (node)
		o.node = *node;
	int r = worker_new(&o, &p->worker, e);
	if (r < 0)
		return r;
	admin_add_state(p->admin, "jobs", worker_state, p->worker);
	*ret = p->worker;
	return 0;
}

int platform_ready_add(struct platform *p, platform_ready *ready, void *arg)
{
	if (p->n_ready == PLATFORM_READY_MAX)
		return ERR_FULL;
	p->ready[p->n_ready].ready = ready;
	p->ready[p->n_ready++].arg = arg;
	return 0;
}

void platform_debug_add(struct platform *p, const char *name, platform_debug *debug, void *arg)
{
	admin_add_state(p->admin, name, debug, arg);
}
