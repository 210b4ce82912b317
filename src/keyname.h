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
 * Scopes that begin so hold what issue() knows of its subjects; no key can be
 * claimed there.
 */
#define RESERVED_SCOPE	"idempotency.issue/"

/* Make a key of a name and a scope that are known to be good. */
extern void make_key(IdempotencyKey *key, text *name, text *scope);

/* Raise IK400 where a new key's name is longer, or shorter, than the settings allow. */
extern void check_key_length(const text *name);
extern void check_key_not_too_long(const text *name);

/* Raise IK400 where the scope is one that begins with RESERVED_SCOPE. */
extern void check_scope_not_reserved(const text *scope);

/*
 * Make a key of the arguments at the given positions of a function call, by
 * the rules that a new key must keep.  Raises IK400 where it breaks one.
 */
extern void new_key_from_args(IdempotencyKey *key, FunctionCallInfo fcinfo,
							  int name_arg, int scope_arg);

/*
 * The same for a key that was claimed before: the settings that bound its
 * length may have changed since, so they do not apply.
 */
extern void known_key_from_args(IdempotencyKey *key, FunctionCallInfo fcinfo,
								int name_arg, int scope_arg);

/* Whether two texts are equal, byte for byte. */
extern bool same_text(const text *a, const text *b);

#endif							/* IDEMPOTENCY_KEYNAME_H */
