/*-------------------------------------------------------------------------
 *
 * execute.c
 *	  Claim, work and result in one call.
 *
 * execute() claims the key, calls the command, and stores its result; all in
 * the caller's transaction, so that an error of the command undoes the claim
 * with the work.  Only if some errors are to be stored does the command run in
 * a subtransaction: then the work is rolled back, the claim stays, and the
 * error is stored as the result.
 *
 * The command runs as if the caller had called it: it is looked up by the
 * caller's search_path, and has the caller's privileges.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_type.h"
#include "claim/claim_result.h"
#include "claim/durable_replay.h"
#include "compat.h"
#include "error.h"
#include "key/errorfilter.h"
#include "miscadmin.h"
#include "nodes/value.h"
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

/*
 * Whether a command includes argument types.  A parenthesis in quotes is part
 * of a name.
 */
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

/*
 * Whether a name needs no parsing: it has no schema, and its characters stand
 * for themselves, quoted or not.
 */
static bool
is_plain_name(const char *name)
{
	const char *c = name;

	while ((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_')
		c++;
	return *c == '\0' && c != name && c - name < NAMEDATALEN;
}

/*
 * The function that a command names.  Without a signature its argument is
 * jsonb.
 */
static Oid
function_named(text *command)
{
	Oid			argument_type = JSONBOID;
	char	   *name = text_to_cstring(command);

	if (is_plain_name(name))
		return LookupFuncName(list_make1(makeString(name)), 1, &argument_type, false);
	/* An error message of the lookup would contain the request. */
	if (*name == '{' || *name == '[')
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("command begins like JSON"),
				 errdetail("The name of a function does not begin with \"{\" or \"[\", unless it is quoted."),
				 errhint("execute() takes key, scope, command and request.")));
	if (is_signature(name))
		return DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(name)));
	return LookupFuncName(textToQualifiedNameList(command), 1, &argument_type, false);
}

/*
 * Find the function that a command names.  Raises UNDEFINED_FUNCTION, IK400
 * for one of another type, and INSUFFICIENT_PRIVILEGE as a call of it would.
 */
static Oid
command_function(text *command)
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
					key_in_message(command)),
			 errhint("Name a function such as one created by CREATE FUNCTION pay(request jsonb) RETURNS jsonb.")));
}

/* The work for a key. */
typedef struct Command
{
	Oid			function;
	bool		request_isnull;
	Datum		request;
	const ArrayType *filter;	/* errors to be stored as the result, or NULL */
} Command;

/* Call the function.  Returns NULL if the function returns null. */
static Jsonb *
call_command(const Command *command)
{
	LOCAL_FCINFO(call, 1);
	FmgrInfo	flinfo;
	Datum		result;

	InvokeFunctionExecuteHook(command->function);
	fmgr_info(command->function, &flinfo);
	if (flinfo.fn_strict && command->request_isnull)
		return NULL;

	/*
	 * The command must see what was committed during the wait for a
	 * concurrent owner.
	 */
	PushActiveSnapshot(GetTransactionSnapshot());
	InitFunctionCallInfoData(*call, &flinfo, 1, InvalidOid, NULL, NULL);
	call->args[0].value = command->request;
	call->args[0].isnull = command->request_isnull;
	result = FunctionCallInvoke(call);
	PopActiveSnapshot();
	return call->isnull ? NULL : (Jsonb *) DatumGetPointer(result);
}

/*
 * Call the function in a subtransaction.  If its error is to be stored, the
 * work is rolled back and the error returned; any other error is raised.
 */
static Jsonb *
try_command(const Command *command, ErrorData **error)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Jsonb	   *volatile response = NULL;

	*error = NULL;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		response = call_command(command);
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
		if (!stores_error(command->filter, (*error)->sqlerrcode))
			ReThrowError(*error);
	}
	PG_END_TRY();
	return response;
}

/* response->>'id', or NULL. */
static text *
resource_id_of(Jsonb *response)
{
	LOCAL_FCINFO(call, 2);
	Datum		id;

	if (response == NULL)
		return NULL;
	InitFunctionCallInfoData(*call, NULL, 2, InvalidOid, NULL, NULL);
	call->args[0].value = PointerGetDatum(response);
	call->args[0].isnull = false;
	call->args[1].value = CStringGetTextDatum("id");
	call->args[1].isnull = false;
	id = jsonb_object_field_text(call);
	return call->isnull ? NULL : DatumGetTextPP(id);
}

/*
 * The filter of errors to be stored, from the caller or the policy; or NULL.
 */
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

/* Run the command and store its result under the claimed key. */
static void
complete_with_command(const Claim *claim, Store *store, const Command *command,
					  Completion *completion)
{
	const ArrayType *filter = command->filter;
	ErrorData  *error = NULL;

	if (filter == NULL || ArrayGetNItems(ARR_NDIM(filter), ARR_DIMS(filter)) == 0)
		completion->response = call_command(command);
	else
		completion->response = try_command(command, &error);
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
 * with the command's result.  If the key can't be claimed, the answer is that
 * of claim().  Raises the errors of claim() and complete(), and those of the
 * command that cache_errors does not select.
 */
Datum
idempotency_execute(PG_FUNCTION_ARGS)
{
	Claim		claim;
	Completion	completion = {.status = KEY_COMPLETED};
	Store		store;
	Command		command;
	Interval   *wait;

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
	command.filter = error_filter(fcinfo, &claim.policy);

	store_open(&store);
	claim_key(&claim, &store);
	store_close(&store);
	if (claim.outcome == OUTCOME_REPLAY && !replay_is_durable(&claim.row))
		wait_for_standbys();
	if (claim.outcome != OUTCOME_NEW && claim.outcome != OUTCOME_RECOVERED)
		PG_RETURN_DATUM(claim_result_datum(&claim, NULL));

	command.function = command_function(PG_GETARG_TEXT_PP(2));
	command.request_isnull = PG_ARGISNULL(3);
	command.request = PG_GETARG_DATUM(3);
	complete_with_command(&claim, &store, &command, &completion);

	PG_RETURN_DATUM(claim_result_datum(&claim, &completion));
}
