/*-------------------------------------------------------------------------
 *
 * statement.h
 *	  Statements on the table of the distributed store: the role that they run
 *	  as, and how long they wait.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_STATEMENT_H
#define IDEMPOTENCY_STATEMENT_H

#include "store/distributed/distributed_table.h"
#include "store/wait.h"
#include "executor/spi.h"

typedef enum StatementKind
{
	STATEMENT_CLAIM,			/* an insertion, of fewer columns */
	STATEMENT_INSERT,
	STATEMENT_END,				/* an update, of fewer columns */
	STATEMENT_UPDATE,
	STATEMENT_PROBE_FOR_UPDATE,
	STATEMENT_PROBE,
	STATEMENT_DELETE,
	STATEMENT_LOCK,				/* of the metadata of the row's shard */
	STATEMENTS
} StatementKind;

/* A statement on the row of a key. */
typedef struct Statement
{
	/* in */
	const DistributedTable *table;
	StatementKind kind;
	const text *scope;
	Datum		values[DISTRIBUTED_PARAMETERS];
	bool		isnull[DISTRIBUTED_PARAMETERS];

	/* out */
	uint64		rows;			/* inserted, changed or found */
	Datum		results[DISTRIBUTED_RESULTS];	/* of the first row, if there
												 * is one */
	bool		result_isnull[DISTRIBUTED_RESULTS];
} Statement;

/* Prepare to run a statement; the hash and tenant of the key are set. */
extern void begin_statement(Statement *statement, StatementKind kind, const IdempotencyKey *key);
extern void set_parameter(Statement *statement, int number, Datum value);

/*
 * Run it.  Returns false, with nothing done, if it waited for another
 * transaction longer than the limit allows.  Each wait may take a millisecond.
 * Results are allocated in the current memory context.
 */
extern bool run_statement(Statement *statement, const WaitLimit *limit, StatsEntry *stats);

/*
 * Begin to run statements on the table: check the caller's privileges, and
 * override the caller's settings that could affect them, such as search_path.
 * Raises INSUFFICIENT_PRIVILEGE.  Returns the argument for the end.
 */
extern int	begin_as_caller(const DistributedTable *table);
extern void end_as_caller(int nest_level);

#endif							/* IDEMPOTENCY_STATEMENT_H */
