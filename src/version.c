/*-------------------------------------------------------------------------
 *
 * version.c
 *	  Whether this library can serve the extension as it is installed.
 *
 * A database keeps the extension's version that it was created with until
 * ALTER EXTENSION .. UPDATE, while the library comes with the package.
 * Therefore a later library must serve earlier versions of the extension.  An
 * earlier library may not know the tables of a later extension: this file
 * refuses it with a clear error, before a missing function or column does.
 * That happens if the package was upgraded and the extension updated while the
 * running server still has the old library preloaded, or if a dump is restored
 * on a server with an older package.
 *
 * Only the major and the minor number are compared.  A third number stands for
 * changes that the library does not depend on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "version.h"

PG_FUNCTION_INFO_V1(idempotency_version);

/*
 * version() returns text
 *
 * The version of this library, which may be later than that of the extension
 * in the database.
 */
Datum
idempotency_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(LIBRARY_VERSION));
}

/* The version and the schema in the catalog; NULL if there are none. */
static char *
installed_version(Oid *schema)
{
	Relation	relation = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData name;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *version = NULL;

	ScanKeyInit(&name, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum("idempotency"));
	scan = systable_beginscan(relation, ExtensionNameIndexId, true, NULL, 1, &name);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_pg_extension_extversion,
										 RelationGetDescr(relation), &isnull);

		version = TextDatumGetCString(value);
		*schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return version;
}

/*
 * Compare by major and minor number; returns a negative number, zero or a
 * positive one.
 */
static int
compare_versions(const char *a, const char *b)
{
	char	   *rest_of_a;
	char	   *rest_of_b;
	long		difference = strtol(a, &rest_of_a, 10) - strtol(b, &rest_of_b, 10);

	if (difference == 0 && *rest_of_a == '.' && *rest_of_b == '.')
		difference = strtol(rest_of_a + 1, NULL, 10) - strtol(rest_of_b + 1, NULL, 10);
	return difference < 0 ? -1 : difference > 0;
}

bool
check_installed_version(Oid *schema)
{
	char	   *version = installed_version(schema);

	if (version == NULL)
		return false;
	if (compare_versions(version, LIBRARY_VERSION) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("library of extension \"idempotency\" is older than the extension"),
				 errdetail("The library has version %s, and the extension in this database has version %s.",
						   LIBRARY_VERSION, version),
				 errhint("Install the package of that version. If the library is preloaded, restart the server.")));
	pfree(version);
	return true;
}
