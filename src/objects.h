/*-------------------------------------------------------------------------
 *
 * objects.h
 *	  The extension's own tables, indexes and types, by OID.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_OBJECTS_H
#define IDEMPOTENCY_OBJECTS_H

#define WHEEL_SLOTS		8

/* The tables that hold keys: a leaf for each slot of the wheel, and keys_long. */
#define LEAF_LONG		WHEEL_SLOTS
#define LEAVES			(WHEEL_SLOTS + 1)

/* The table of the distributed store, which distribute() makes. */
#define DISTRIBUTED_KEYS	"distributed_keys"

typedef struct Objects
{
	Oid			keys;
	Oid			wheel;
	Oid			policy;
	Oid			leaf[LEAVES];
	Oid			leaf_index[LEAVES];
	Oid			keys_type;		/* row type of keys */
	Oid			claim_result_type;
	Oid			distributed_keys;	/* InvalidOid: there is none */
	Oid			citus_nodes;	/* likewise, Citus' list of its nodes */
} Objects;

/*
 * The OIDs as of now.  Raises UNDEFINED_OBJECT where the extension is not
 * installed in this database.  The pointer is good until invalidation
 * messages are next accepted, that is until a relation is locked.
 */
extern const Objects *objects(void);

/*
 * Rises whenever one of the tables may have been redefined or emptied, so
 * that what was derived from them is known to be old.
 */
extern uint64 objects_generation(void);

extern void watch_objects(void);

#endif							/* IDEMPOTENCY_OBJECTS_H */
