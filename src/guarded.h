/*-------------------------------------------------------------------------
 *
 * guarded.h
 *	  What the guard needs to know of a table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_GUARDED_H
#define IDEMPOTENCY_GUARDED_H

#include "nodes/bitmapset.h"
#include "utils/relcache.h"

/* Sets of columns hold attribute numbers. */
typedef struct GuardedTable
{
	Oid			root;			/* of its partitions; or the table itself */
	AttrNumber	key_column;
	text	   *scope;
	Bitmapset  *request;		/* what tells one request from another */
	Bitmapset  *primary_key;
	Bitmapset  *row;			/* all that have content in a trigger */
} GuardedTable;

/*
 * Describe a table by the arguments of its guard; where scope is NULL, the
 * table's default.  Raises IK400 where the table has no such column, the
 * column can't hold a key, or there is no primary key.
 */
extern void describe_guarded(GuardedTable *guarded, Relation relation,
							 const char *key_column, const char *scope);

/* Whether the mode is to raise duplicates, not to skip them; or IK400. */
extern bool mode_raises(const char *mode);

#endif							/* IDEMPOTENCY_GUARDED_H */
