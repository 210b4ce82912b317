/*-------------------------------------------------------------------------
 *
 * wheel_table.h
 *	  The table of the wheel: the upper bounds of the slots.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_WHEEL_TABLE_H
#define IDEMPOTENCY_WHEEL_TABLE_H

#include "storage/lockdefs.h"
#include "store/local/wheel.h"

/* Open the table, and check its columns once it is locked. */
extern Relation wheel_table_open(LOCKMODE mode);

/*
 * Read the upper bounds as they are committed; with own_turns, those of slots
 * that the current transaction has turned, too.
 */
extern void wheel_table_read(Wheel *wheel, bool own_turns);

/* Add an upper bound of a slot, of which the latest counts. */
extern void wheel_table_insert(Relation relation, int number, TimestampTz until);

/* Replace all upper bounds of a slot that is being turned with one. */
extern void wheel_table_replace(Relation relation, int number, TimestampTz until);

#endif							/* IDEMPOTENCY_WHEEL_TABLE_H */
