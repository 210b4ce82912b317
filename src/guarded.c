/*-------------------------------------------------------------------------
 *
 * guarded.c
 *	  What the guard needs to know of a table.
 *
 * The request is the row without the columns that a retry may fill in anew:
 * the key itself, the primary key, and every column that has a default (its
 * own or its domain's), an identity or a generation expression.
 *
 * A row trigger of a partitioned table fires on the partition that the row is
 * put in.  All partitions must come to the same answers, because a retry may
 * be put in another one:
 *
 *		- the default scope is the name of the root;
 *		- a column is left out of the request where the root or the partition
 *		  gives it a default: a row that comes by the root has been given the
 *		  root's defaults, which a table attached later need not have.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/partition.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "error.h"
#include "guarded.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static Oid
root_of(Relation relation)
{
	Oid			relid = RelationGetRelid(relation);

	return relation->rd_rel->relispartition ?
		llast_oid(get_partition_ancestors(relid)) : relid;
}

static Bitmapset *
primary_key_of(Relation relation)
{
	Bitmapset  *columns = NULL;
	List	   *indexes = RelationGetIndexList(relation);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(lc)));
		Form_pg_index index;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for index %u", lfirst_oid(lc));
		index = (Form_pg_index) GETSTRUCT(tuple);
		if (index->indisprimary && index->indisvalid)
		{
			for (int i = 0; i < index->indnkeyatts; i++)
				columns = bms_add_member(columns, index->indkey.values[i]);
		}
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
	return columns;
}

static bool
has_default(Form_pg_attribute column)
{
	return column->atthasdef || column->attidentity != '\0' ||
		column->attgenerated != '\0' ||
		(get_typtype(column->atttypid) == TYPTYPE_DOMAIN &&
		 get_typdefault(column->atttypid) != NULL);
}

/* The columns that a retry may fill in anew. */
static Bitmapset *
refilled_columns(Relation relation)
{
	TupleDesc	desc = RelationGetDescr(relation);
	Bitmapset  *columns = primary_key_of(relation);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (!column->attisdropped && has_default(column))
			columns = bms_add_member(columns, column->attnum);
	}
	return columns;
}

/* The root's columns by their numbers in a partition. */
static Bitmapset *
in_partition(const Bitmapset *columns, Relation root, Oid partition)
{
	Bitmapset  *result = NULL;
	int			column = -1;

	while ((column = bms_next_member(columns, column)) >= 0)
	{
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(root), column - 1);

		result = bms_add_member(result, get_attnum(partition, NameStr(attribute->attname)));
	}
	return result;
}

/*
 * The content of a virtual generated column is undefined in a trigger.  Such
 * columns exist from 18 on.
 */
static bool
has_content(Form_pg_attribute column)
{
	return !column->attisdropped &&
		(column->attgenerated == '\0' ||
		 column->attgenerated == ATTRIBUTE_GENERATED_STORED);
}

static AttrNumber
find_key_column(Relation relation, const char *name)
{
	AttrNumber	column = get_attnum(RelationGetRelid(relation), name);

	if (column <= 0)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("table \"%s\" has no column \"%s\" to guard",
						RelationGetRelationName(relation), name),
				 errdetail("The first argument of idempotency.guard() names the column that holds the idempotency key."),
				 errhint("After renaming the column, make the triggers anew with idempotency.guard_table().")));

	/* A generated column has no value yet when the key is claimed. */
	if (TupleDescAttr(RelationGetDescr(relation), column - 1)->attgenerated != '\0')
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("column \"%s\" of table \"%s\" can't hold an idempotency key",
						name, RelationGetRelationName(relation)),
				 errdetail("It is a generated column; these are computed after BEFORE triggers have fired."),
				 errhint("Guard a column that the client fills in.")));
	return column;
}

void
describe_guarded(GuardedTable *guarded, Relation relation,
				 const char *key_column, const char *scope)
{
	TupleDesc	desc = RelationGetDescr(relation);
	Bitmapset  *left_out;

	memset(guarded, 0, sizeof(*guarded));
	guarded->root = root_of(relation);
	guarded->key_column = find_key_column(relation, key_column);
	guarded->primary_key = primary_key_of(relation);
	if (guarded->primary_key == NULL)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("table \"%s\" has no primary key",
						RelationGetRelationName(relation)),
				 errdetail("The guard stores the primary key of the inserted row as the result of its idempotency key."),
				 errhint("Add a primary key, or call idempotency.claim() and idempotency.complete().")));

	left_out = bms_add_member(refilled_columns(relation), guarded->key_column);
	if (guarded->root != RelationGetRelid(relation))
	{
		Relation	root = relation_open(guarded->root, AccessShareLock);

		left_out = bms_union(left_out,
							 in_partition(refilled_columns(root), root,
										  RelationGetRelid(relation)));
		relation_close(root, AccessShareLock);
	}

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (has_content(column))
			guarded->row = bms_add_member(guarded->row, column->attnum);
	}
	guarded->request = bms_difference(guarded->row, left_out);
	guarded->scope = scope != NULL ? cstring_to_text(scope) :
		cstring_to_text(quote_qualified_identifier(get_namespace_name(get_rel_namespace(guarded->root)),
												   get_rel_name(guarded->root)));
}

bool
mode_raises(const char *mode)
{
	bool		raises = strcmp(mode, "raise") == 0;

	if (!raises && strcmp(mode, "skip") != 0)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("mode of the guard must be \"skip\" or \"raise\""),
				 errdetail("The value given is \"%s\".", mode),
				 errhint("\"skip\" leaves out a duplicate row without an error, \"raise\" raises one that carries the first row's result.")));
	return raises;
}
