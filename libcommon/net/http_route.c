#include "net/http_internal.h"

#include <string.h>

static bool add_parameter(struct http_request *r, const char *name, size_t name_n, const char *text, size_t n)
{
	if (r->n_parameters == HTTP_PARAMETERS_MAX)
		return false;
	char *value = malloc(n + 1);
	if (!value || !http_decode(text, n, false, value)) {
		free(value);
		return false;
	}
	r->parameters[r->n_parameters++] = (struct http_parameter){.name = name, .name_n = name_n, .value = value};
	return true;
}

static void drop_parameters(struct http_request *r)
{
	while (r->n_parameters > 0)
		free(r->parameters[--r->n_parameters].value);
}

/* "." and ".." in the rest of a path would lead a handler that opens files out of its folder. */
static bool has_dot_segment(const char *path)
{
	for (const char *p = path; *p;) {
		size_t n = strcspn(p, "/");
		if ((n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return true;
		p += n;
		p += *p == '/';
	}
	return false;
}

enum match { MATCH_NO, MATCH_YES, MATCH_BAD };

/* Compares segment by segment; parameters that cannot be decoded make the request bad. */
static enum match match_pattern(struct http_request *r, const char *pattern, const char *path)
{
	while (*pattern == '/' && *path == '/') {
		pattern++;
		path++;
		size_t want = strcspn(pattern, "/"), have = strcspn(path, "/");
		if (*pattern == '*') {
			if (*path == '\0')
				return MATCH_NO;
			if (!add_parameter(r, pattern + 1, want - 1, path, strlen(path)))
				return MATCH_BAD;
			return has_dot_segment(r->parameters[r->n_parameters - 1].value) ? MATCH_BAD : MATCH_YES;
		}
		if (*pattern == ':') {
			if (have == 0)
				return MATCH_NO;
			if (!add_parameter(r, pattern + 1, want - 1, path, have))
				return MATCH_BAD;
		} else if (want != have || memcmp(pattern, path, want) != 0) {
			return MATCH_NO;
		}
		pattern += want;
		path += have;
	}
	return *pattern == '\0' && *path == '\0' ? MATCH_YES : MATCH_NO;
}

static bool method_fits(const struct http_route *route, const char *method)
{
	return strcmp(route->method, method) == 0 || (strcmp(route->method, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

static void allow_add(char *allow, size_t size, const char *method)
{
	if (strstr(allow, method))
		return;
	size_t n = strlen(allow);
	(void)snprintf(allow + n, size - n, "%s%s%s", n > 0 ? ", " : "", method,
		       strcmp(method, "GET") == 0 ? ", HEAD" : "");
}

int http_route_find(const struct http_route *routes, struct http_request *r, char *allow, size_t allow_size)
{
	allow[0] = '\0';
	for (const struct http_route *route = routes; route->method; route++) {
		enum match m = match_pattern(r, route->pattern, r->head.path);
		if (m == MATCH_YES && method_fits(route, r->head.method)) {
			r->route = route;
			return 0;
		}
		drop_parameters(r);
		if (m == MATCH_BAD)
			return 400;
		if (m == MATCH_YES)
			allow_add(allow, allow_size, route->method);
	}
	return allow[0] ? 405 : 404;
}
