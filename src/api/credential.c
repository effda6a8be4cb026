/* SPDX-License-Identifier: MIT */
/* The credential of a request.  See credential.h. */
#include "config.h"
#include "api/credential.h"

#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "api/challenge.h"
#include "api/route.h"
#include "api/ticket_use.h"
#include "auth/auth.h"
#include "base/clock.h"
#include "http/client_address.h"
#include "http/service.h"
#include "wire/cookie.h"

struct credential {
    const char *text; /* NULL: none */
    size_t text_n;
    const char *wrong; /* why what is there cannot be one; NULL: it can */
    enum identity_way way;
    bool is_for_proxy; /* `wrong`, but any other counts before it */
};

static bool credential_is_there(const struct credential *credential)
{
    return credential->text != NULL || credential->wrong != NULL;
}

/* Schemes that a proxy in front asks browsers for, which then send it with everything. */
static bool credential_is_for_proxy(const char *header)
{
    static const char *const schemes[] = {"Basic ", "Digest ", "Negotiate ", "NTLM "};

    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
        if (strncasecmp(header, schemes[i], strlen(schemes[i])) == 0)
            return true;
    return false;
}

static struct credential credential_from_header(const struct request *request)
{
    const char *header = request->fields[REQUEST_AUTHORIZATION];
    struct credential credential = {.way = IDENTITY_BY_HEADER};

    if (header == NULL)
        return credential;
    if (strncasecmp(header, "Bearer ", 7) != 0) {
        credential.is_for_proxy = credential_is_for_proxy(header);
        credential.wrong = credential.is_for_proxy
                               ? "Authorization must be Bearer and a token or key; a proxy in "
                                 "front must not pass on its own credentials."
                               : "Authorization must be Bearer and a token or key.";
        return credential;
    }
    credential.text = header + 7 + strspn(header + 7, " ");
    credential.text_n = strlen(credential.text);
    return credential;
}

/* What a page can set in the place of the header, and only on purpose, so it counts as the header
 * does: no browser adds it by itself. */
static struct credential credential_from_protocol(const struct request *request)
{
    return (struct credential){.way = IDENTITY_BY_HEADER,
                               .text = request->bearer,
                               .text_n = request->bearer_n,
                               .wrong = request->bearer != NULL && request->bearer_n == 0
                                            ? "The subprotocol has no token behind \"bearer.\"."
                                            : NULL};
}

static struct credential credential_from_query(struct request *request)
{
    struct credential credential = {.way = IDENTITY_BY_TICKET};

    if (!request->route->is_stream)
        return credential;
    credential.text = request_query(request, "ticket", &credential.text_n);
    if (credential.text == NULL) {
        credential.way = IDENTITY_BY_QUERY;
        credential.text = request_query(request, "access_token", &credential.text_n);
        if (credential.text != NULL && !request->service->context->conf->auth.query_token)
            credential.wrong = "Tokens in the URL are not accepted: auth.query_token is off.";
    }
    request->has_secret_url = credential.text != NULL;
    return credential;
}

static void credential_see_cookies(void *arg, const char *value)
{
    cookie_look(arg, value, strlen(value));
}

/* Two cookies of one name come from two places, and cannot be told apart. */
static struct credential credential_from_cookie(const struct request *request)
{
    struct cookie cookie = {.name = request->service->context->conf->auth.cookie};
    struct credential credential = {.way = request->origin != NULL ? IDENTITY_BY_COOKIE_OF_PAGE
                                                                   : IDENTITY_BY_COOKIE};

    if (cookie.name[0] == '\0')
        return credential;
    request_each_header(request, MHD_HTTP_HEADER_COOKIE, credential_see_cookies, &cookie);
    credential.text = cookie.value;
    credential.text_n = cookie.value_n;
    if (cookie.n > 1)
        credential.wrong = "The request has the cookie with the token more than once.";
    else if (cookie.n == 1 && cookie.value_n == 0)
        credential.wrong = "The cookie with the token is empty: delete it instead.";
    return credential;
}

static struct credential credential_find(struct request *request)
{
    struct credential first = credential_from_header(request);

    if (credential_is_there(&first) && !first.is_for_proxy)
        return first;
    struct credential other = credential_from_protocol(request);
    if (!credential_is_there(&other))
        other = credential_from_query(request);
    if (!credential_is_there(&other))
        other = credential_from_cookie(request);
    return credential_is_there(&other) ? other : first;
}

static bool credential_look_up(struct request *request, const struct credential *credential,
                               struct problem *ret_problem)
{
    request->way = credential->way;
    if (credential->way == IDENTITY_BY_TICKET)
        return ticket_use_identify(request, credential->text, credential->text_n, ret_problem);
    char sentence[120];
    struct peer client;
    struct auth_shown shown = {.text = credential->text,
                               .text_n = credential->text_n,
                               .client = &client,
                               .wall_ms = clock_wall_ms(),
                               .mono_ms = clock_mono_ms()};

    client_address_of(request, &client);
    enum jwt_error error = auth_identify(request->service->auth, request->service->context->conf,
                                         &shown, &request->identity);
    if (error == JWT_OK)
        return true;
    if (error == JWT_PUT_OFF) {
        problem_set(ret_problem, 429, "too_many_forged_tokens", "The token %s; send it again.",
                    jwt_error_text(error));
        ret_problem->retry_after_s = AUTH_RETRY_S;
        return false;
    }
    if (error == JWT_UNKNOWN_KEY && request->service->shared->jwks != NULL)
        jwks_wish(request->service->shared->jwks);
    if (error == JWT_NO_MEMORY)
        return problem_set_out_of_memory(ret_problem);
    snprintf(sentence, sizeof(sentence), "The token %s.", jwt_error_text(error));
    return challenge_bad_credential(ret_problem, sentence);
}

/* A browser adds cookies to every request to the gateway, also to those of foreign pages.  So they
 * count only for pages that are listed, and a change must say which page asks for it. */
static bool credential_cookie_counts(const struct request *request)
{
    return request_is_change(request) ? request->origin_verdict == ORIGIN_LISTED
                                      : request->origin_verdict != ORIGIN_FOREIGN;
}

bool credential_identify(struct request *request, struct problem *ret_problem)
{
    struct credential credential = credential_find(request);

    if (credential.wrong != NULL)
        return challenge_bad_credential(ret_problem, credential.wrong);
    if (credential.text == NULL)
        return true;
    bool is_cookie =
        credential.way == IDENTITY_BY_COOKIE || credential.way == IDENTITY_BY_COOKIE_OF_PAGE;
    if (is_cookie && !credential_cookie_counts(request))
        return problem_set(
            ret_problem, 403, "foreign_origin",
            "The cookie is accepted only from pages of an origin that auth.origins lists.");
    return credential_look_up(request, &credential, ret_problem);
}
