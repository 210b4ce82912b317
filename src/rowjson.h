/*-------------------------------------------------------------------------
 *
 * rowjson.h
 *	  Columns of a table's row as jsonb or text, alike in every session.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_ROWJSON_H
#define IDEMPOTENCY_ROWJSON_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "fmgr.h"
#include "nodes/bitmapset.h"
#include "utils/jsonb.h"

/* Some columns of a table, to be made jsonb of. */
typedef struct RowJson
{
	int			ncolumns;
	AttrNumber *columns;
	TupleDesc	desc;			/* of these columns */
	int			settings;		/* how many must be fixed meanwhile */
	FmgrInfo	to_jsonb;
} RowJson;

/* One column of a table, to be made text of. */
typedef struct ColumnText
{
	AttrNumber	column;
	int			settings;
	FmgrInfo	output;
} ColumnText;

/*
 * Prepare for the given columns, or the column, of a table's rows.  What is
 * prepared lives in the given memory context.
 */
extern RowJson *row_json_for(TupleDesc table, const Bitmapset *columns,
							 MemoryContext context);
extern ColumnText *column_text_for(TupleDesc table, AttrNumber column,
								   MemoryContext context);

/*
 * The columns as a jsonb object, as to_jsonb() makes one of a row; the column
 * as its type writes it, NULL where it is NULL.  Equal values give equal
 * results whatever the session's settings.
 */
extern Jsonb *row_json(RowJson *row, HeapTuple tuple, TupleDesc table);
extern text *column_text(ColumnText *column, HeapTuple tuple, TupleDesc table);

#endif							/* IDEMPOTENCY_ROWJSON_H */
