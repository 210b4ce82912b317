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
extern void storeleaf_open(Store *store, int leaf);

/* The same without waiting; false if the leaf is locked against writers. */
extern bool storeleaf_open_if_free(Store *store, int leaf);

/*
 * Open a leaf whose slot is past for reading.  Returns false if the slot is
 * being turned; then no transaction in progress has written to it.
 */
extern bool storeleaf_open_past(Store *store, int leaf);

/* Open a leaf for writing, locked to the end of the transaction. */
extern void storeleaf_write(Store *store, int leaf);

/* Open the index of an open leaf. */
extern void storeleaf_open_index(Store *store, int leaf);

/* Close a leaf before the call ends. */
extern void storeleaf_close(Store *store, int leaf);

/* store_refresh() and store_close() of the local store. */
extern void storeleaf_refresh(Store *store);
extern void storeleaf_close_all(Store *store);

/*
 * A tuple slot to read rows into, and one to write them from.  All leaves have
 * the same columns, so one slot of each kind is enough; the given leaf must be
 * open.
 */
extern TupleTableSlot *storeleaf_read_slot(Store *store, int leaf);
extern TupleTableSlot *storeleaf_write_slot(Store *store, int leaf);

#endif							/* IDEMPOTENCY_LEAF_H */
