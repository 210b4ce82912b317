/*-------------------------------------------------------------------------
 *
 * distributed.c
 *	  The stored keys, in a table that Citus may distribute over many servers.
 *
 * One row for each key, in one table (distributed_table.c), read and written
 * by SQL statements (statement.c).  There is no lock of a key, since an
 * advisory lock has no effect on other servers.  The unique key of the table
 * decides, and a write locks its row.
 *
 * First a write, then a read: Citus may send a write that follows a read to a
 * placement that has moved away since (statement.c).  So:
 *
 *		claim		INSERT .. ON CONFLICT DO NOTHING.  If that is refused, the row
 *					is read, judged, and replaced if it still has the version
 *					that was read.  Otherwise it is read again.
 *		the others	UPDATE that changes nothing but the version and returns the
 *					row: from then on it is locked.  Nothing, if the
 *					transaction itself wrote the row last and still remembers
 *					it.
 *
 * What two sessions see of each other, A being first:
 *
 *		- A has inserted the row and runs: B's INSERT waits for A's end, and
 *		  is refused (A has committed) or done (A was rolled back, also to a
 *		  savepoint).  The wait runs out: B answers "in progress".
 *		- A and B have both read a lease that has run out: both replace that
 *		  version.  The second waits for the first, finds the version replaced,
 *		  and reads the new one.  So does a late owner.
 *		- A removes or sweeps the row that B has read: B's UPDATE finds nothing,
 *		  B reads again, finds nothing, and inserts.
 *		- Statements see what was committed when they began, at READ COMMITTED.
 *		  With an older snapshot B, after A, gets T_R_SERIALIZATION_FAILURE, from
 *		  the INSERT or the UPDATE.
 *		- A row that is inserted and not committed is not found by the UPDATE of
 *		  other sessions, which don't wait for it: for them the key has no owner.
 *
 * A crash leaves the committed rows; a committed claim is a lease.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "store/choice.h"
#include "store/distributed/distributed_scan.h"
#include "store/distributed/row_version.h"
#include "store/distributed/statement.h"
#include "store/store.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Claims with longer values are looked up when they are needed. */
#define MAX_VALUE		512

typedef union Value
{
	struct varlena header;
	char		data[MAX_VALUE];
} Value;

/* The claim that the transaction wrote last, as it is stored. */
static struct
{
	uint64		generation;		/* memory_generation() when it was written */
	IdempotencyKey key;
	KeyRow		row;

	/* What key and row point to. */
	Value		scope;
	Value		name;
	Value		fingerprint;
	Interval	ttl;
	Interval	lease;
}			last_claim;

static bool
fits(const void *value)
{
	return value == NULL || VARSIZE_ANY(value) <= MAX_VALUE;
}

/* The source may be the target. */
static void *
keep(void *target, const void *source, Size size)
{
	return source == NULL ? NULL : memmove(target, source, size);
}

static void *
keep_value(Value *target, const void *source)
{
	return source == NULL ? NULL : keep(target, source, VARSIZE_ANY(source));
}

/* Remember a row just written if it is a claim as claim() makes it. */
static void
remember(const IdempotencyKey *key, const KeyRow *row)
{
	last_claim.generation = 0;
	if (row->status != KEY_IN_PROGRESS ||
		row->recovery_point != NULL || row->state != NULL ||
		row->resource_id != NULL || row->response != NULL ||
		!fits(key->scope) || !fits(key->name) || !fits(row->fingerprint))
		return;
	last_claim.key = *key;
	last_claim.key.scope = keep_value(&last_claim.scope, key->scope);
	last_claim.key.name = keep_value(&last_claim.name, key->name);
	last_claim.row = *row;
	last_claim.row.fingerprint = keep_value(&last_claim.fingerprint, row->fingerprint);
	last_claim.row.ttl = keep(&last_claim.ttl, row->ttl, sizeof(Interval));
	last_claim.row.lease = keep(&last_claim.lease, row->lease, sizeof(Interval));
	last_claim.row.unfinished = keyrow_must_end(row);
	last_claim.generation = memory_generation();
}

static bool
is_last_claim(const IdempotencyKey *key)
{
	return last_claim.generation == memory_generation() && same_key(key, &last_claim.key);
}

/* ----------------------------------------------------------------
 *		The store
 * ----------------------------------------------------------------
 */

/* There is no lock: it is always granted. */
static bool
distributed_try_lock(const IdempotencyKey *key)
{
	return true;
}

static bool
distributed_lock(const IdempotencyKey *key, const WaitLimit *limit, StatsEntry *stats)
{
	return true;
}

static void
distributed_unlock(const IdempotencyKey *key)
{
}

/* No table is held open. */
static void
do_nothing(Store *store)
{
}

/* Fill in a probe from the result of a statement. */
static void
probe_from_results(const Statement *statement, const IdempotencyKey *key, Probe *probe)
{
	IdempotencyKey found;

	probe->writer = InvalidTransactionId;
	probe->found = statement->rows > 0;
	if (!probe->found)
		return;
	distributed_row(&found, &probe->row, statement->results, statement->result_isnull);
	keyrow_check_same(key, same_key(key, &found));
}

static void
distributed_probe(Store *store, const IdempotencyKey *key,
				  TimestampTz now, TimestampTz hint, Probe *probe)
{
	WaitLimit	unlimited;
	Statement	statement;

	wait_unlimited(&unlimited);
	begin_statement(&statement, STATEMENT_PROBE, key);
	(void) run_statement(&statement, &unlimited, NULL);
	probe_from_results(&statement, key, probe);
}

static bool
distributed_probe_for_update(Store *store, const IdempotencyKey *key,
							 TimestampTz now, TimestampTz hint, const WaitLimit *limit,
							 StatsEntry *stats, Probe *probe)
{
	Statement	statement;
	pg_uuid_t	version;

	if (is_last_claim(key))
	{
		probe->found = true;
		probe->writer = InvalidTransactionId;
		probe->row = last_claim.row;
		return true;
	}
	new_version(&version);
	begin_statement(&statement, STATEMENT_PROBE_FOR_UPDATE, key);
	set_parameter(&statement, DISTRIBUTED_VERSION, UUIDPGetDatum(&version));
	if (!run_statement(&statement, limit, stats))
		return false;
	probe_from_results(&statement, key, probe);
	return true;
}

/*
 * The statement that writes a row.  Citus evaluates and prints each value, and
 * the server of the row parses it: the two statements that requests usually
 * run leave out values that are null or unchanged.
 */
static StatementKind
statement_to_write(const IdempotencyKey *key, const KeyRow *row, const bool *isnull)
{
	if (!row->stored)
		return null_outside(COLUMNS_CLAIM, isnull) ? STATEMENT_CLAIM : STATEMENT_INSERT;

	/* The row that distributed_probe_for_update() returned. */
	if (is_last_claim(key) &&
		row->attempt == last_claim.row.attempt &&
		row->claimed_at == last_claim.row.claimed_at &&
		row->fingerprint == last_claim.row.fingerprint &&
		row->ttl == last_claim.row.ttl &&
		row->lease == last_claim.row.lease &&
		row->recovery_point == NULL && row->state == NULL)
		return STATEMENT_END;
	return STATEMENT_UPDATE;
}

static WriteResult
distributed_write(Store *store, const IdempotencyKey *key, KeyRow *row,
				  const WaitLimit *limit, StatsEntry *stats)
{
	Statement	statement;
	Datum		values[KEYS_COLUMNS];
	bool		isnull[KEYS_COLUMNS];
	pg_uuid_t	old_version = row->version;

	new_version(&row->version);
	if (row->claimed_here && !is_own_version(&row->claim_version))
		row->claim_version = row->version;
	row->leaf = LEAF_LONG;
	keyrow_values(key, row, values, isnull);

	begin_statement(&statement, statement_to_write(key, row, isnull), key);

	/*
	 * Check with the table locked: Citus may have ceased to distribute it
	 * meanwhile.
	 */
	if (!row->stored)
		check_claims_admitted();
	memcpy(statement.values, values, sizeof(values));
	memcpy(statement.isnull, isnull, sizeof(isnull));
	set_parameter(&statement, DISTRIBUTED_VERSION, UUIDPGetDatum(&row->version));
	set_parameter(&statement, DISTRIBUTED_CLAIM_VERSION, UUIDPGetDatum(&row->claim_version));
	if (row->stored)
		set_parameter(&statement, DISTRIBUTED_OLD_VERSION, UUIDPGetDatum(&old_version));
	if (!run_statement(&statement, limit, stats))
		return WRITE_OUT_OF_TIME;
	if (statement.rows == 0)
		return WRITE_REFUSED;
	row->stored = true;
	row->own = true;
	remember(key, row);
	return WRITE_DONE;
}

static void
distributed_delete(Store *store, const IdempotencyKey *key, KeyRow *row)
{
	WaitLimit	unlimited;
	Statement	statement;

	wait_unlimited(&unlimited);
	last_claim.generation = 0;
	begin_statement(&statement, STATEMENT_DELETE, key);
	(void) run_statement(&statement, &unlimited, NULL);
}

/* Keep the first unfinished claim of the current transaction that is visited. */
static void
keep_claim(const IdempotencyKey *key, const KeyRow *row, TransactionId holder,
		   bool replaced, void *kept)
{
	IdempotencyKey *first = kept;
	MemoryContext caller;

	if (first->name != NULL || !row->unfinished)
		return;
	/* The memory of the query ends with it. */
	caller = MemoryContextSwitchTo(TopTransactionContext);
	first->scope = DatumGetTextPCopy(PointerGetDatum(key->scope));
	first->name = DatumGetTextPCopy(PointerGetDatum(key->name));
	MemoryContextSwitchTo(caller);
}

/* Reads the rows, those of each shard on its server. */
static bool
find_unfinished(Store *store, IdempotencyKey *key)
{
	key->name = NULL;
	distributed_visit_unfinished(store, NULL, GetCurrentTimestamp(), keep_claim, key);
	return key->name != NULL;
}

/* Insert and delete a row that counts as absent. */
static bool
distributed_touch(const IdempotencyKey *key, const WaitLimit *limit, StatsEntry *stats)
{
	KeyRow		row = {
		.status = KEY_RELEASED,
		.status_code = NO_STATUS_CODE,
		.lease_until = NO_TIME,
		.claimed_at = NO_TIME,
		.completed_at = NO_TIME,
		.expires_at = GetCurrentTimestamp()
	};
	WriteResult result = distributed_write(NULL, key, &row, limit, stats);

	if (result == WRITE_DONE)
		distributed_delete(NULL, key, &row);
	return result != WRITE_OUT_OF_TIME;
}

const StoreMethods distributed_store = {
	.writes_first = true,
	.try_lock = distributed_try_lock,
	.lock = distributed_lock,
	.unlock = distributed_unlock,
	.refresh = do_nothing,
	.close = do_nothing,
	.probe = distributed_probe,
	.probe_for_update = distributed_probe_for_update,
	.touch = distributed_touch,
	.write = distributed_write,
	.delete = distributed_delete,
	.purge = distributed_purge,
	.erase_scope = distributed_erase_scope,
	.visit_unfinished = distributed_visit_unfinished,
	.find_unfinished = find_unfinished,
	.expire = distributed_expire,
};
