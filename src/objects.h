/*-------------------------------------------------------------------------
 *
 * objects.h
 *	  The extension's own tables, indexes and types, by OID.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_OBJECTS_H
#define IDEMPOTENCY_OBJECTS_H

#include "access/tupdesc.h"

#define WHEEL_SLOTS		8

/* The tables that hold keys: a leaf for each slot of the wheel, and keys_long. */
#define LEAF_LONG		WHEEL_SLOTS
#define LEAVES			(WHEEL_SLOTS + 1)

/*
 * What distribute() creates: the table of the distributed store, and, on Citus,
 * the function that returns the policies of all nodes.
 */
#define DISTRIBUTED_KEYS	"distributed_keys"
#define DISTRIBUTED_POLICY	"distributed_policy"

typedef struct Objects
{
	Oid			owner;			/* of all of these tables */
	Oid			schema;
	Oid			keys;
	Oid			wheel;
	Oid			policy;
	Oid			leaf[LEAVES];
	Oid			leaf_index[LEAVES];
	Oid			keys_type;		/* row type of keys */
	Oid			claim_result_type;
	Oid			distributed_keys;	/* InvalidOid: there is none */
	Oid			distributed_policy; /* the same */
	Oid			citus_nodes;	/* Citus's table of nodes; InvalidOid: none */

	/* a table with a trigger that is not the extension's; InvalidOid: none */
	Oid			foreign_table;
	NameData	foreign_trigger;
} Objects;

/*
 * The current OIDs.  Raises UNDEFINED_OBJECT if the extension is not installed
 * in this database, and OBJECT_NOT_IN_PREREQUISITE_STATE if a table is of
 * another kind or owner than the extension gave it, or unlogged.  The pointer
 * is valid until invalidation messages are next accepted, that is until a
 * relation is locked.
 *
 * Call it again after locking one of the tables, before using the table: the
 * tables may have changed during the wait for the lock.
 */
extern const Objects *objects(void);

/*
 * A number that rises whenever one of the tables may have been redefined or
 * emptied.  Data that was derived from the tables under a lower number is
 * outdated.
 */
extern uint64 objects_generation(void);

/*
 * Raise OBJECT_NOT_IN_PREREQUISITE_STATE if the columns of a table or
 * composite type of the extension are not of these types.  Columns are read by
 * number.  There may be more that have been dropped, which are null in what is
 * written.
 */
extern void check_columns(const char *name, TupleDesc desc, const Oid *types, int count);

/*
 * Raise FEATURE_NOT_SUPPORTED if one of the tables has a trigger that is not
 * the extension's.  Call it before a write, with the table locked: CREATE
 * TRIGGER conflicts with that lock, and the messages of an earlier CREATE
 * TRIGGER have arrived by then.
 */
extern void check_triggers(void);

/* Name of a relation of the extension, quoted and with its schema. */
extern char *object_name(Oid relid);

/* Listen to the messages about the tables; called when the library is loaded. */
extern void watch_objects(void);

#endif							/* IDEMPOTENCY_OBJECTS_H */
