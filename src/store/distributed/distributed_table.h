/*-------------------------------------------------------------------------
 *
 * distributed_table.h
 *	  The table of the distributed store, for that store alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_DISTRIBUTED_TABLE_H
#define IDEMPOTENCY_DISTRIBUTED_TABLE_H

#include "store/keyrow.h"
#include "storage/lockdefs.h"

/*
 * Its columns by number: those of keys, of which claim_xid and slot don't exist
 * here, and some more.  The parameters of its statements have the same numbers,
 * and one more.
 */
enum
{
	DISTRIBUTED_VERSION = KEYS_COLUMNS,
	DISTRIBUTED_CLAIM_VERSION,
	DISTRIBUTED_TENANT,
	DISTRIBUTED_COLUMNS,
	DISTRIBUTED_OLD_VERSION = DISTRIBUTED_COLUMNS,
	DISTRIBUTED_PARAMETERS
};

typedef struct DistributedTable
{
	Oid			relid;
	char		name[2 * (2 * NAMEDATALEN + 2)];	/* quoted, with its schema */
	Oid			tenant_type;
	bool		one_tenant;		/* the tenant is '', whatever the scope */
	bool		on_citus;		/* which distributes it */
	uint64		made;			/* rises when statements must be prepared
								 * again */
} DistributedTable;

/*
 * The current table, locked to the end of the transaction: in AccessShareLock
 * against undistribute(), or, for a write, in RowExclusiveLock, which also
 * conflicts with CREATE TRIGGER.  Valid until objects_generation() rises.
 * Raises OBJECT_NOT_IN_PREREQUISITE_STATE if it lacks columns that this
 * version of the library knows, and T_R_SERIALIZATION_FAILURE if it has just
 * been dropped.
 */
extern const DistributedTable *distributed_table(LOCKMODE mode);

/* The tenant of a scope.  Raises IK400 if it names none. */
extern Datum tenant_of_scope(const DistributedTable *table, const text *scope);

/* The same, but returns false then; and an expression for the tenant of the column scope. */
extern bool find_tenant(const DistributedTable *table, const text *scope, Datum *tenant);
extern const char *tenant_expression(const DistributedTable *table);

/* The types that a tenant may be of. */
extern bool is_tenant_type(Oid type);

/* The types of the parameters. */
extern void parameter_types(const DistributedTable *table, Oid *types);

/* Which columns a statement writes, and what it lists of each. */
typedef enum ColumnSet
{
	COLUMNS_ALL,
	COLUMNS_KEYS,				/* those that keys has, too */
	COLUMNS_CHANGING,			/* those that don't name the key */
	COLUMNS_CLAIM,				/* those that a new claim may have a value for */
	COLUMNS_END					/* those that the end of a claim may change */
} ColumnSet;

typedef enum ColumnForm
{
	NAMES,
	PARAMETERS,
	ASSIGNMENTS
} ColumnForm;

/* Whether all columns of keys outside the set are null. */
extern bool null_outside(ColumnSet set, const bool *isnull);

extern char *column_list(ColumnSet set, ColumnForm form);

/* The columns that a statement returns, and their number. */
extern char *result_list(void);
#define DISTRIBUTED_RESULTS		(DISTRIBUTED_CLAIM_VERSION + 1)

extern char *create_table_command(const char *name, const char *tenant_type, bool one_tenant);

/*
 * Add the columns that the table lacks.  Returns their number, and their names,
 * which are texts.
 */
extern int	add_missing_columns(Oid relid, Datum *names);

#endif							/* IDEMPOTENCY_DISTRIBUTED_TABLE_H */
