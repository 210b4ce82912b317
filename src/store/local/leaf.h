/*-------------------------------------------------------------------------
 *
 * leaf.h
 *	  The leaves that one call has open, of the local store.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_LEAF_H
#define IDEMPOTENCY_LEAF_H

#include "executor/tuptable.h"
#include "storage/lockdefs.h"
#include "store/local/wheel.h"

/* The tables of the local store that one call has open. */
typedef struct Leaves
{
	Wheel		wheel;
	Relation	heap[LEAVES];
	Relation	index[LEAVES];
	LOCKMODE	lock[LEAVES];	/* when it was opened */
	bool		kept[LEAVES];	/* locked for writing, to the end of the
								 * transaction */
	TupleTableSlot *read_tts;
	TupleTableSlot *write_tts;
	MemoryContext context;		/* for allocations until they are closed */
} Leaves;

/*
 * Begin with no leaf open.  Leaves allocate in the current memory context,
 * which must live until leaves_close().
 */
extern void leaves_init(Leaves *leaves);

/*
 * Close all leaves.  Those written stay locked to the end of the transaction.
 */
extern void leaves_close(Leaves *leaves);

/*
 * Open a leaf unless it is open.  Raises OBJECT_NOT_IN_PREREQUISITE_STATE if
 * its columns are not those that this library knows.
 */
extern void leaf_open(Leaves *leaves, int leaf);

/* The same without waiting; false if the leaf is locked against writers. */
extern bool leaf_open_if_free(Leaves *leaves, int leaf);

/*
 * Open a leaf whose slot is past for reading.  Returns false if the slot is
 * being turned; then no transaction in progress has written to it.
 */
extern bool leaf_open_past(Leaves *leaves, int leaf);

/* Open a leaf for writing, locked to the end of the transaction. */
extern void leaf_write(Leaves *leaves, int leaf);

/* Open the index of an open leaf. */
extern void leaf_open_index(Leaves *leaves, int leaf);

/* Whether an open leaf has other indexes than the one by which keys are found. */
extern bool leaf_has_other_indexes(int leaf);

/* Close an open leaf before the call ends. */
extern void leaf_close(Leaves *leaves, int leaf);

/*
 * A tuple slot to read rows into, and one to write them from.  All leaves have
 * the same columns, so one slot of each kind is enough; the given leaf must be
 * open.
 */
extern TupleTableSlot *leaf_read_tts(Leaves *leaves, int leaf);
extern TupleTableSlot *leaf_write_tts(Leaves *leaves, int leaf);

#endif							/* IDEMPOTENCY_LEAF_H */
