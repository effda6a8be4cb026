/* SPDX-License-Identifier: MIT */
/*
 * From the claims of a verified token to an identity.
 *
 *   "sub"      the user: text, or a whole number, which stands for its digits
 *   "bugle"    {"publish":[PATTERN...],"subscribe":[PATTERN...],"admin":BOOL}, all optional
 *   "mercure"  {"publish":[...],"subscribe":[...]}: there "*" alone is everything, and a segment
 *              "{name}" any one segment
 *
 * Both kinds of rights add up.  A claim of another form refuses the token; unknown members are
 * ignored, since they can grant nothing.
 *
 * Pure; any thread.
 */
#ifndef BUGLE_JWT_CLAIMS_H
#define BUGLE_JWT_CLAIMS_H

#include <jansson.h>

#include "auth/identity.h"
#include "auth/jwt.h"

/*
 * key_fingerprint   of the key
 * audience  auth.audience, which its `aud` fits
 *
 * Returns JWT_OK with one reference given, JWT_CLAIMS or JWT_NO_MEMORY.
 */
enum jwt_error jwt_claims_identity(const json_t *claims, int64_t until_ms,
                                   const unsigned char key_fingerprint[IDENTITY_FINGERPRINT_BYTES],
                                   const char *audience, struct identity **ret_identity);

#endif
