/*-------------------------------------------------------------------------
 *
 * stats.h
 *	  Counters of the events of each policy's scope.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_STATS_H
#define IDEMPOTENCY_STATS_H

typedef enum StatsCounter
{
	/* claims, by outcome */
	STATS_NEW,
	STATS_RECOVERED,
	STATS_REPLAY,
	STATS_IN_PROGRESS,
	STATS_MISMATCH,
	STATS_EXPIRED,
	/* ends of claims */
	STATS_COMPLETIONS,
	STATS_FAILURES,
	STATS_RELEASES,
	/* commits refused because claims had not ended */
	STATS_UNFINISHED,
	/* waits for another session */
	STATS_WAITS,
	STATS_TIME_WAITED,			/* microseconds */
	/* sweeps; only if the scope is empty */
	STATS_SWEEPS,
	STATS_SLOTS_CLEARED,
	STATS_ROWS_DELETED,
	STATS_COUNTERS
} StatsCounter;

/* The counters of a scope in a database. */
typedef struct StatsEntry StatsEntry;

/*
 * Request the shared memory; called when the library is loaded.  Does nothing
 * if the library is loaded after the server's start: then nothing is counted.
 */
extern void share_stats(void);

/*
 * The counters of a policy's scope in this database, or NULL if nothing is
 * counted.  Valid for the life of the backend.  Called in a transaction.
 */
extern StatsEntry *stats_entry(const char *scope, int length);

extern void stats_increase(StatsEntry *entry, StatsCounter counter, uint64 by);

/* Add to a counter, or do nothing if nothing is counted. */
static inline void
stats_add(StatsEntry *entry, StatsCounter counter, uint64 by)
{
	if (entry != NULL)
		stats_increase(entry, counter, by);
}

static inline void
stats_count(StatsEntry *entry, StatsCounter counter)
{
	stats_add(entry, counter, 1);
}

/*
 * Count a sweep of this database, with the message of the error that ended
 * it, or NULL.  Needs a connection to the database, but no transaction, so that
 * it can be called after one has failed.
 */
extern void stats_count_sweep(int slots_cleared, int64 rows_deleted, const char *error);

#endif							/* IDEMPOTENCY_STATS_H */
