/*-------------------------------------------------------------------------
 *
 * objects.c
 *	  The extension's own tables, indexes and types, by OID.
 *
 * Looked up by name once and kept for the life of the backend, or until a
 * relcache message names one of the tables: DROP EXTENSION, the turn of a
 * wheel slot (TRUNCATE gives it new storage), ALTER TABLE, REINDEX.
 *
 * A change of the contents of a table sends one too: announce_change().
 *
 * Two tables may come into being later, the one of the distributed store and
 * Citus' list of nodes.  Nobody's relcache knows them before, so it is the
 * message about their names in the catalogue that is waited for.
 *
 * A backend sees the message no later than it next locks a relation, so what
 * was looked up before a lock is never used after it without asking again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat.h"
#include "fmgr.h"
#include "objects.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "version.h"

PG_FUNCTION_INFO_V1(idempotency_announce_change);

static Objects known;
static bool known_valid = false;
static uint64 generation = 1;

/* Hashes of the names of the tables that need not exist. */
static uint32 distributed_name;
static uint32 nodes_name;

static void
forget_objects(Datum arg, Oid relid)
{
	bool		ours = relid == InvalidOid || !known_valid ||
		relid == known.keys || relid == known.wheel || relid == known.policy ||
		relid == known.distributed_keys || relid == known.citus_nodes;

	for (int leaf = 0; leaf < LEAVES && !ours; leaf++)
		ours = relid == known.leaf[leaf] || relid == known.leaf_index[leaf];

	if (ours)
	{
		known_valid = false;
		generation++;
	}
}

static void
forget_names(Datum arg, CacheNumber cacheid, uint32 name)
{
	if (name == 0 || !known_valid || name == distributed_name || name == nodes_name)
	{
		known_valid = false;
		generation++;
	}
}

void
watch_objects(void)
{
	CacheRegisterRelcacheCallback(forget_objects, (Datum) 0);
	CacheRegisterSyscacheCallback(RELNAMENSP, forget_names, (Datum) 0);
}

uint64
objects_generation(void)
{
	return generation;
}

static void
not_installed(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("extension \"idempotency\" is not installed in this database"),
			 errhint("Run CREATE EXTENSION idempotency.")));
}

static Oid
relation_named(Oid schema, const char *name)
{
	Oid			relid = get_relname_relid(name, schema);

	if (!OidIsValid(relid))
		not_installed();
	return relid;
}

/* The same for a table that need not exist. */
static Oid
table_if_exists(Oid schema, const char *name, uint32 *hash)
{
	*hash = GetSysCacheHashValue2(RELNAMENSP, CStringGetDatum(name),
								  ObjectIdGetDatum(schema));
	return get_relname_relid(name, schema);
}

static Oid
type_named(Oid schema, const char *name)
{
	Oid			typid = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
										CStringGetDatum(name),
										ObjectIdGetDatum(schema));

	if (!OidIsValid(typid))
		not_installed();
	return typid;
}

/*
 * Trigger on the tables that backends keep in memory: on commit,
 * makes all of them read the table again.
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

const Objects *
objects(void)
{
	if (!known_valid)
	{
		uint64		seen = generation;
		Objects		found;
		Oid			schema = get_namespace_oid("idempotency", true);

		if (!OidIsValid(schema) || !check_installed_version())
			not_installed();
		found.keys = relation_named(schema, "keys");
		found.wheel = relation_named(schema, "wheel");
		found.policy = relation_named(schema, "policy");
		for (int leaf = 0; leaf < LEAVES; leaf++)
		{
			char		suffix[8] = "long";
			char		name[NAMEDATALEN];

			if (leaf != LEAF_LONG)
				snprintf(suffix, sizeof(suffix), "%d", leaf);
			snprintf(name, sizeof(name), "keys_%s", suffix);
			found.leaf[leaf] = relation_named(schema, name);
			snprintf(name, sizeof(name), "keys_%s_hash", suffix);
			found.leaf_index[leaf] = relation_named(schema, name);
		}
		found.keys_type = type_named(schema, "keys");
		found.claim_result_type = type_named(schema, "claim_result");
		found.distributed_keys = table_if_exists(schema, DISTRIBUTED_KEYS, &distributed_name);
		found.citus_nodes = table_if_exists(PG_CATALOG_NAMESPACE, "pg_dist_node", &nodes_name);

		/* A message that arrived meanwhile makes the next call look again. */
		known = found;
		known_valid = seen == generation;
	}
	return &known;
}
