/*-------------------------------------------------------------------------
 *
 * row_version.c
 *	  Rows of the distributed store: versions, and whose they are.
 *
 * Transaction ids are meaningless on other servers.  Each transaction takes
 * twelve random bytes when it first writes a key; every version that it writes
 * has these bytes and a number of its own.  So a row that was deleted and
 * inserted again, or rolled back to a savepoint and written again, never has
 * the same version.  The bytes are for one transaction only: a later one of
 * this backend has others, even after PREPARE TRANSACTION.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "objects.h"
#include "store/distributed/row_version.h"
#include "store/distributed/distributed_table.h"

#define TRANSACTION_BYTES	12

/* The version bytes of the current transaction, once it has written. */
static struct
{
	bool		begun;
	unsigned char bytes[TRANSACTION_BYTES];
	uint32		writes;
}			transaction;

static uint64 generation = 0;

static void
end_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE || event == XACT_EVENT_ABORT)
	{
		transaction.begun = false;
		generation++;
	}
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId subtransaction,
				   SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		generation++;
}

uint64
memory_generation(void)
{
	if (generation == 0)
	{
		RegisterXactCallback(end_transaction, NULL);
		RegisterSubXactCallback(end_subtransaction, NULL);
		generation = 1;
	}
	return generation;
}

void
forget_memories(void)
{
	generation = memory_generation() + 1;
}

static void
begin_transaction(void)
{
	(void) memory_generation();
	if (!pg_strong_random(transaction.bytes, TRANSACTION_BYTES))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	transaction.writes = 0;
	transaction.begun = true;
}

void
new_version(pg_uuid_t *version)
{
	if (!transaction.begun)
		begin_transaction();
	transaction.writes++;
	StaticAssertStmt(TRANSACTION_BYTES + sizeof(transaction.writes) == UUID_LEN,
					 "a version fills a uuid");
	memcpy(version->data, transaction.bytes, TRANSACTION_BYTES);
	memcpy(version->data + TRANSACTION_BYTES, &transaction.writes, sizeof(transaction.writes));
}

bool
is_own_version(const pg_uuid_t *version)
{
	return transaction.begun &&
		memcmp(version->data, transaction.bytes, TRANSACTION_BYTES) == 0;
}

void
own_versions(pg_uuid_t *lowest, pg_uuid_t *highest)
{
	if (!transaction.begun)
		begin_transaction();
	memcpy(lowest->data, transaction.bytes, TRANSACTION_BYTES);
	memset(lowest->data + TRANSACTION_BYTES, 0x00, UUID_LEN - TRANSACTION_BYTES);
	memcpy(highest->data, transaction.bytes, TRANSACTION_BYTES);
	memset(highest->data + TRANSACTION_BYTES, 0xff, UUID_LEN - TRANSACTION_BYTES);
}

void
distributed_row(IdempotencyKey *key, KeyRow *row, const Datum *results, const bool *isnull)
{
	key->scope = DatumGetTextPP(keyrow_required(results[KEYS_SCOPE], isnull[KEYS_SCOPE]));
	key->name = DatumGetTextPP(keyrow_required(results[KEYS_KEY], isnull[KEYS_KEY]));
	key->hash = *DatumGetUUIDP(keyrow_required(results[KEYS_HASH], isnull[KEYS_HASH]));
	keyrow_from_values(row, results, isnull);
	row->leaf = LEAF_LONG;
	row->version = *DatumGetUUIDP(keyrow_required(results[DISTRIBUTED_VERSION],
												  isnull[DISTRIBUTED_VERSION]));
	row->own = is_own_version(&row->version);
	if (isnull[DISTRIBUTED_CLAIM_VERSION])
		memset(&row->claim_version, 0, sizeof(pg_uuid_t));
	else
		row->claim_version = *DatumGetUUIDP(results[DISTRIBUTED_CLAIM_VERSION]);
	row->claimed_here = is_own_version(&row->claim_version);
	row->unfinished = keyrow_must_end(row);
}
