/*-------------------------------------------------------------------------
 *
 * citus.h
 *	  What Citus knows of its nodes and tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_CITUS_H
#define IDEMPOTENCY_CITUS_H

/*
 * Whether the cluster has other nodes that are active or have rows.  It reads
 * Citus's tables, so callers keep the answer until objects_generation() rises.
 */
extern bool citus_has_other_nodes(void);

/*
 * Whether this node is the cluster's coordinator, or Citus is not installed.
 */
extern bool citus_is_coordinator(void);

/* How a table is distributed over the cluster. */
typedef struct CitusTable
{
	bool		known;			/* to Citus; if so, the rest is valid */
	char	   *distribution_column;	/* NULL if its rows are not
										 * distributed by the hash of a column */
} CitusTable;

extern void describe_citus_table(CitusTable *table, Oid relid);

#endif							/* IDEMPOTENCY_CITUS_H */
