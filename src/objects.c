/*-------------------------------------------------------------------------
 *
 * objects.c
 *	  The extension's own tables, indexes and types, by OID.
 *
 * They are members of the extension (members.c).  A member may have been
 * altered since the extension created it.  Columns are read by number, without
 * the checks of a parser, so that a column of another type would be a wild
 * pointer.  This file checks kind and owner; the files that know the columns
 * check these by check_columns().
 *
 * OIDs are looked up once and kept for the life of the backend, or until a
 * relcache message names one of the tables: DROP EXTENSION, the turn of a
 * wheel slot (TRUNCATE gives it new storage), ALTER TABLE, CREATE TRIGGER,
 * REINDEX.
 *
 * A change of the contents of some tables sends such a message too:
 * announce_change().
 *
 * Some objects may be created later: the table and the function that
 * distribute() creates, and Citus's list of nodes.  No relcache has an entry
 * of a table that does not exist, so that backends react to the syscache
 * message about their names.  Such a message is also sent when the function is
 * replaced.
 *
 * A backend sees the message no later than it next locks a relation, so OIDs
 * that were looked up before a lock was taken are looked up again after it.
 *
 * Triggers.  Keys are written below the executor, where no trigger fires.  A
 * trigger that a user has put on a table would miss these writes: pg_repack's
 * log of changes would miss keys, which would then be lost.  Statements of the
 * extension, on the other hand, would fire it, and its code would run with the
 * privileges of the table's owner.  So writes are refused while there is such
 * a trigger:
 *
 *		claim						CREATE TRIGGER on leaf L
 *		objects(): none on L
 *									lock L, against writers
 *									commit, send messages
 *		lock L, accept messages
 *		objects(): looks again,
 *		  finds it, refuses
 *
 * If the claim is first to lock L, CREATE TRIGGER waits for its transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "compat.h"
#include "fmgr.h"
#include "members.h"
#include "miscadmin.h"
#include "objects.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "version.h"

PG_FUNCTION_INFO_V1(idempotency_announce_change);

static Objects known;
static bool known_valid = false;
static uint64 generation = 1;

/* Hashes of the syscache messages about objects that are not members. */
static uint32 keys_name;
static uint32 policy_name;
static uint32 nodes_name;
static uint32 schema_oid;

static void
forget(void)
{
	known_valid = false;
	generation++;
}

static void
forget_objects(Datum arg, Oid relid)
{
	bool		ours = relid == InvalidOid || !known_valid ||
		relid == known.keys || relid == known.wheel || relid == known.policy ||
		relid == known.distributed_keys || relid == known.citus_nodes;

	for (int leaf = 0; leaf < LEAVES && !ours; leaf++)
		ours = relid == known.leaf[leaf] || relid == known.leaf_index[leaf];
	if (ours)
		forget();
}

static void
forget_names(Datum arg, CacheNumber cacheid, uint32 name)
{
	if (name == 0 || !known_valid ||
		(cacheid == PROCNAMEARGSNSP ? name == policy_name : name == keys_name || name == nodes_name))
		forget();
}

/* The schema may have been given another name or owner. */
static void
forget_schema(Datum arg, CacheNumber cacheid, uint32 schema)
{
	if (schema == 0 || !known_valid || schema == schema_oid)
		forget();
}

void
watch_objects(void)
{
	CacheRegisterRelcacheCallback(forget_objects, (Datum) 0);
	CacheRegisterSyscacheCallback(RELNAMENSP, forget_names, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCNAMEARGSNSP, forget_names, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_schema, (Datum) 0);
}

uint64
objects_generation(void)
{
	return generation;
}

/*
 * Trigger on the tables that backends keep in memory: on commit, makes all
 * backends read the table again.
 */
Datum
idempotency_announce_change(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("announce_change() must be called as a trigger")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}

char *
object_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

/* ----------------------------------------------------------------
 *		Tables and types
 * ----------------------------------------------------------------
 */

static void
not_as_made(const char *name, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("\"idempotency.%s\" is not as this version of the extension created it", name),
			 errdetail_internal("%s", detail),
			 errhint("Run ALTER EXTENSION idempotency UPDATE if a new version was installed. Keep columns of your own in another table.")));
}

void
check_columns(const char *name, TupleDesc desc, const Oid *types, int count)
{
	if (desc->natts < count)
		not_as_made(name, psprintf(_("It has %d columns in place of %d."), desc->natts, count));
	for (int column = 0; column < desc->natts; column++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, column);

		if (column >= count && attribute->attisdropped)
			continue;
		if (column >= count)
			not_as_made(name, psprintf(_("Column \"%s\" was added."), NameStr(attribute->attname)));
		if (attribute->attisdropped || attribute->atttypid != types[column])
			not_as_made(name, psprintf(_("Column %d is not of type %s."),
									   column + 1, format_type_be(types[column])));
	}
}

/* The field for the OID of the table of that name, and the table's kind. */
static Oid *
place_of_table(Objects *found, const char *name, char *kind)
{
	*kind = RELKIND_RELATION;
	if (strcmp(name, "keys") == 0)
	{
		*kind = RELKIND_PARTITIONED_TABLE;
		return &found->keys;
	}
	if (strcmp(name, "wheel") == 0)
		return &found->wheel;
	if (strcmp(name, "policy") == 0)
		return &found->policy;
	if (strcmp(name, "keys_long") == 0)
		return &found->leaf[LEAF_LONG];
	if (strncmp(name, "keys_", 5) == 0 && strlen(name) == 6 &&
		name[5] >= '0' && name[5] < '0' + WHEEL_SLOTS)
		return &found->leaf[name[5] - '0'];
	return NULL;
}

/* Note the OID of a member if it is one of the tables, and check its kind. */
static void
find_table(Objects *found, Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class relation;
	Oid		   *place;
	char		kind;

	if (!HeapTupleIsValid(tuple))
		return;					/* it was dropped, and the message has not
								 * arrived yet */
	relation = (Form_pg_class) GETSTRUCT(tuple);
	place = place_of_table(found, NameStr(relation->relname), &kind);
	if (place != NULL)
	{
		if (relation->relkind != kind)
			not_as_made(NameStr(relation->relname), _("It is a relation of another kind."));
		if (relation->relpersistence != RELPERSISTENCE_PERMANENT)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" of extension \"idempotency\" is unlogged",
							NameStr(relation->relname)),
					 errdetail("A crash of the server would empty it, and requests could run again."),
					 errhint("Run ALTER TABLE %s SET LOGGED.", object_name(relid))));
		if (OidIsValid(found->owner) && relation->relowner != found->owner)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("tables of extension \"idempotency\" belong to different roles"),
					 errdetail("Table \"%s\" belongs to role \"%s\", another one to role \"%s\".",
							   NameStr(relation->relname),
							   GetUserNameFromId(relation->relowner, true),
							   GetUserNameFromId(found->owner, true)),
					 errhint("Give them back to the role that installed the extension, by ALTER TABLE .. OWNER TO.")));
		found->owner = relation->relowner;
		*place = relid;
	}
	ReleaseSysCache(tuple);
}

static void
find_tables(Objects *found)
{
	ListCell   *cell;
	bool		complete;

	foreach(cell, extension_members(RelationRelationId))
		find_table(found, lfirst_oid(cell));
	complete = OidIsValid(found->keys) && OidIsValid(found->wheel) && OidIsValid(found->policy);
	for (int leaf = 0; leaf < LEAVES; leaf++)
		complete = complete && OidIsValid(found->leaf[leaf]);
	if (!complete)
		extension_missing();
}

/* Scan a catalog by an index whose first column is an OID. */
static SysScanDesc
scan_by_oid(Relation catalog, Oid index, AttrNumber column, Oid value)
{
	ScanKeyData condition;

	ScanKeyInit(&condition, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(value));
	return systable_beginscan(catalog, index, true, NULL, 1, &condition);
}

/* The index of a leaf that decides whether a key is free: its primary key. */
static Oid
primary_key_of(Oid relid)
{
	Relation	catalog = table_open(IndexRelationId, AccessShareLock);
	SysScanDesc scan = scan_by_oid(catalog, IndexIndrelidIndexId,
								   Anum_pg_index_indrelid, relid);
	HeapTuple	tuple;
	Oid			found = InvalidOid;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_index index = (Form_pg_index) GETSTRUCT(tuple);

		if (index->indisprimary && index->indisvalid && index->indisready &&
			index->indimmediate && index->indnatts == 1)
			found = index->indexrelid;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	if (!OidIsValid(found))
		not_as_made(get_rel_name(relid), _("It does not have its original primary key."));
	return found;
}

static Oid
find_claim_result(void)
{
	ListCell   *cell;

	foreach(cell, extension_members(TypeRelationId))
	{
		HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(lfirst_oid(cell)));
		bool		same;

		if (!HeapTupleIsValid(tuple))
			continue;
		same = strcmp(NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname), "claim_result") == 0 &&
			((Form_pg_type) GETSTRUCT(tuple))->typtype == TYPTYPE_COMPOSITE;
		ReleaseSysCache(tuple);
		if (same)
			return lfirst_oid(cell);
	}
	extension_missing();
	return InvalidOid;
}

/* The OID of a table that may not exist. */
static Oid
table_if_exists(Oid schema, const char *name, uint32 *hash)
{
	*hash = GetSysCacheHashValue2(RELNAMENSP, CStringGetDatum(name),
								  ObjectIdGetDatum(schema));
	return get_relname_relid(name, schema);
}

/* Whether the schema belongs to the owner of the tables, or to a superuser. */
static bool
schema_is_safe(const Objects *found)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(found->schema));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return false;
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	return owner == found->owner || superuser_arg(owner);
}

/*
 * The table and the function that distribute() creates are not members.  They
 * are found by name, and only accepted if the owner is right.  Statements
 * address the table by name, so none is sent while the schema belongs to a
 * role that could give that name to another table.
 */
static Oid
find_distributed_keys(const Objects *found)
{
	Oid			relid = table_if_exists(found->schema, DISTRIBUTED_KEYS, &keys_name);
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class relation;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	relation = (Form_pg_class) GETSTRUCT(tuple);
	if (relation->relowner != found->owner || relation->relkind != RELKIND_RELATION ||
		relation->relpersistence != RELPERSISTENCE_PERMANENT)
		relid = InvalidOid;
	ReleaseSysCache(tuple);
	if (OidIsValid(relid) && !schema_is_safe(found))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("schema of extension \"idempotency\" belongs to a role that could replace table \"%s\"",
						DISTRIBUTED_KEYS),
				 errhint("Run ALTER SCHEMA %s OWNER TO %s.",
						 quote_identifier(get_namespace_name(found->schema)),
						 quote_identifier(GetUserNameFromId(found->owner, true)))));
	return relid;
}

/* The function that returns the policies of a cluster: rows of the table, given one. */
static Oid
find_distributed_policy(const Objects *found)
{
	Datum		name = CStringGetDatum(DISTRIBUTED_POLICY);
	Oid			row_type = get_rel_type_id(found->policy);
	Datum		arguments = PointerGetDatum(buildoidvector(&row_type, 1));
	Datum		schema = ObjectIdGetDatum(found->schema);
	HeapTuple	tuple = SearchSysCache3(PROCNAMEARGSNSP, name, arguments, schema);
	Form_pg_proc function;
	Oid			oid = InvalidOid;

	policy_name = GetSysCacheHashValue3(PROCNAMEARGSNSP, name, arguments, schema);
	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	function = (Form_pg_proc) GETSTRUCT(tuple);
	if (function->proowner == found->owner && function->proretset &&
		function->prorettype == row_type)
		oid = function->oid;
	ReleaseSysCache(tuple);
	return oid;
}

/* ----------------------------------------------------------------
 *		Triggers
 * ----------------------------------------------------------------
 */

/* Citus adds a trigger of its own to the tables that it distributes. */
static bool
is_function_of_citus(Oid function)
{
	Oid			citus = get_extension_oid("citus", true);

	return OidIsValid(citus) && getExtensionOfObject(ProcedureRelationId, function) == citus;
}

/*
 * Note a trigger of the table that may fire and whose function is not a
 * member.
 */
static void
find_foreign_trigger(Objects *found, Oid relid, const List *functions)
{
	Relation	catalog;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(relid))
		return;
	catalog = table_open(TriggerRelationId, AccessShareLock);
	scan = scan_by_oid(catalog, TriggerRelidNameIndexId,
					   Anum_pg_trigger_tgrelid, relid);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

		if (trigger->tgenabled != TRIGGER_DISABLED &&
			!list_member_oid(functions, trigger->tgfoid) &&
			!is_function_of_citus(trigger->tgfoid))
		{
			found->foreign_table = relid;
			found->foreign_trigger = trigger->tgname;
		}
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

static void
find_foreign_triggers(Objects *found)
{
	List	   *functions = extension_members(ProcedureRelationId);

	find_foreign_trigger(found, found->keys, functions);
	find_foreign_trigger(found, found->wheel, functions);
	find_foreign_trigger(found, found->policy, functions);
	for (int leaf = 0; leaf < LEAVES; leaf++)
		find_foreign_trigger(found, found->leaf[leaf], functions);
	find_foreign_trigger(found, found->distributed_keys, functions);
	list_free(functions);
}

void
check_triggers(void)
{
	const Objects *now = objects();

	if (OidIsValid(now->foreign_table))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" has a trigger that is not part of extension \"idempotency\"",
						get_rel_name(now->foreign_table)),
				 errdetail("Trigger \"%s\" would miss what the extension writes.",
						   NameStr(now->foreign_trigger)),
				 errhint("Drop or disable the trigger. pg_repack leaves the tables alone by its option --exclude-extension=idempotency.")));
}

/* ----------------------------------------------------------------
 *		All of it
 * ----------------------------------------------------------------
 */

const Objects *
objects(void)
{
	if (!known_valid)
	{
		uint64		seen = generation;
		Objects		found = {0};

		if (!check_installed_version(&found.schema))
			extension_missing();
		schema_oid = GetSysCacheHashValue1(NAMESPACEOID, ObjectIdGetDatum(found.schema));
		find_tables(&found);
		for (int leaf = 0; leaf < LEAVES; leaf++)
			found.leaf_index[leaf] = primary_key_of(found.leaf[leaf]);
		found.keys_type = get_rel_type_id(found.keys);
		found.claim_result_type = find_claim_result();
		found.distributed_keys = find_distributed_keys(&found);
		found.distributed_policy = find_distributed_policy(&found);
		found.citus_nodes = table_if_exists(PG_CATALOG_NAMESPACE, "pg_dist_node", &nodes_name);
		find_foreign_triggers(&found);

		/* A message that arrives meanwhile makes the next call look again. */
		known = found;
		known_valid = seen == generation;
	}
	return &known;
}
