/*-------------------------------------------------------------------------
 *
 * leaf.h
 *	  The leaves of keys that one call has open; for the local store only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_LEAF_H
#define IDEMPOTENCY_LEAF_H

#include "store/store.h"

/*
 * Open a leaf unless it is open.  Raises OBJECT_NOT_IN_PREREQUISITE_STATE if
 * its columns are not those that this library knows.
 */
extern void leaf_open(Store *store, int leaf);

/* The same without waiting; false if the leaf is locked against writers. */
extern bool leaf_open_if_free(Store *store, int leaf);

/*
 * Open a leaf whose slot is past for reading.  Returns false if the slot is
 * being turned; then no transaction in progress has written to it.
 */
extern bool leaf_open_past(Store *store, int leaf);

/* Open a leaf for writing, locked to the end of the transaction. */
extern void leaf_write(Store *store, int leaf);

/* Open the index of an open leaf. */
extern void leaf_open_index(Store *store, int leaf);

/* Close a leaf before the call ends. */
extern void leaf_close(Store *store, int leaf);

/* store_refresh() and store_close() of the local store. */
extern void leaf_refresh(Store *store);
extern void leaf_close_all(Store *store);

/*
 * A tuple slot to read rows into, and one to write them from.  All leaves have
 * the same columns, so one slot of each kind is enough; the given leaf must be
 * open.
 */
extern TupleTableSlot *leaf_read_tts(Store *store, int leaf);
extern TupleTableSlot *leaf_write_tts(Store *store, int leaf);

#endif							/* IDEMPOTENCY_LEAF_H */
