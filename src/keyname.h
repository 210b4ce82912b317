/*-------------------------------------------------------------------------
 *
 * keyname.h
 *	  What a key is: scope, name and their hash.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_KEYNAME_H
#define IDEMPOTENCY_KEYNAME_H

#include "fmgr.h"
#include "utils/uuid.h"

typedef struct IdempotencyKey
{
	text	   *scope;
	text	   *name;
	pg_uuid_t	hash;			/* of both: what is indexed and locked */
} IdempotencyKey;

/*
 * Make a key, by the rules that a new key must keep.  A name or scope that is
 * NULL is one that the user left out or gave as NULL.  Raises IK400 where a
 * rule is broken.
 */
extern void make_new_key(IdempotencyKey *key, text *name, text *scope);

/*
 * The same for a key that was claimed before: the settings that bound its
 * length may have changed since, so they do not apply.
 */
extern void make_known_key(IdempotencyKey *key, text *name, text *scope);

/* An argument of type text, NULL where it is NULL. */
extern text *text_from_arg(FunctionCallInfo fcinfo, int arg);

/* Whether two texts are equal, byte for byte. */
extern bool same_text(const text *a, const text *b);

#endif							/* IDEMPOTENCY_KEYNAME_H */
