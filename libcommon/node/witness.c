#include "node/witness.h"

#include "base/buffer.h"
#include "base/log.h"
#include "spool/sealed.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

/* Files of one statement, and what their text needs at most. */
#define PAGE_FILES 500
#define FILE_BYTES 128

struct report {
	const struct witness *w;
	struct buffer page;
	unsigned in_page;
	bool is_first;
	uint64_t files;
};

int witness_tell(const struct witness *w, struct error *e)
{
	static const struct db_statement st = {"node_witness", "SELECT rushes.node_witness($1::uuid, $2::bigint)", 2};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	char seen[DB_INT_BYTES];
	int64_t before = spool_beats_seen(w->spool);
	int r = db_run(w->db, &st, (const char *[]){spool_node_text(w->spool), db_param_int(before, seen)}, &rows, e);
	if (r < 0)
		return r;
	if (db_null(rows, 0, 0))
		return error_set(e, ERR_RETRY, "the database was restored and is not reconciled");
	spool_set_beats_seen(w->spool, db_int(rows, 0, 0));
	return 0;
}

/* `files`: a page as JSON, or NULL: only ask whether a report is wanted. */
static int send_files(const struct witness *w, const char *files, bool first, bool last, bool *ret_wanted,
		      struct error *e)
{
	static const struct db_statement st = {
	    "restore_report", "SELECT rushes.restore_report($1::uuid, $2, $3, $4, $5::jsonb, $6::boolean, $7::boolean)",
	    7};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	const char *params[] = {
	    spool_node_text(w->spool), spool_region(w->spool), spool_service(w->spool), w->peer_url, files,
	    db_param_bool(first),      db_param_bool(last)};
	int r = db_run(w->db, &st, params, &rows, e);
	if (r == 0)
		*ret_wanted = db_bool(rows, 0, 0);
	return r;
}

static int send_page(struct report *p, bool last, struct error *e)
{
	bool wanted = false;
	int r = buffer_append_string(&p->page, p->in_page ? "]" : "[]");
	if (r < 0)
		return error_nomem(e);
	r = send_files(p->w, p->page.data, p->is_first, last, &wanted, e);
	if (r == 0 && !last && !wanted)
		r = error_set(e, ERR_CANCELLED, "the gate was opened");
	p->page.size = 0;
	p->in_page = 0;
	p->is_first = false;
	return r;
}

static int add_file(void *arg, const char *name _unused_, const struct uuid *copy, struct error *e)
{
	struct report *p = arg;
	struct sealed_header h;
	struct stat st = {0};
	int fd = -1;
	/* without a header it is no copy's bytes; removed since it was listed */
	int r = copy ? spool_open_copy(p->w->spool, copy, O_RDONLY, &fd, NULL) : ERR_REJECT;
	bool is_sealed = r == 0 && sealed_header_read(fd, &h, NULL) == 0 && fstat(fd, &st) == 0;
	closep(&fd);
	if (!is_sealed)
		return 0;
	char id[UUID_TEXT_BYTES], recording[UUID_TEXT_BYTES];
	uuid_format(copy, id);
	uuid_format(&h.recording, recording);
	r = buffer_printf(&p->page, "%s[\"%s\",\"%s\",%" PRId64 "]", p->in_page ? "," : "[", id, recording,
			  (int64_t)st.st_size);
	if (r < 0)
		return error_nomem(e);
	p->files++;
	return ++p->in_page == PAGE_FILES ? send_page(p, false, e) : 0;
}

static int report(const struct witness *w, struct error *e)
{
	struct report p = {.w = w, .is_first = true};
	bool wanted = false;
	int r = send_files(w, NULL, false, false, &wanted, e);
	if (r < 0 || !wanted)
		return r;
	buffer_init(&p.page, (size_t)PAGE_FILES * FILE_BYTES);
	r = spool_walk(w->spool, add_file, &p, e);
	if (r == 0)
		r = send_page(&p, true, e);
	buffer_done(&p.page);
	if (r == 0)
		log_info(NULL, "reported %" PRIu64 " sealed files to the restored database", p.files);
	return r;
}

static int look(void *arg, struct error *e)
{
	const struct witness *w = arg;
	int r = witness_tell(w, e);
	return r == 0 ? 0 : report(w, e);
}

int witness_pass_gate(struct witness *w, struct platform *p, struct error *e)
{
	w->db = platform_db(p);
	return platform_gate(p, look, w, e);
}
