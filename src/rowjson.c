/*-------------------------------------------------------------------------
 *
 * rowjson.c
 *	  Columns of a table's row as jsonb or text, alike in every session.
 *
 * The columns are formed into a record of their own, which to_jsonb() turns
 * into an object: the server's own rules for numbers, dates, arrays, casts to
 * json.  to_jsonb() learns the type of its argument from the expression that
 * calls it, so it is given one.
 *
 * What it writes depends on settings of the session for some types: the same
 * timestamptz has another offset where TimeZone differs.  Rows are compared
 * by what is written, and the retry of a request need not come over the
 * connection, or with the settings, of the first.  So the settings are fixed
 * for the time of the conversion, those that the types at hand depend on and
 * that differ, as postgres_fdw does for what it sends.
 *
 * search_path is left alone, because a cast to json that somebody wrote in
 * SQL may need it.  The text of regclass and its kin depends on it: tables
 * that have such columns are inserted into under one search_path.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "rowjson.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

/* Ordered: dates and times in jsonb depend on the first alone. */
static const struct
{
	const char *name;
	const char *value;
}			fixed_settings[] = {
	{"TimeZone", "UTC"},
	{"DateStyle", "ISO, MDY"},
	{"IntervalStyle", "postgres"},
	{"extra_float_digits", "1"},
	{"bytea_output", "hex"},
	{"lc_monetary", "C"},
};

#define NO_SETTINGS		0
#define TIME_ZONE_ONLY	1
#define ALL_SETTINGS	((int) lengthof(fixed_settings))

/* How many of the settings the text of a type may depend on. */
static int
settings_of_type(Oid type, bool in_json)
{
	Oid			base = getBaseType(type);
	Oid			element;

	switch (base)
	{
		case BOOLOID:
		case CHAROID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case OIDOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case NAMEOID:
		case UUIDOID:
		case JSONOID:
		case JSONBOID:
			return NO_SETTINGS;
		case DATEOID:
		case TIMESTAMPOID:
			return in_json ? NO_SETTINGS : ALL_SETTINGS;
		case TIMESTAMPTZOID:
			return in_json ? TIME_ZONE_ONLY : ALL_SETTINGS;
		default:
			break;
	}
	if (type_is_enum(base))
		return NO_SETTINGS;
	element = get_element_type(base);
	return OidIsValid(element) ? settings_of_type(element, in_json) : ALL_SETTINGS;
}

/* Returns what restore_settings() needs. */
static int
fix_settings(int count)
{
	int			level = NewGUCNestLevel();

	for (int i = 0; i < count; i++)
	{
		const char *now = GetConfigOption(fixed_settings[i].name, false, false);

		if (strcmp(now, fixed_settings[i].value) != 0)
			(void) set_config_option(fixed_settings[i].name,
									 fixed_settings[i].value,
									 PGC_USERSET, PGC_S_SESSION,
									 GUC_ACTION_SAVE, true, 0, false);
	}
	return level;
}

static void
restore_settings(int level)
{
	AtEOXact_GUC(true, level);
}

RowJson *
row_json_for(TupleDesc table, const Bitmapset *columns, MemoryContext context)
{
	MemoryContext caller = MemoryContextSwitchTo(context);
	RowJson    *row = palloc0(sizeof(RowJson));
	FuncExpr   *call;
	int			column = -1;

	row->ncolumns = bms_num_members(columns);
	row->columns = palloc(row->ncolumns * sizeof(AttrNumber));
	row->desc = CreateTemplateTupleDesc(row->ncolumns);
	for (int i = 0; (column = bms_next_member(columns, column)) >= 0; i++)
	{
		Oid			type = TupleDescAttr(table, column - 1)->atttypid;

		row->columns[i] = column;
		row->settings = Max(row->settings, settings_of_type(type, true));
		TupleDescCopyEntry(row->desc, i + 1, table, column);
	}
	FINISH_TUPLE_DESC(row->desc);
	row->desc = BlessTupleDesc(row->desc);

	call = makeFuncExpr(F_TO_JSONB, JSONBOID,
						list_make1(makeNullConst(RECORDOID, row->desc->tdtypmod,
												 InvalidOid)),
						InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	fmgr_info_cxt(F_TO_JSONB, &row->to_jsonb, context);
	fmgr_info_set_expr((Node *) call, &row->to_jsonb);
	MemoryContextSwitchTo(caller);
	return row;
}

Jsonb *
row_json(RowJson *row, HeapTuple tuple, TupleDesc table)
{
	Datum	   *values = palloc(row->ncolumns * sizeof(Datum));
	bool	   *isnull = palloc(row->ncolumns * sizeof(bool));
	Datum		record;
	Datum		result;
	int			level = 0;

	for (int i = 0; i < row->ncolumns; i++)
		values[i] = heap_getattr(tuple, row->columns[i], table, &isnull[i]);
	record = HeapTupleGetDatum(heap_form_tuple(row->desc, values, isnull));

	if (row->settings > 0)
		level = fix_settings(row->settings);
	result = FunctionCall1(&row->to_jsonb, record);
	if (row->settings > 0)
		restore_settings(level);
	return DatumGetJsonbP(result);
}

ColumnText *
column_text_for(TupleDesc table, AttrNumber column, MemoryContext context)
{
	Oid			type = TupleDescAttr(table, column - 1)->atttypid;
	ColumnText *result = MemoryContextAllocZero(context, sizeof(ColumnText));
	Oid			output;
	bool		is_varlena;

	result->column = column;
	result->settings = settings_of_type(type, false);
	getTypeOutputInfo(type, &output, &is_varlena);
	fmgr_info_cxt(output, &result->output, context);
	return result;
}

text *
column_text(ColumnText *column, HeapTuple tuple, TupleDesc table)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column->column, table, &isnull);
	char	   *result;
	int			level = 0;

	if (isnull)
		return NULL;
	if (column->settings > 0)
		level = fix_settings(column->settings);
	result = OutputFunctionCall(&column->output, value);
	if (column->settings > 0)
		restore_settings(level);
	return cstring_to_text(result);
}
