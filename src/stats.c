/*-------------------------------------------------------------------------
 *
 * stats.c
 *	  Counters of the events of each policy's scope.
 *
 * The counters are an array in shared memory, which only a library that is
 * loaded with the server can ask for; without it nothing is counted.  An event
 * is counted when it happens, whether or not its transaction commits.  A crash
 * of the server resets the counters.
 *
 * An entry belongs to a database and the scope of a policy; claims that no
 * policy covers, and sweeps, belong to the empty scope.  A backend finds the
 * entry once, keeps the pointer with the policy (policy.c), and from then on
 * an event is one atomic addition, without a lock.
 *
 * So an entry must keep its meaning while there may be a pointer to it.
 * Therefore it outlives its policy, a reset only sets its counters to zero,
 * and it is reused only after its database was dropped, when no backend is
 * connected to that database.  Dropped databases are searched for when all
 * entries are in use.  If none can be freed, the scopes of all databases share
 * one additional entry.
 *
 * The lock protects the database and scope of each entry, and those data of a
 * sweep that are not counters.  No other lock is taken while it is held.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "stats.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(idempotency_stats_counters);
PG_FUNCTION_INFO_V1(idempotency_stats_reset);

#define STATS_ENTRIES	512		/* less than a kilobyte each */
#define TEXT_SIZE		256		/* longer scopes and messages are cut */

struct StatsEntry
{
	/* Begins a cache line; nothing else in it changes often. */
	pg_atomic_uint64 counters[STATS_COUNTERS];

	/* The rest is protected by the lock. */
	Oid			database;		/* InvalidOid: free */
	char		scope[TEXT_SIZE];
	TimestampTz counting_since;
	TimestampTz last_sweep;		/* or DT_NOBEGIN */
	char		last_sweep_error[TEXT_SIZE];	/* empty: it succeeded */
};

typedef union PaddedStatsEntry
{
	StatsEntry	entry;
	char		padding[TYPEALIGN(PG_CACHE_LINE_SIZE, sizeof(StatsEntry))];
} PaddedStatsEntry;

typedef struct SharedStats
{
	/* The last entry is for the scopes for which there is no room. */
	PaddedStatsEntry entries[STATS_ENTRIES + 1];
	LWLock	   *lock;
	int			used;			/* entries from here on were never used */
} SharedStats;

enum
{
	COLUMN_SCOPE,
	COLUMN_COUNTER,				/* the counters, as in StatsCounter */
	COLUMN_LAST_SWEEP = COLUMN_COUNTER + STATS_COUNTERS,
	COLUMN_LAST_SWEEP_ERROR,
	COLUMN_COUNTING_SINCE,
	COLUMNS
};

static SharedStats *shared = NULL;
static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static inline StatsEntry *
entry_number(int i)
{
	return &shared->entries[i].entry;
}

static inline StatsEntry *
entry_without_room(void)
{
	return entry_number(STATS_ENTRIES);
}

/* Copy as many whole characters as there is room for. */
static void
copy_text(char *to, const char *from, int length)
{
	length = pg_mbcliplen(from, length, TEXT_SIZE - 1);
	memcpy(to, from, length);
	to[length] = '\0';
}

/* Begin to count from zero. */
static void
clear_entry(StatsEntry *entry, TimestampTz now)
{
	for (int counter = 0; counter < STATS_COUNTERS; counter++)
		pg_atomic_write_u64(&entry->counters[counter], 0);
	entry->counting_since = now;
	entry->last_sweep = DT_NOBEGIN;
	entry->last_sweep_error[0] = '\0';
}

static void
request_memory(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(sizeof(SharedStats));
	RequestNamedLWLockTranche("idempotency", 1);
}

static void
start_counting(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("idempotency", sizeof(SharedStats), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(SharedStats));
		shared->lock = &GetNamedLWLockTranche("idempotency")->lock;
		for (int i = 0; i <= STATS_ENTRIES; i++)
		{
			for (int counter = 0; counter < STATS_COUNTERS; counter++)
				pg_atomic_init_u64(&entry_number(i)->counters[counter], 0);
		}
		clear_entry(entry_without_room(), GetCurrentTimestamp());
	}
	LWLockRelease(AddinShmemInitLock);
}

void
share_stats(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_counting;
}

/* The entry of a scope of this database, or NULL.  Called under the lock. */
static StatsEntry *
find_entry(const char *scope)
{
	for (int i = 0; i < shared->used; i++)
	{
		StatsEntry *entry = entry_number(i);

		if (entry->database == MyDatabaseId && strcmp(entry->scope, scope) == 0)
			return entry;
	}
	return NULL;
}

/*
 * Find the entry of a scope of this database, or make it.  NULL if there is no
 * room.
 */
static StatsEntry *
find_or_make_entry(const char *scope)
{
	StatsEntry *entry;

	Assert(OidIsValid(MyDatabaseId));
	LWLockAcquire(shared->lock, LW_SHARED);
	entry = find_entry(scope);
	LWLockRelease(shared->lock);
	if (entry != NULL)
		return entry;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	entry = find_entry(scope);
	for (int i = 0; i < STATS_ENTRIES && entry == NULL; i++)
	{
		if (OidIsValid(entry_number(i)->database))
			continue;
		entry = entry_number(i);
		clear_entry(entry, GetCurrentTimestamp());
		memcpy(entry->scope, scope, strlen(scope) + 1);
		entry->database = MyDatabaseId;
		shared->used = Max(shared->used, i + 1);
	}
	LWLockRelease(shared->lock);
	return entry;
}

/* Free the entries of dropped databases. */
static void
free_entries(void)
{
	for (int i = 0; i < STATS_ENTRIES; i++)
	{
		StatsEntry *entry = entry_number(i);
		Oid			database;

		LWLockAcquire(shared->lock, LW_SHARED);
		database = entry->database;
		LWLockRelease(shared->lock);
		if (!OidIsValid(database) ||
			SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database)))
			continue;

		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		if (entry->database == database)
			entry->database = InvalidOid;
		LWLockRelease(shared->lock);
	}
}

StatsEntry *
stats_entry(const char *scope, int length)
{
	char		name[TEXT_SIZE];
	StatsEntry *entry;

	if (shared == NULL)
		return NULL;
	copy_text(name, scope, length);
	entry = find_or_make_entry(name);
	if (entry == NULL)
	{
		free_entries();
		entry = find_or_make_entry(name);
	}
	return entry != NULL ? entry : entry_without_room();
}

void
stats_increase(StatsEntry *entry, StatsCounter counter, uint64 by)
{
	pg_atomic_fetch_add_u64(&entry->counters[counter], by);
}

void
stats_count_sweep(int slots_cleared, int64 rows_deleted, const char *error)
{
	StatsEntry *entry;

	if (shared == NULL)
		return;
	entry = find_or_make_entry("");
	if (entry == NULL)
		return;
	stats_increase(entry, STATS_SWEEPS, 1);
	stats_increase(entry, STATS_SLOTS_CLEARED, slots_cleared);
	stats_increase(entry, STATS_ROWS_DELETED, rows_deleted);
	if (error == NULL)
		error = "";
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	entry->last_sweep = GetCurrentTimestamp();
	copy_text(entry->last_sweep_error, error, strlen(error));
	LWLockRelease(shared->lock);
}

static bool
has_counted(StatsEntry *entry)
{
	for (int counter = 0; counter < STATS_COUNTERS; counter++)
	{
		if (pg_atomic_read_u64(&entry->counters[counter]) != 0)
			return true;
	}
	return false;
}

static Datum
counter_datum(StatsEntry *entry, StatsCounter counter)
{
	uint64		value = pg_atomic_read_u64(&entry->counters[counter]);
	Interval   *interval;

	if (counter != STATS_TIME_WAITED)
		return Int64GetDatum((int64) value);
	interval = palloc0(sizeof(Interval));
	interval->time = (int64) value;
	return IntervalPGetDatum(interval);
}

/* The values of an entry's row.  Called under the lock. */
static void
entry_values(StatsEntry *entry, Datum *values, bool *isnull)
{
	bool		sweeps = OidIsValid(entry->database) && entry->scope[0] == '\0';

	memset(isnull, false, COLUMNS * sizeof(bool));
	values[COLUMN_SCOPE] = CStringGetTextDatum(entry->scope);
	isnull[COLUMN_SCOPE] = entry == entry_without_room();
	for (int counter = 0; counter < STATS_COUNTERS; counter++)
	{
		values[COLUMN_COUNTER + counter] = counter_datum(entry, counter);
		isnull[COLUMN_COUNTER + counter] = counter >= STATS_SWEEPS && !sweeps;
	}
	values[COLUMN_LAST_SWEEP] = TimestampTzGetDatum(entry->last_sweep);
	isnull[COLUMN_LAST_SWEEP] = !sweeps || entry->last_sweep == DT_NOBEGIN;
	values[COLUMN_LAST_SWEEP_ERROR] = CStringGetTextDatum(entry->last_sweep_error);
	isnull[COLUMN_LAST_SWEEP_ERROR] = !sweeps || entry->last_sweep_error[0] == '\0';
	values[COLUMN_COUNTING_SINCE] = TimestampTzGetDatum(entry->counting_since);
}

/*
 * stats_counters() returns setof record
 *
 * The counters of this database: one row for each scope, the empty one always
 * among them, and one with scope NULL if there are scopes for which there was
 * no room.  There is no row if nothing is counted.
 */
Datum
idempotency_stats_counters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	(void) stats_entry("", 0);
	for (int i = 0; shared != NULL && i <= STATS_ENTRIES; i++)
	{
		StatsEntry *entry = entry_number(i);
		Datum		values[COLUMNS];
		bool		isnull[COLUMNS];
		bool		shown;

		LWLockAcquire(shared->lock, LW_SHARED);
		shown = entry == entry_without_room() ? has_counted(entry) :
			entry->database == MyDatabaseId;
		if (shown)
			entry_values(entry, values, isnull);
		LWLockRelease(shared->lock);
		if (shown)
			tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
	}
	return (Datum) 0;
}

/* stats_reset(): sets to zero what stats_counters() shows. */
Datum
idempotency_stats_reset(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTimestamp();

	if (shared == NULL)
		PG_RETURN_VOID();
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i <= STATS_ENTRIES; i++)
	{
		StatsEntry *entry = entry_number(i);

		if (entry->database == MyDatabaseId || entry == entry_without_room())
			clear_entry(entry, now);
	}
	LWLockRelease(shared->lock);
	PG_RETURN_VOID();
}
