/*-------------------------------------------------------------------------
 *
 * guard_keys.h
 *	  The keys between the guard's two triggers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_GUARD_KEYS_H
#define IDEMPOTENCY_GUARD_KEYS_H

#include "keyname.h"
#include "utils/timestamp.h"

typedef struct GuardedKey
{
	pg_uuid_t	hash;			/* of the key; what it is found by */
	bool		claimed;		/* by the guard; the next three are set */
	bool		moving;			/* the row comes from another partition */
	text	   *scope;
	text	   *name;
	TimestampTz claimed_at;
} GuardedKey;

/* The entry of a key, NULL where there is none. */
extern GuardedKey *find_guarded_key(const IdempotencyKey *key);

/* Note that the guard has claimed the key, or that the key's row moves. */
extern void remember_claim(const IdempotencyKey *key, TimestampTz claimed_at);
extern void remember_move(const IdempotencyKey *key);

/* The key is completed, or the row has moved: the entry may be gone then. */
extern void forget_guarded_key(GuardedKey *entry);
extern void forget_move(GuardedKey *entry);

#endif							/* IDEMPOTENCY_GUARD_KEYS_H */
