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
	pg_uuid_t	hash;			/* of both: what is indexed; see keyname.c */
} IdempotencyKey;

/*
 * Scopes that begin so hold what issue() knows of its subjects; no key can be
 * claimed there.
 */
#define RESERVED_SCOPE	"idempotency.issue/"

/* Most bytes of a scope. */
#define SCOPE_LENGTH_LIMIT	1000

/*
 * Raise IK400 for a scope that is too long, or that begins as JSON does: then
 * a request stands in the place of the scope.
 */
extern void check_scope(const text *scope);

/* Whether the scope is one that begins with RESERVED_SCOPE. */
extern bool scope_is_reserved(const text *scope);

/* Raise IK400 where it is. */
extern void check_scope_not_reserved(const text *scope);

/*
 * Make a key.  A name or scope that is NULL is one that the user left out or
 * gave as NULL.  Raises IK400 for these, for an empty name, and for what
 * check_scope() refuses.
 */
extern void make_key(IdempotencyKey *key, text *name, text *scope);

/* Set the hash of a key that was read from a row. */
extern void hash_key(IdempotencyKey *key);

/* The 64 bits that name the key's lock. */
extern uint64 key_lock_bits(const pg_uuid_t *hash);

/*
 * See that a key has a length that is allowed to a new one; or, where it was
 * claimed before and the bounds may have changed since, that any setting would
 * allow.  Raises IK400.
 */
extern void check_new_key_length(const IdempotencyKey *key, int min_length);
extern void check_key_not_too_long(const text *name);
extern void check_known_key_length(const IdempotencyKey *key);

/* A key's name or a scope for a message, which shows its first bytes at most. */
extern const char *key_in_message(const text *name);
extern const char *scope_in_message(const text *scope);

/* An argument of type text, NULL where it is NULL. */
extern text *text_from_arg(FunctionCallInfo fcinfo, int arg);

/* Whether two texts are equal, byte for byte. */
extern bool same_text(const text *a, const text *b);

/* Whether two keys are the same one. */
extern bool same_key(const IdempotencyKey *a, const IdempotencyKey *b);

#endif							/* IDEMPOTENCY_KEYNAME_H */
