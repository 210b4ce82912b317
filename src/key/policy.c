/*-------------------------------------------------------------------------
 *
 * policy.c
 *	  The rules for the keys of a scope.
 *
 * The policies that apply to a scope are those whose own scope equals it or is
 * a prefix of it that ends at a '/'.  Each field is taken from the policy with
 * the longest scope that sets the field, and from the settings if none does.
 *
 * A backend keeps the whole table in memory, so that a claim looks up at most
 * two entries for each '/' of its scope, and none if there is no policy.  The
 * hash of a prefix continues the hash of the next shorter one.  A trigger on
 * the table announces changes on commit to all backends by relcache messages,
 * which are accepted before each look-up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "guc.h"
#include "interval.h"
#include "key/keyname.h"
#include "key/policy.h"
#include "key/policy_table.h"
#include "miscadmin.h"
#include "objects.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"

typedef struct StoredPolicy
{
	uint64		scope_hash;		/* hash key */
	struct StoredPolicy *next;	/* of the same hash */
	text	   *scope;
	StatsEntry *stats;			/* NULL: not asked for yet */
	const char *out_of_range;	/* name of a column, or NULL */
	Datum		values[POLICY_COLUMNS];
	bool		isnull[POLICY_COLUMNS];
} StoredPolicy;

static HTAB *known = NULL;
static MemoryContext known_context = NULL;
static uint64 known_generation = 0;

/* Counters of the scopes that no policy covers. */
static StatsEntry *stats_without_policy = NULL;

/*
 * The next longer prefix that may be the scope of a policy: it ends before or
 * after a '/', or is the whole scope.  On entry the hash is that of the
 * shorter prefix, on return that of the longer one.
 */
static int
next_prefix(const char *scope, int length, int prefix, uint64 *hash)
{
	int			next = prefix + 1;

	while (next < length && scope[next] != '/' && scope[next - 1] != '/')
		next++;
	*hash = hash_bytes_extended((const unsigned char *) scope + prefix, next - prefix, *hash);
	return next;
}

static uint64
hash_scope(const char *scope, int length)
{
	uint64		hash = 0;

	for (int prefix = 0; prefix < length;)
	{
		CHECK_FOR_INTERRUPTS();
		prefix = next_prefix(scope, length, prefix, &hash);
	}
	return hash;
}

static bool
in_range(const StoredPolicy *policy, int column, double least)
{
	double		length;

	if (policy->isnull[column])
		return true;
	length = interval_usecs(DatumGetIntervalP(policy->values[column]));
	return length >= least && length <= MAX_INTERVAL_USECS;
}

/*
 * The column whose value set_policy() would have refused; NULL if there is
 * none.  The table may have been changed by hand, and its constraints may have
 * been dropped.
 */
static const char *
column_out_of_range(const StoredPolicy *policy)
{
	if (!in_range(policy, POLICY_TTL, 1))
		return "ttl";
	if (!in_range(policy, POLICY_LEASE, 0))
		return "lease";
	if (!in_range(policy, POLICY_WAIT, 0))
		return "wait";
	if (!policy->isnull[POLICY_MIN_KEY_LENGTH] &&
		DatumGetInt32(policy->values[POLICY_MIN_KEY_LENGTH]) < 1)
		return "min_key_length";
	if (!policy->isnull[POLICY_MAX_RESPONSE_BYTES] &&
		DatumGetInt32(policy->values[POLICY_MAX_RESPONSE_BYTES]) < 0)
		return "max_response_bytes";
	return NULL;
}

/* A row without a scope is ignored. */
static void
keep_policy(TupleTableSlot *tts)
{
	TupleDesc	desc = tts->tts_tupleDescriptor;
	MemoryContext caller;
	StoredPolicy *policy;
	StoredPolicy *entry;
	bool		found;

	slot_getallattrs(tts);
	if (tts->tts_isnull[POLICY_SCOPE])
		return;
	caller = MemoryContextSwitchTo(known_context);
	if (known == NULL)
	{
		HASHCTL		control = {
			.keysize = sizeof(uint64),
			.entrysize = sizeof(StoredPolicy),
			.hcxt = known_context
		};

		known = hash_create("idempotency policies", 16, &control,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	policy = palloc(sizeof(StoredPolicy));
	for (int column = 0; column < POLICY_COLUMNS; column++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, column);
		Datum		value = tts->tts_values[column];

		policy->isnull[column] = tts->tts_isnull[column];
		if (policy->isnull[column])
			continue;
		if (attribute->attlen == -1)
			value = PointerGetDatum(PG_DETOAST_DATUM(value));
		policy->values[column] = datumCopy(value, attribute->attbyval, attribute->attlen);
	}
	policy->scope = DatumGetTextPP(policy->values[POLICY_SCOPE]);
	policy->scope_hash = hash_scope(VARDATA_ANY(policy->scope),
									VARSIZE_ANY_EXHDR(policy->scope));
	policy->stats = NULL;
	policy->out_of_range = column_out_of_range(policy);

	entry = hash_search(known, &policy->scope_hash, HASH_ENTER, &found);
	policy->next = found ? entry->next : NULL;
	entry->next = policy;
	MemoryContextSwitchTo(caller);
}

static void
load_policies(void)
{
	if (known_context == NULL)
		known_context = AllocSetContextCreate(CacheMemoryContext,
											  "idempotency policies",
											  ALLOCSET_SMALL_SIZES);
	known = NULL;
	MemoryContextReset(known_context);
	read_policies(keep_policy);
}

static StoredPolicy *
find_policy(const char *scope, int length, uint64 hash)
{
	StoredPolicy *entry = hash_search(known, &hash, HASH_FIND, NULL);

	for (StoredPolicy *policy = entry ? entry->next : NULL; policy; policy = policy->next)
	{
		if ((int) VARSIZE_ANY_EXHDR(policy->scope) == length &&
			memcmp(VARDATA_ANY(policy->scope), scope, length) == 0)
			return policy;
	}
	return NULL;
}

/* Override the fields that the stored policy sets. */
static void
apply_policy(Policy *policy, const StoredPolicy *stored)
{
	if (stored->out_of_range != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("policy of scope \"%s\" is out of range", scope_in_message(stored->scope)),
				 errdetail("set_policy() would refuse its %s.", stored->out_of_range),
				 errhint("Replace the policy with idempotency.set_policy().")));
#define SAYS(column) (!stored->isnull[column])
#define VALUE(column) (stored->values[column])
	if (SAYS(POLICY_TTL))
		policy->ttl = *DatumGetIntervalP(VALUE(POLICY_TTL));
	if (SAYS(POLICY_LEASE))
		policy->lease = *DatumGetIntervalP(VALUE(POLICY_LEASE));
	if (SAYS(POLICY_WAIT))
		policy->wait = *DatumGetIntervalP(VALUE(POLICY_WAIT));
	if (SAYS(POLICY_REQUIRE_REQUEST))
		policy->require_request = DatumGetBool(VALUE(POLICY_REQUIRE_REQUEST));
	if (SAYS(POLICY_REQUIRE_ISSUED))
		policy->require_issued = DatumGetBool(VALUE(POLICY_REQUIRE_ISSUED));
	if (SAYS(POLICY_MIN_KEY_LENGTH))
		policy->min_key_length = DatumGetInt32(VALUE(POLICY_MIN_KEY_LENGTH));
	if (SAYS(POLICY_MAX_RESPONSE_BYTES))
		policy->max_response_bytes = DatumGetInt32(VALUE(POLICY_MAX_RESPONSE_BYTES));
	if (SAYS(POLICY_CACHE_ERRORS))
		policy->cache_errors = DatumGetArrayTypeP(VALUE(POLICY_CACHE_ERRORS));
#undef SAYS
#undef VALUE
}

/* The counters of a stored policy, or of none. */
static StatsEntry *
stats_of_policy(StoredPolicy *stored)
{
	if (stored == NULL)
	{
		if (stats_without_policy == NULL)
			stats_without_policy = stats_entry("", 0);
		return stats_without_policy;
	}
	if (stored->stats == NULL)
		stored->stats = stats_entry(VARDATA_ANY(stored->scope),
									VARSIZE_ANY_EXHDR(stored->scope));
	return stored->stats;
}

void
policy_of_scope(Policy *policy, const text *scope)
{
	const char *bytes = VARDATA_ANY(scope);
	int			length = VARSIZE_ANY_EXHDR(scope);
	uint64		hash = 0;
	StoredPolicy *longest = NULL;

	policy->ttl = default_ttl;
	policy->lease = default_lease;
	policy->wait = default_wait;
	policy->require_request = false;
	policy->require_issued = false;
	policy->min_key_length = min_key_length;
	policy->max_response_bytes = (Size) max_response_size * 1024;
	policy->cache_errors = NULL;

	AcceptInvalidationMessages();
	if (known_generation != objects_generation())
	{
		/* A message that arrives meanwhile makes the next call read again. */
		uint64		seen = objects_generation();

		load_policies();
		known_generation = seen;
	}

	/* From the shortest prefix to the scope itself: a longer one overrides. */
	for (int prefix = 0; known != NULL; prefix = next_prefix(bytes, length, prefix, &hash))
	{
		StoredPolicy *stored = find_policy(bytes, prefix, hash);

		if (stored != NULL)
		{
			apply_policy(policy, stored);
			longest = stored;
		}
		if (prefix == length)
			break;
	}
	policy->stats = stats_of_policy(longest);
}
