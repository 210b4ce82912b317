/*-------------------------------------------------------------------------
 *
 * execute.c
 *	  Claim, work and result in one call.
 *
 * execute() claims the key, calls the command, and stores what it returned;
 * all in the caller's transaction, so that an error of the command undoes the
 * claim with the work.  Only where some errors are to be remembered does the
 * command run in a subtransaction of its own: the claim stays, the work is
 * rolled back, and the error is stored as the result.
 *
 * The command runs as its caller would run it: looked up by the caller's
 * search_path, with the caller's privileges.
 *
 * once() is a claim that is its own result: one row version, written as
 * completed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_type.h"
#include "claim/claim.h"
#include "claim/durable_replay.h"
#include "compat.h"
#include "claim/complete.h"
#include "error.h"
#include "key/errorfilter.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "http/problem.h"
#include "interval.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

PG_FUNCTION_INFO_V1(idempotency_execute);
PG_FUNCTION_INFO_V1(idempotency_once);

/* Whether a command names its argument types: a parenthesis in quotes is a name's. */
static bool
is_signature(const char *command)
{
	bool		quoted = false;

	for (; *command != '\0'; command++)
	{
		if (*command == '"')
			quoted = !quoted;
		else if (*command == '(' && !quoted)
			return true;
	}
	return false;
}

/* The function that a command names: by its signature or, left out, as one of jsonb. */
static Oid
function_named(const char *command)
{
	Oid			argument_type = JSONBOID;

	if (is_signature(command))
		return DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(command)));
	return LookupFuncName(textToQualifiedNameList(cstring_to_text(command)),
						  1, &argument_type, false);
}

/*
 * Find the function that a command names.  Raises UNDEFINED_FUNCTION, IK400
 * for one of another type, and INSUFFICIENT_PRIVILEGE as a call of it would.
 */
static Oid
command_function(const char *command)
{
	Oid			function = function_named(command);
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		fits = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);

		fits = proc->prokind == PROKIND_FUNCTION && !proc->proretset &&
			proc->prorettype == JSONBOID &&
			proc->pronargs == 1 && proc->proargtypes.values[0] == JSONBOID;
		ReleaseSysCache(tuple);
	}
	if (fits)
	{
		AclResult	allowed = function_aclcheck(function, GetUserId());

		if (allowed != ACLCHECK_OK)
			aclcheck_error(allowed, OBJECT_FUNCTION, get_func_name(function));
		return function;
	}
	ereport(ERROR,
			(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
			 errmsg("command \"%s\" is not a function of jsonb that returns jsonb",
					key_in_message(cstring_to_text(command))),
			 errhint("Name a function such as one created by CREATE FUNCTION pay(request jsonb) RETURNS jsonb.")));
}

/* Call the function.  Returns NULL where it does. */
static Jsonb *
call_command(Oid function, bool request_isnull, Datum request)
{
	LOCAL_FCINFO(call, 1);
	FmgrInfo	flinfo;
	Datum		result;

	InvokeFunctionExecuteHook(function);
	fmgr_info(function, &flinfo);
	if (flinfo.fn_strict && request_isnull)
		return NULL;

	/*
	 * What the wait for a concurrent owner let pass is for the command to
	 * see.
	 */
	PushActiveSnapshot(GetTransactionSnapshot());
	InitFunctionCallInfoData(*call, &flinfo, 1, InvalidOid, NULL, NULL);
	call->args[0].value = request;
	call->args[0].isnull = request_isnull;
	result = FunctionCallInvoke(call);
	PopActiveSnapshot();
	return call->isnull ? NULL : (Jsonb *) DatumGetPointer(result);
}

/*
 * The same in a subtransaction.  An error that is to be stored is returned,
 * with the work rolled back; any other is raised.
 */
static Jsonb *
try_command(Oid function, bool request_isnull, Datum request,
			const ArrayType *filter, ErrorData **error)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Jsonb	   *volatile response = NULL;

	*error = NULL;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		response = call_command(function, request_isnull, request);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		*error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (!stores_error(filter, (*error)->sqlerrcode))
			ReThrowError(*error);
	}
	PG_END_TRY();
	return response;
}

/* response->>'id', where the response is an object that has one. */
static text *
resource_id_of(Jsonb *response)
{
	Jsonb	   *object;
	JsonbValue	buffer;
	JsonbValue *id;

	if (response == NULL)
		return NULL;
	object = DatumGetJsonbP(PointerGetDatum(response));
	if (!JB_ROOT_IS_OBJECT(object))
		return NULL;
	id = getKeyJsonValueFromContainer(&object->root, "id", 2, &buffer);
	if (id == NULL || id->type == jbvNull)
		return NULL;
	if (id->type == jbvString)
		return cstring_to_text_with_len(id->val.string.val, id->val.string.len);
	return cstring_to_text(JsonbToCString(NULL, &JsonbValueToJsonb(id)->root, 0));
}

/* The errors to be stored, as the caller or the policy says; or NULL. */
static const ArrayType *
error_filter(FunctionCallInfo fcinfo, const Policy *policy)
{
	if (!PG_ARGISNULL(6))
	{
		ArrayType  *filter = PG_GETARG_ARRAYTYPE_P(6);

		check_error_filter(filter);
		return filter;
	}
	return policy->cache_errors == NULL ? NULL :
		DatumGetArrayTypePCopy(PointerGetDatum(policy->cache_errors));
}

/* Run the command and store its result under the key that is claimed. */
static void
complete_with_command(const Claim *claim, Store *store, Oid function,
					  bool request_isnull, Datum request,
					  const ArrayType *filter, Completion *completion)
{
	ErrorData  *error = NULL;

	if (filter == NULL || ArrayGetNItems(ARR_NDIM(filter), ARR_DIMS(filter)) == 0)
		completion->response = call_command(function, request_isnull, request);
	else
		completion->response = try_command(function, request_isnull, request, filter, &error);
	if (error == NULL)
		completion->resource_id = resource_id_of(completion->response);
	else
	{
		completion->status = KEY_FAILED;
		completion->status_code = problem_status(error);
		completion->response = problem_document(error);
	}
	complete_key(&claim->key, completion, store);
	store_close(store);
}

/*
 * execute(key text, scope text, command text, request jsonb, ttl interval,
 *		   wait interval, cache_errors text[]) returns claim_result
 *
 * Claims the key, calls the command with the request, and completes the key
 * with what it returned.  A key that can't be claimed is answered as claim()
 * answers it.  Raises what claim() and complete() raise, and what the command
 * raises but for what cache_errors says to store.
 */
Datum
idempotency_execute(PG_FUNCTION_ARGS)
{
	Claim		claim;
	Completion	completion = {.status = KEY_COMPLETED};
	Store		store;
	const ArrayType *filter;
	Interval   *wait;
	Oid			function;

	PreventCommandIfReadOnly("idempotency.execute()");
	claim_init(&claim, text_from_arg(fcinfo, 0), text_from_arg(fcinfo, 1));
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("command must not be null"),
				 errhint("Name the function that does the work.")));
	claim_request(&claim, PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3));
	claim.ttl = interval_from_arg(fcinfo, 4, "ttl");
	wait = wait_from_arg(fcinfo, 5);
	if (wait != NULL)
		wait_at_most(&claim.limit, wait);
	filter = error_filter(fcinfo, &claim.policy);

	store_open(&store);
	claim_key(&claim, &store);
	store_close(&store);
	if (claim.outcome == OUTCOME_REPLAY && !replay_is_durable(&claim.row))
		wait_for_standbys();
	if (claim.outcome != OUTCOME_NEW && claim.outcome != OUTCOME_RECOVERED)
		PG_RETURN_DATUM(claim_result_datum(&claim));

	function = command_function(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	complete_with_command(&claim, &store, function, PG_ARGISNULL(3), PG_GETARG_DATUM(3),
						  filter, &completion);

	claim.completion = &completion;
	PG_RETURN_DATUM(claim_result_datum(&claim));
}

/*
 * Whether the call is evaluated for a row that a concurrent transaction has
 * changed: PostgreSQL then sets up the query once more (EvalPlanQual), as an
 * executor whose memory is a child of the first one's.  No other executor is set
 * up directly below one.
 */
static bool
is_evaluated_again(FunctionCallInfo fcinfo)
{
	MemoryContext executor = fcinfo->flinfo->fn_mcxt;

	return strcmp(executor->name, "ExecutorState") == 0 &&
		executor->parent != NULL && strcmp(executor->parent->name, "ExecutorState") == 0;
}

/*
 * once(key text, scope text, ttl interval) returns boolean
 *
 * True for the first caller, false for every later one.  Waits for a
 * concurrent first as the policy and settings say.  Raises IK409 where that
 * does not end in time or the key is under a lease, IK422 where the key was
 * claimed with a request, IK400 for a bad key or ttl, IK500 where it was
 * true for an earlier version of the same row: false for this one would undo
 * the effect.
 */
Datum
idempotency_once(PG_FUNCTION_ARGS)
{
	Claim		claim;
	Store		store;

	PreventCommandIfReadOnly("idempotency.once()");
	claim_init(&claim, text_from_arg(fcinfo, 0), text_from_arg(fcinfo, 1));
	claim.once = true;
	claim.ttl = interval_from_arg(fcinfo, 2, "ttl");

	store_open(&store);
	claim_key(&claim, &store);
	store_close(&store);
	if (claim.outcome == OUTCOME_REPLAY && !replay_is_durable(&claim.row))
		wait_for_standbys();

	if (claim.outcome == OUTCOME_IN_PROGRESS)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_CONFLICT)),
				 errmsg("idempotency key \"%s\" is in progress",
						key_in_message(claim.key.name)),
				 !claim.row_known ?
				 errdetail("It is not known yet whether the other transaction commits.") :
				 claim.row.own ?
				 errdetail("The current transaction has claimed it and not completed it.") :
				 errdetail("It is claimed until its lease ends."),
				 errhint("Try again later, or raise idempotency.default_wait.")));
	if (claim.outcome == OUTCOME_MISMATCH)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_UNPROCESSABLE)),
				 errmsg("idempotency key \"%s\" was used with a request",
						key_in_message(claim.key.name)),
				 errdetail("The key was claimed by claim() or execute(), whose request once() does not have."),
				 errhint("Use a scope of its own for each operation.")));
	if (claim.outcome == OUTCOME_REPLAY && claim.row.own && is_evaluated_again(fcinfo))
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_INTERNAL)),
				 errmsg("once() was evaluated twice for one row"),
				 errdetail("A concurrent transaction has changed the row, so that the query is evaluated again; the key has been seen by the first evaluation."),
				 errhint("Retry the transaction, and call once() where it is evaluated once: in the WHERE of a MATERIALIZED CTE.")));
	PG_RETURN_BOOL(claim.outcome != OUTCOME_REPLAY);
}
