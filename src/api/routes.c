/* SPDX-License-Identifier: MIT */
/* Method and path to handler.  See routes.h. */
#include "config.h"
#include "api/routes.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "api/access.h"
#include "api/publish.h"
#include "api/route.h"
#include "api/static_files.h"
#include "api/subscribe.h"
#include "api/ws.h"
#include "http/request_body.h"
#include "http/request_deadline.h"
#include "http/respond.h"
#include "http/service.h"
#include "http/tls_head_check.h"
#include "wire/sse.h"

/* What the body of a POST /api/tickets may have.  1,024 bytes of names, all written as \u0041 is,
 * take 6 KiB; the rest is for the quotes around 16 of them, the names of fields, and white space.
 */
#define TICKET_BODY_BYTES 8192

static int routes_answer_page(struct request *request);

/* Of several rows with one path the first says what holds for the path, whatever the method. */
static const struct route routes[] = {
    {SSE_PATH, "GET", subscribe_handle, ROUTE_READ, .parameters = parameters_of_events,
     .refuse = subscribe_refuse, .is_stream = true, .is_first = true},
    {"/ws", "GET", ws_handle, ROUTE_READ, .check = ws_check, .refuse = ws_refuse,
     .is_stream = true},
    {"/api/push", "POST", publish_handle, ROUTE_PUBLISH, .begin = publish_begin,
     .body_bytes = SIZE_MAX},
    {"/api/history", "GET", history_get_handle, ROUTE_CALLER, .parameters = parameters_of_history},
    {"/api/stats", "GET", admin_health_stats, ROUTE_ADMIN, .parameters = parameters_none},
    {"/api/streams", "GET", admin_streams_list, ROUTE_ADMIN, .parameters = parameters_of_listing},
    {"/api/streams", "DELETE", admin_streams_end, ROUTE_ADMIN, .parameters = parameters_of_ending},
    {"/api/streams/", "DELETE", admin_streams_end_one, ROUTE_ADMIN, .parameters = parameters_none,
     .is_prefix = true},
    {"/api/evictions", "GET", admin_streams_list_evictions, ROUTE_ADMIN,
     .parameters = parameters_of_evictions},
    {"/api/backup", "POST", backup_post_handle, ROUTE_ADMIN, .parameters = parameters_none},
    {"/api/tickets", "POST", ticket_post_handle, ROUTE_CALLER, .parameters = parameters_none,
     .body_bytes = TICKET_BODY_BYTES},
    {"/healthz", "GET", admin_health_live, ROUTE_OPEN, .any_host = true},
    {"/readyz", "GET", admin_health_ready, ROUTE_OPEN, .any_host = true},
    {"/", "GET", routes_answer_page, .right = ROUTE_OPEN},
};

#define ROUTES_N (sizeof(routes) / sizeof(routes[0]))

/* A path that is not in the table may be a file of server.www, but not below /api/ and not
 * /metrics: a path that is forgotten in the table is closed and not open. */
static const struct route *routes_for_other(const char *path)
{
    static const struct route page = {"/", "GET", routes_answer_page, .right = ROUTE_OPEN};
    static const struct route closed = {"/", "GET", routes_answer_page, .right = ROUTE_ADMIN};

    return strncmp(path, "/api/", 5) == 0 || strcmp(path, "/metrics") == 0 ? &closed : &page;
}

/* ---- finding ---- */

static bool routes_method_fits(const char *of_route, const char *method)
{
    return strcmp(of_route, method) == 0 ||
           (strcmp(of_route, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

/* The first row for a path and a method; with NULL, for a path.  NULL when there is none. */
static const struct route *routes_find(const char *path, const char *method)
{
    for (size_t i = 0; i < ROUTES_N; i++) {
        const struct route *route = &routes[i];
        bool fits = route->is_prefix ? strncmp(route->path, path, strlen(route->path)) == 0
                                     : strcmp(route->path, path) == 0;

        if (fits && (method == NULL || routes_method_fits(route->method, method)))
            return route;
    }
    return NULL;
}

/* "GET, HEAD, OPTIONS" and so on; NULL when the table knows no such path.  "*" is the server as a
 * whole (RFC 9110 section 9.3.7), and only OPTIONS comes with it. */
static const char *routes_allowed_at(const char *path)
{
    if (strcmp(path, "*") == 0)
        return "GET, HEAD, POST, DELETE, OPTIONS";

    bool get = routes_find(path, "GET") != NULL;
    bool post = routes_find(path, "POST") != NULL;
    bool delete = routes_find(path, "DELETE") != NULL;

    if (get && delete)
        return "GET, HEAD, DELETE, OPTIONS";
    if (get)
        return "GET, HEAD, OPTIONS";
    if (post)
        return "POST, OPTIONS";
    return delete ? "DELETE, OPTIONS" : NULL;
}

static int routes_answer_page(struct request *request)
{
    int result =
        static_files_respond(request->service->shared->static_files, request, request->path);

    if (result != -ENOENT)
        return result;
    if (strcmp(request->path, "/") == 0)
        return respond_error(request, 404, "no_page",
                             "The page is not installed: set server.www to its folder.");
    return respond_error(request, 404, "not_found", "There is nothing at this path.");
}

/* ---- rules for all ---- */

/* With DNS rebinding a foreign page has the same origin as the gateway, and only the host name
 * shows it. Monitors ask by address, and learn nothing. */
static bool routes_host_is_served(const struct request *request)
{
    static char word[] = "loopback", *words[] = {word};
    static const struct conf_list loopback = {.items = words, .items_n = 1};
    const struct conf *conf = request->service->context->conf;
    const struct conf_list *hosts = &conf->server.hosts;

    const struct route *route = routes_find(request->path, NULL);

    if (route != NULL && route->any_host)
        return true;
    const char *host = request->fields[REQUEST_HOST];
    if (hosts->items_n > 0)
        return origin_host_is_served(host, hosts);
    return origin_host_is_served(host, &loopback) || conf_serves_any_host(conf);
}

/* Before a route is chosen, none. */
static size_t routes_body_max(const struct request *request)
{
    size_t most = request->service->context->conf->limits.body_bytes;
    size_t own = request->route != NULL ? request->route->body_bytes : 0;

    return own < most ? own : most;
}

static int routes_refuse_large_body(struct request *request)
{
    size_t most = routes_body_max(request);

    if (most == 0)
        return respond_error(request, 413, "body_not_taken", "This request takes no body.");
    if (most == request->route->body_bytes)
        return respond_error(request, 413, "body_too_large",
                             "The body has more bytes than this request may have (%zu).", most);
    return respond_error(request, 413, "body_too_large",
                         "The body has more bytes than limits.body_bytes allows (%zu).", most);
}

static int routes_refuse_method(struct request *request, const char *allow)
{
    struct problem problem;

    if (strcmp(request->method, "OPTIONS") == 0)
        return respond_options(request, allow);
    const char *last = strrchr(allow, ','); /* there are always two */
    problem_set(&problem, 405, "method_not_allowed", "This path takes %.*s and%s.",
                (int)(last - allow), allow, last + 1);
    problem.allow = allow;
    return respond_problem(request, &problem);
}

/* Find the route, or answer.  Returns -1 when there is a route to go on with. */
static int routes_choose(struct request *request)
{
    request->route = routes_find(request->path, request->method);
    if (request->route == NULL) {
        const char *allow = routes_allowed_at(request->path);

        if (allow != NULL)
            return routes_refuse_method(request, allow);
        request->route = routes_for_other(request->path);
        if (!routes_method_fits(request->route->method, request->method)) {
            request->route = NULL;
            return respond_error(request, 404, "not_found", "There is nothing at this path.");
        }
    }
    request->tail = request->path + (request->route->is_prefix ? strlen(request->route->path) : 0);
    return -1;
}

/* A body is parsed while it is still there, and becomes as many bytes of events. */
#define BODY_FACTOR 3

/* Whether there is memory for a body that was announced; one that comes in chunks may be as large
 * as any. */
static bool routes_memory_has_room(const struct request *request)
{
    bool is_known = request->fields[REQUEST_CONTENT_LENGTH] != NULL;
    size_t bytes = is_known ? request->content_length : MEMORY_BUDGET_LARGE_BYTES + 1;
    size_t needed = bytes * BODY_FACTOR;

    return !request->has_body ||
           memory_budget_would_admit(request->service->context->memory, MEMORY_BUDGET_BODIES,
                                     needed, memory_budget_level_for(bytes));
}

/* All that can be said before the body.  Returns -1 to go on. */
static int routes_check(struct request *request)
{
    struct problem problem;
    int result;

    if (!routes_host_is_served(request))
        return respond_error(
            request, 421, "misdirected",
            "This gateway is not served under this host name; server.hosts lists its names.");
    result = routes_choose(request);
    if (result >= 0)
        return result;
    /* no page of another site may change anything through a browser that reaches the gateway */
    if (request_is_change(request) && request->origin_verdict == ORIGIN_FOREIGN)
        return respond_error(
            request, 403, "foreign_origin",
            "Pages of this origin may not do this; auth.origins lists the origins that may.");
    if (request->route->check != NULL && (result = request->route->check(request)) >= 0)
        return result;
    result = access_check(request);
    if (result >= 0)
        return result;
    if (request->route->parameters != NULL &&
        !parameters_check(request, request->route->parameters, &problem))
        return respond_problem(request, &problem);
    if (request->content_length > routes_body_max(request))
        return routes_refuse_large_body(request);
    if (!routes_memory_has_room(request))
        return respond_publish_shed(request);
    return request->route->begin != NULL ? request->route->begin(request) : -1;
}

/* ---- the calls of the library ---- */

/* A proxy may send the whole URL (RFC 9112 3.2.2).  The text is the library's and stays where it
 * is until the request is completed. */
static const char *routes_path_of(const char *url)
{
    if (strncasecmp(url, "http://", 7) != 0)
        return url;
    const char *path = strchr(url + 7, '/');
    return path != NULL ? path : "/";
}

/* A head that the gate has not checked is not answered: its client has to wait for the answer
 * before it, and send it again on a new connection. */
static int routes_refuse_unchecked(struct request *request, enum request_head_state sight)
{
    if (sight == REQUEST_HEAD_DIFFERS)
        return request_cut(request, 400, "bad_framing",
                           "The request can be read in more than one way.");
    stats_add(request->service->context->stats, STATS_REQUESTS_UNSEEN, 1);
    request->lingers = true;
    return MHD_NO;
}

/* What is answered in the first call ends its connection, so requests without a body wait for the
 * second, but for streams, whose connection ends with them. */
static int routes_first_call(struct request *request, const char *version)
{
    enum request_head_state sight = request_compare_head(request);
    int result = -1;

    if (sight == REQUEST_HEAD_IN_TLS)
        result = tls_head_check(request, version);
    else if (sight != REQUEST_HEAD_CHECKED)
        result = routes_refuse_unchecked(request, sight);
    if (result >= 0)
        return result;
    request->lingers = request->is_last;
    const struct route *route = routes_find(request->path, NULL);
    if (!request->has_body && (route == NULL || !route->is_first))
        return MHD_YES;
    result = routes_check(request);
    if (result >= 0) {
        request->lingers |= request->has_body;
        return result;
    }
    if (request->route->is_first && !request->has_body)
        return request->route->handle(request);
    if (request->has_body)
        request_deadline_watch_body(request);
    return MHD_YES;
}

static int routes_take_piece(struct request *request, const char *upload, size_t *upload_n)
{
    if (*upload_n == 0)
        return MHD_YES; /* here the library takes no answer: the last call is still to come */
    int result = request_body_append(request, upload, *upload_n, routes_body_max(request));

    *upload_n = 0;
    if (result == -EMSGSIZE)
        return request_cut(request, 413, "body_too_large",
                           routes_body_max(request) <
                                   request->service->context->conf->limits.body_bytes
                               ? "The body has more bytes than this request may have."
                               : "The body has more bytes than limits.body_bytes allows.");
    if (result == -ENOBUFS)
        return request_cut_busy(request);
    if (result != 0)
        return request_cut(request, 503, "out_of_memory", "The gateway is out of memory.");
    return MHD_YES;
}

static int routes_last_call(struct request *request)
{
    request_deadline_unwatch(request);
    if (request->route == NULL) {
        int result = routes_check(request);

        if (result >= 0)
            return result;
    }
    return request->route->handle(request);
}

static int routes_on_request(struct cell *cell, struct MHD_Connection *connection, const char *url,
                             const char *method, const char *version, const char *upload,
                             size_t *upload_n, void **context)
{
    struct request *request = *context;

    if (request == NULL) {
        request = request_new(cell_handler_arg(cell), cell, connection, method, version);
        if (request == NULL)
            return MHD_NO;
        *context = request;
        request->path = routes_path_of(url);
        return routes_first_call(request, version);
    }
    if (request_waits(request))
        return MHD_YES;
    if (upload != NULL)
        return routes_take_piece(request, upload, upload_n);
    if (request->resumed != NULL)
        return request->resumed(request);
    return routes_last_call(request);
}

static void routes_on_completed(struct cell *cell, void **context, bool connected)
{
    struct request *request = *context;

    (void)cell;
    if (request == NULL)
        return;
    if (request->stream != NULL)
        subscribe_completed(request);
    request->lingers &= connected;
    request_complete(request);
    *context = NULL;
}

static void routes_on_closed(void *arg, const struct sockaddr *address)
{
    struct service *service = arg;
    struct peer peer;

    peer_from_sockaddr(address, &peer);
    client_quota_drop_connection(service->shared->client_quota, &peer);
}

struct cell_handler routes_handler(struct service *service)
{
    return (struct cell_handler){.arg = service,
                                 .request = routes_on_request,
                                 .completed = routes_on_completed,
                                 .closed = routes_on_closed};
}
