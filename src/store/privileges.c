/*-------------------------------------------------------------------------
 *
 * privileges.c
 *	  Granting and revoking the privileges that an application role needs.
 *
 * PUBLIC has no privilege on the objects of the extension.  An application
 * gets USAGE on the schema and EXECUTE on the functions named here that are
 * members of the extension: the schema may contain other functions with these
 * names.
 *
 * If keys are distributed, statements on them run as the caller (statement.c),
 * who needs the privileges on their table.  Citus propagates these and USAGE
 * to all nodes, but not EXECUTE on functions of an extension: each other node
 * to which applications connect needs a call of its own.
 *
 * The commands run with the caller's own privileges, so that EXECUTE on these
 * functions does not imply the right to grant anything.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "citus.h"
#include "error.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "members.h"
#include "miscadmin.h"
#include "objects.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

PG_FUNCTION_INFO_V1(idempotency_grant_usage);
PG_FUNCTION_INFO_V1(idempotency_revoke_usage);

/* The functions for applications. */
static const char *const application_functions[] = {
	"claim", "complete", "fail", "release", "heartbeat", "checkpoint", "lookup",
	"execute", "once", "claim_many", "complete_many",
	"issue", "derive", "parse_header", "request_key"
};

static bool
is_for_applications(Oid function)
{
	char	   *name = get_func_name(function);

	for (int i = 0; name != NULL && i < (int) lengthof(application_functions); i++)
	{
		if (strcmp(name, application_functions[i]) == 0)
			return true;
	}
	return false;
}

static void
run_command(const char *command)
{
	if (SPI_execute(command, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not run: %s", command);
}

/* Run GRANT .. TO or REVOKE .. FROM, according to the verb and preposition. */
static Datum
change_usage(FunctionCallInfo fcinfo, const char *verb, const char *preposition)
{
	char	   *suffix;
	ListCell   *cell;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("role must not be null"),
				 errhint("Name the role that the application connects as.")));
	suffix = psprintf("%s %s", preposition,
					  quote_identifier(GetUserNameFromId(PG_GETARG_OID(0), false)));
	SPI_connect();
	if (citus_is_coordinator())
	{
		run_command(psprintf("%s USAGE ON SCHEMA %s %s", verb,
							 quote_identifier(get_namespace_name(objects()->schema)), suffix));
		if (OidIsValid(objects()->distributed_keys))
			run_command(psprintf("%s SELECT, INSERT, UPDATE, DELETE ON TABLE %s %s", verb,
								 object_name(objects()->distributed_keys), suffix));
	}
	foreach(cell, extension_members(ProcedureRelationId))
	{
		if (is_for_applications(lfirst_oid(cell)))
			run_command(psprintf("%s EXECUTE ON FUNCTION %s %s", verb,
								 format_procedure_qualified(lfirst_oid(cell)), suffix));
	}
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * grant_usage(role regrole)
 *
 * Lets the role claim and complete keys.  Raises IK400 if role is null.
 */
Datum
idempotency_grant_usage(PG_FUNCTION_ARGS)
{
	return change_usage(fcinfo, "GRANT", "TO");
}

/*
 * revoke_usage(role regrole)
 *
 * Revokes the privileges that grant_usage() has granted.
 */
Datum
idempotency_revoke_usage(PG_FUNCTION_ARGS)
{
	return change_usage(fcinfo, "REVOKE", "FROM");
}
