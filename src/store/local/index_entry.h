/*-------------------------------------------------------------------------
 *
 * index_entry.h
 *	  Entering a row into the indexes of its leaf.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_INDEX_ENTRY_H
#define IDEMPOTENCY_INDEX_ENTRY_H

#include "key/keyname.h"
#include "storage/itemptr.h"
#include "store/local/leaf.h"

/*
 * Enter the row at the given place into the index that decides whether a key is
 * free.  Returns false if the index has another live entry of the key.
 */
extern bool enter_hash(Leaves *leaves, int leaf, const IdempotencyKey *key, ItemPointer tid);

/*
 * Enter the row into the other indexes of its leaf, if there are any; or only
 * into those that summarize pages.
 */
extern void enter_other_indexes(Leaves *leaves, int leaf, TupleTableSlot *tts,
								ItemPointer tid, bool only_summaries);

#endif							/* IDEMPOTENCY_INDEX_ENTRY_H */
