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
 * How many nodes of the cluster hold shards; zero where there is no Citus.
 * Reads Citus' table of nodes: for callers who remember the answer until
 * objects_generation() rises.
 */
extern int64 citus_nodes_with_shards(void);

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
