/*-------------------------------------------------------------------------
 *
 * citus.h
 *	  What there is to know of Citus in this database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_CITUS_H
#define IDEMPOTENCY_CITUS_H

/* Whether the extension citus is here. */
extern bool citus_is_here(void);

/*
 * Whether the cluster has nodes but this one, active or with rows.  Reads Citus'
 * tables: for callers who remember the answer until objects_generation() rises.
 */
extern bool citus_has_other_nodes(void);

/* Whether this is the cluster's coordinator, or there is no Citus. */
extern bool citus_is_coordinator(void);

/* How a table is spread over the cluster. */
typedef struct CitusTable
{
	bool		known;			/* to Citus; the rest is valid */
	char	   *distribution_column;	/* NULL where its rows are not spread
										 * by the hash of a column */
} CitusTable;

extern void describe_citus_table(CitusTable *table, Oid relid);

#endif							/* IDEMPOTENCY_CITUS_H */
