/*-------------------------------------------------------------------------
 *
 * fingerprint.h
 *	  From a request to its fingerprint.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_FINGERPRINT_H
#define IDEMPOTENCY_FINGERPRINT_H

#include "utils/jsonb.h"

/* The fingerprint of a request, 16 bytes; NULL if there is no request. */
extern bytea *fingerprint_of(Jsonb *request);

/* Whether two fingerprints differ, in the sense of IS DISTINCT FROM. */
extern bool fingerprints_differ(const bytea *a, const bytea *b);

#endif							/* IDEMPOTENCY_FINGERPRINT_H */
