/*-------------------------------------------------------------------------
 *
 * place.h
 *	  The places of the rows that the current transaction has written.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_PLACE_H
#define IDEMPOTENCY_PLACE_H

#include "key/keyname.h"
#include "storage/itemptr.h"

typedef struct Place
{
	TransactionId xid;			/* top-level transaction that has written it */
	SubTransactionId subtransaction;	/* in which it has */
	uint32		hash;			/* bits of the key's that don't number the
								 * entry */
	ItemPointerData tid;
	int16		leaf;
} Place;

/* Remember where the current transaction has written the key's row. */
extern void remember_place(const IdempotencyKey *key, int leaf, const ItemPointerData *tid);

/*
 * The place of the key's row if the current transaction has written it there and
 * the tables are as they were then; or NULL.
 */
extern const Place *place_of(const IdempotencyKey *key);

/*
 * The next place where the current transaction has written a row; NULL at the
 * end.  The position is zero for the first call.
 */
extern const Place *next_place(int *position);

#endif							/* IDEMPOTENCY_PLACE_H */
