/*-------------------------------------------------------------------------
 *
 * members.c
 *	  What belongs to the extension.
 *
 * The extension's objects are found by their membership, never by name alone:
 * the owner of the schema may rename it and create another of the same name,
 * and a role with CREATE on it may create a table there.  Only the owner of
 * the extension can add members.  The names only distinguish the members.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "members.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

void
extension_missing(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("extension \"idempotency\" is not installed in this database"),
			 errhint("Run CREATE EXTENSION idempotency.")));
}

List *
extension_members(Oid classid)
{
	Oid			extension = get_extension_oid("idempotency", true);
	Relation	catalog;
	ScanKeyData conditions[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *members = NIL;

	if (!OidIsValid(extension))
		extension_missing();
	catalog = table_open(DependRelationId, AccessShareLock);
	ScanKeyInit(&conditions[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ExtensionRelationId));
	ScanKeyInit(&conditions[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(catalog, DependReferenceIndexId, true, NULL, 2, conditions);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);

		if (depend->deptype == DEPENDENCY_EXTENSION && depend->classid == classid)
			members = lappend_oid(members, depend->objid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return members;
}

Oid
extension_function(const char *name)
{
	ListCell   *cell;

	foreach(cell, extension_members(ProcedureRelationId))
	{
		char	   *member = get_func_name(lfirst_oid(cell));

		if (member != NULL && strcmp(member, name) == 0)
			return lfirst_oid(cell);
	}
	extension_missing();
	return InvalidOid;
}
