/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Claiming and completing many keys in one call.
 *
 * The elements are processed in the order of their locks, those of one lock in
 * the order of their hashes, equal ones in the order of the array.  So two
 * batches that share keys process them in the same order, and a batch that waits
 * for another holds no key that the other still needs: batches never deadlock
 * with each other.  Each element is processed by claim_key() or complete_key()
 * like a single key, and finished before the next one; the tables stay open in
 * between.
 *
 * Results are returned in the order of the array.  They are sorted within
 * work_mem, and spill to disk; the memory for a single element is freed after
 * it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "claim/claim_result.h"
#include "claim/durable_replay.h"
#include "error.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "interval.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(idempotency_claim_many);
PG_FUNCTION_INFO_V1(idempotency_complete_many);

/* An argument that is an array; it has no elements if it was left out. */
typedef struct Elements
{
	int			count;
	bool		given;
	Datum	   *values;
	bool	   *isnull;
} Elements;

/* An element's place in the array, and its sort key. */
typedef struct SortedElement
{
	pg_uuid_t	hash;
	int			element;
} SortedElement;

static void
elements_from_arg(Elements *elements, FunctionCallInfo fcinfo, int arg,
				  Oid type, int16 length, bool by_value, char align)
{
	elements->count = 0;
	elements->given = !PG_ARGISNULL(arg);
	if (elements->given)
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), type, length, by_value, align,
						  &elements->values, &elements->isnull, &elements->count);
}

/* The array of keys; raises IK400 if it is missing. */
static void
keys_from_arg(Elements *keys, FunctionCallInfo fcinfo, int arg)
{
	elements_from_arg(keys, fcinfo, arg, TEXTOID, -1, false, TYPALIGN_INT);
	if (!keys->given)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("keys must not be null"),
				 errhint("Pass an array of idempotency keys.")));
}

/*
 * Raise IK400 if an array was given that does not have one element for each
 * key.
 */
static void
check_count(const Elements *elements, const Elements *keys, const char *name)
{
	if (elements->given && elements->count != keys->count)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("%s must have an element for each key", name),
				 errdetail("There are %d keys and %d elements.",
						   keys->count, elements->count),
				 errhint("Use NULL as the element of a key that has none.")));
}

static bool
has_element(const Elements *elements, int element)
{
	return elements->given && !elements->isnull[element];
}

static int
compare_elements(const void *a, const void *b, void *unused)
{
	const SortedElement *left = a;
	const SortedElement *right = b;
	uint64		left_lock = key_lock_bits(&left->hash);
	uint64		right_lock = key_lock_bits(&right->hash);
	int			order;

	if (left_lock != right_lock)
		return left_lock < right_lock ? -1 : 1;
	order = memcmp(&left->hash, &right->hash, sizeof(pg_uuid_t));
	if (order == 0)
		order = left->element < right->element ? -1 : 1;
	return order;
}

static text *
key_name(const Elements *keys, int element)
{
	return keys->isnull[element] ? NULL : DatumGetTextPP(keys->values[element]);
}

/* The elements in the order in which every batch processes them. */
static SortedElement *
lock_order(const Elements *keys, text *scope)
{
	SortedElement *sorted = palloc(Max(keys->count, 1) * sizeof(SortedElement));

	for (int element = 0; element < keys->count; element++)
	{
		IdempotencyKey key;

		CHECK_FOR_INTERRUPTS();
		make_key(&key, key_name(keys, element), scope);
		sorted[element].hash = key.hash;
		sorted[element].element = element;
	}
	qsort_interruptible(sorted, keys->count, sizeof(SortedElement), compare_elements, NULL);
	return sorted;
}

static MemoryContext
element_context(void)
{
	return AllocSetContextCreate(CurrentMemoryContext,
								 "idempotency key of a batch",
								 ALLOCSET_DEFAULT_SIZES);
}

/* Columns of claim_many(). */
enum
{
	COLUMN_ORD,
	COLUMN_KEY,
	COLUMN_RESULT
};

/* A sort of result rows by the places of their elements. */
static Tuplesortstate *
begin_sort(TupleDesc desc)
{
	AttrNumber	column = COLUMN_ORD + 1;
	Oid			operator = Int8LessOperator;
	Oid			collation = InvalidOid;
	bool		nulls_first = false;

	return tuplesort_begin_heap(desc, 1, &column, &operator, &collation, &nulls_first,
								work_mem, NULL, TUPLESORT_NONE);
}

static void
return_sorted(Tuplesortstate *sort, ReturnSetInfo *result)
{
	TupleTableSlot *tts = MakeSingleTupleTableSlot(result->setDesc, &TTSOpsMinimalTuple);

	tuplesort_performsort(sort);
	while (tuplesort_gettupleslot(sort, true, false, tts, NULL))
	{
		CHECK_FOR_INTERRUPTS();
		tuplestore_puttupleslot(result->setResult, tts);
	}
	ExecDropSingleTupleTableSlot(tts);
	tuplesort_end(sort);
}

/*
 * claim_many(keys text[], scope text, requests jsonb[], ttl interval,
 *			  lease interval, wait interval)
 *		returns table (ord bigint, key text, columns of claim_result)
 *
 * Claims each key as claim() does; the limit of waiting is for the whole call.
 * Raises the same errors as claim().
 */
Datum
idempotency_claim_many(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	text	   *scope = text_from_arg(fcinfo, 1);
	Store		store;
	Elements	keys;
	Elements	requests;
	Interval   *ttl;
	Interval   *lease;
	Interval   *wait;
	WaitLimit	limit;
	SortedElement *sorted;
	Tuplesortstate *sort;
	TupleTableSlot *tts;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext per_element;
	bool		durable = true;

	PreventCommandIfReadOnly("idempotency.claim_many()");
	keys_from_arg(&keys, fcinfo, 0);
	elements_from_arg(&requests, fcinfo, 2, JSONBOID, -1, false, TYPALIGN_INT);
	check_count(&requests, &keys, "requests");
	ttl = interval_from_arg(fcinfo, 3, "ttl");
	lease = interval_from_arg(fcinfo, 4, "lease");
	wait = wait_from_arg(fcinfo, 5);
	sorted = lock_order(&keys, scope);

	InitMaterializedSRF(fcinfo, 0);
	sort = begin_sort(result->setDesc);
	tts = MakeSingleTupleTableSlot(result->setDesc, &TTSOpsVirtual);
	store_open(&store);
	per_element = element_context();
	for (int i = 0; i < keys.count; i++)
	{
		int			element = sorted[i].element;
		Claim		claim;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(per_element);
		claim_init(&claim, key_name(&keys, element), scope);
		claim_request(&claim, has_element(&requests, element) ?
					  DatumGetJsonbP(requests.values[element]) : NULL);
		claim.ttl = ttl;
		claim_lease(&claim, lease);

		/* The limit begins with the first element. */
		if (i == 0)
			limit = claim.limit;
		if (i == 0 && wait != NULL)
			wait_at_most(&limit, wait);
		claim.limit = limit;
		claim_key(&claim, &store);
		if (claim.outcome == OUTCOME_REPLAY && !replay_is_durable(&claim.row))
			durable = false;

		ExecClearTuple(tts);
		tts->tts_values[COLUMN_ORD] = Int64GetDatum(element + 1);
		tts->tts_isnull[COLUMN_ORD] = false;
		tts->tts_values[COLUMN_KEY] = keys.values[element];
		tts->tts_isnull[COLUMN_KEY] = false;
		claim_result_values(&claim, NULL, &tts->tts_values[COLUMN_RESULT],
							&tts->tts_isnull[COLUMN_RESULT]);
		ExecStoreVirtualTuple(tts);
		tuplesort_puttupleslot(sort, tts);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(per_element);
	}
	store_close(&store);
	ExecDropSingleTupleTableSlot(tts);
	if (!durable)
		wait_for_standbys();

	return_sorted(sort, result);
	MemoryContextDelete(per_element);
	return (Datum) 0;
}

/*
 * complete_many(keys text[], scope text, responses jsonb[],
 *				 resource_ids text[], status_codes integer[],
 *				 attempts integer[]) returns bigint
 *
 * Completes each key as complete() does and returns their number.  Raises the
 * same errors as complete(); then no key is completed.
 */
Datum
idempotency_complete_many(PG_FUNCTION_ARGS)
{
	text	   *scope = text_from_arg(fcinfo, 1);
	Store		store;
	Elements	keys;
	Elements	responses;
	Elements	resource_ids;
	Elements	status_codes;
	Elements	attempts;
	SortedElement *sorted;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext per_element;

	PreventCommandIfReadOnly("idempotency.complete_many()");
	keys_from_arg(&keys, fcinfo, 0);
	elements_from_arg(&responses, fcinfo, 2, JSONBOID, -1, false, TYPALIGN_INT);
	check_count(&responses, &keys, "responses");
	elements_from_arg(&resource_ids, fcinfo, 3, TEXTOID, -1, false, TYPALIGN_INT);
	check_count(&resource_ids, &keys, "resource_ids");
	elements_from_arg(&status_codes, fcinfo, 4, INT4OID, sizeof(int32), true, TYPALIGN_INT);
	check_count(&status_codes, &keys, "status_codes");
	elements_from_arg(&attempts, fcinfo, 5, INT4OID, sizeof(int32), true, TYPALIGN_INT);
	check_count(&attempts, &keys, "attempts");
	sorted = lock_order(&keys, scope);

	store_open(&store);
	per_element = element_context();
	for (int i = 0; i < keys.count; i++)
	{
		int			element = sorted[i].element;
		IdempotencyKey key;
		Completion	completion = {.status = KEY_COMPLETED};

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(per_element);
		make_key(&key, key_name(&keys, element), scope);
		if (has_element(&responses, element))
			completion.response = (Jsonb *) DatumGetPointer(responses.values[element]);
		if (has_element(&resource_ids, element))
			completion.resource_id = (text *) DatumGetPointer(resource_ids.values[element]);
		if (has_element(&status_codes, element))
			completion.status_code = checked_status_code(DatumGetInt32(status_codes.values[element]));
		if (has_element(&attempts, element))
			completion.attempt = checked_attempt(DatumGetInt32(attempts.values[element]));
		complete_key(&key, &completion, &store);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(per_element);
	}
	store_close(&store);
	MemoryContextDelete(per_element);
	PG_RETURN_INT64(keys.count);
}
