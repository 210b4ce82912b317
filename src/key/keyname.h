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
 * Scopes with this prefix hold the keys that issue() has issued, one row for
 * each subject.  No key can be claimed in such a scope.
 */
#define RESERVED_SCOPE	"idempotency.issue/"

/* Most bytes of a scope. */
#define SCOPE_LENGTH_LIMIT	1000

/*
 * Raise IK400 for a scope that is too long, or that begins as JSON does: then
 * the caller has passed a request in place of the scope.
 */
extern void check_scope(const text *scope);

/* Whether the scope is one that begins with RESERVED_SCOPE. */
extern bool scope_is_reserved(const text *scope);

/* Raise IK400 if the scope is reserved. */
extern void check_scope_not_reserved(const text *scope);

/*
 * Make a key.  A name or scope is NULL if the user has left it out or given it
 * as NULL.  Raises IK400 for these, for an empty name, and for a scope that
 * check_scope() refuses.
 */
extern void make_key(IdempotencyKey *key, text *name, text *scope);

/* Set the hash of a key that was read from a row. */
extern void hash_key(IdempotencyKey *key);

/* The 64 bits that name the key's lock. */
extern uint64 key_lock_bits(const pg_uuid_t *hash);

/*
 * Raise IK400 if a new key has a length that is not allowed; or, for a key
 * that was claimed before, if no setting allows that length.  The settings may
 * have changed since that claim.
 */
extern void check_new_key_length(const IdempotencyKey *key, int min_length);
extern void check_key_not_too_long(const text *name);
extern void check_known_key_length(const IdempotencyKey *key);

/* A key's name or a scope for a message, which shows its first bytes at most. */
extern const char *key_in_message(const text *name);
extern const char *scope_in_message(const text *scope);

/* An argument of type text; NULL if the argument is null. */
extern text *text_from_arg(FunctionCallInfo fcinfo, int arg);

/* Whether two texts are equal, byte for byte. */
extern bool same_text(const text *a, const text *b);

/* Whether two keys are equal. */
static inline bool
same_key(const IdempotencyKey *a, const IdempotencyKey *b)
{
	return memcmp(&a->hash, &b->hash, sizeof(pg_uuid_t)) == 0 &&
		same_text(a->name, b->name) && same_text(a->scope, b->scope);
}

#endif							/* IDEMPOTENCY_KEYNAME_H */
