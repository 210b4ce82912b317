/*-------------------------------------------------------------------------
 *
 * once_support.c
 *	  Where in a query once() may be called.
 *
 * once() must be evaluated once for a row, and only for a row that the query
 * keeps; otherwise its key counts as seen although the effect has not
 * happened.  PostgreSQL guarantees neither for a condition:
 *
 *		- UPDATE, DELETE, MERGE, and SELECT with a locking clause, evaluate the
 *		  query again for a row that a concurrent transaction has changed
 *		  meanwhile (EvalPlanQual).  once() is true for the old version and
 *		  false for the new one, so that the row is not changed.
 *		- A condition of a join may be evaluated below the join, and one of a
 *		  query with LIMIT below the sort, for rows that are then left out, if
 *		  ORDER BY, DISTINCT, GROUP BY or a window function needs all rows
 *		  before it returns one.  So may a condition next to one with a
 *		  subquery: the cost of once() puts it after the other conditions, but
 *		  a subquery that is evaluated for each row costs more, if its table is
 *		  not small.
 *		- OFFSET and DISTINCT ON leave out rows that fulfil all conditions.
 *
 * The planner asks this support function to simplify each call, at the query
 * level that contains the call after views, SQL functions and subqueries have
 * been inlined.  The function simplifies nothing, and refuses calls at levels
 * of these kinds.  It does not see a call inside a function that is not
 * inlined.
 *
 * A subquery in an expression is evaluated again with the level above it.  The
 * rows of a CTE, and of a subquery in FROM, are kept.  RETURNING is evaluated
 * once for each changed row.  If a query has a call in RETURNING, a call that
 * comes from an inlined SQL function can't be distinguished from it; the
 * second evaluation of that call raises an error: see idempotency_once().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "error.h"
#include "fmgr.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"

PG_FUNCTION_INFO_V1(idempotency_once_support);

/* Whether an expression calls the function outside its subqueries. */
static bool
calls(Node *node, void *function)
{
	if (node == NULL || IsA(node, Query))
		return false;
	if (IsA(node, FuncExpr) && ((FuncExpr *) node)->funcid == *(Oid *) function)
		return true;
	return expression_tree_walker(node, calls, function);
}

/*
 * Whether the call, if it belongs to this level, is in RETURNING, which is
 * evaluated for a row that has been changed.  The place of a call from an
 * inlined SQL function is unknown.
 */
static bool
is_in_returning(const Query *query, Oid function)
{
	Query		rest = *query;

	rest.returningList = NIL;
	return calls((Node *) query->returningList, &function) &&
		!query_tree_walker(&rest, calls, &function,
						   QTW_IGNORE_RT_SUBQUERIES | QTW_IGNORE_CTE_SUBQUERIES);
}

static bool
is_evaluated_again(const Query *query)
{
	return query->commandType == CMD_UPDATE || query->commandType == CMD_DELETE ||
		query->commandType == CMD_MERGE || query->rowMarks != NIL;
}

/*
 * Whether a level is planned for an expression of its parent.  It is not if it
 * is one of the parent's CTEs, which are planned first, or one of its
 * relations, which are planned after all of them are known.
 */
static bool
is_of_expression(const PlannerInfo *parent)
{
	return list_length(parent->cte_plan_ids) == list_length(parent->parse->cteList) &&
		parent->simple_rel_array_size == 0;
}

/*
 * Whether an expression has a subquery that may be evaluated for each row,
 * outside the arguments of the function.
 */
static bool
has_subplan(Node *node, void *function)
{
	if (node == NULL || (IsA(node, FuncExpr) && ((FuncExpr *) node)->funcid == *(Oid *) function))
		return false;
	if (IsA(node, SubLink))
	{
		SubLink    *subquery = (SubLink *) node;

		if (subquery->testexpr != NULL || contain_vars_of_level(subquery->subselect, 1))
			return true;
	}
	return expression_tree_walker(node, has_subplan, function);
}

/* The conditions that are evaluated for the rows of a level before they are returned. */
typedef struct Conditions
{
	Oid			function;
	int			relations;		/* how many are joined */
	bool		call;			/* a condition has a call of the function */
	bool		subplan;		/* a condition has a subquery */
} Conditions;

static void
add_condition(Conditions *conditions, Node *condition)
{
	conditions->call |= calls(condition, &conditions->function);
	conditions->subplan |= has_subplan(condition, &conditions->function);
}

static void
add_relations(Conditions *conditions, const Query *query, Node *node)
{
	ListCell   *cell;

	if (IsA(node, RangeTblRef))
	{
		if (rt_fetch(((RangeTblRef *) node)->rtindex, query->rtable)->rtekind != RTE_RESULT)
			conditions->relations++;
	}
	else if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		add_condition(conditions, join->quals);
		add_relations(conditions, query, join->larg);
		add_relations(conditions, query, join->rarg);
	}
	else
	{
		add_condition(conditions, ((FromExpr *) node)->quals);
		foreach(cell, ((FromExpr *) node)->fromlist)
			add_relations(conditions, query, lfirst(cell));
	}
}

/* Whether OFFSET leaves out rows.  "OFFSET 0" does not: it keeps a subquery apart. */
static bool
skips_rows(Node *offset)
{
	Const	   *value = (Const *) eval_const_expressions(NULL, offset);

	return value != NULL &&
		!(IsA(value, Const) && (value->constisnull || DatumGetInt64(value->constvalue) == 0));
}

/* Whether clauses other than conditions leave out rows that have been read. */
static bool
leaves_out_rows(const Query *query)
{
	return query->hasDistinctOn || skips_rows(query->limitOffset) ||
		(query->limitCount != NULL &&
		 (query->sortClause != NIL || query->distinctClause != NIL || query->hasWindowFuncs));
}

static bool
is_above_discarded_rows(const Query *query, Oid function)
{
	Conditions	rows = {.function = function};
	Conditions	groups = {.function = function};

	add_relations(&rows, query, (Node *) query->jointree);
	add_condition(&groups, query->havingQual);
	return (groups.call && (groups.subplan || leaves_out_rows(query))) ||
		(rows.call && (rows.subplan || rows.relations > 1 || leaves_out_rows(query) ||
					   (query->groupClause != NIL && query->limitCount != NULL)));
}

/* The form that is correct in every query. */
#define WRITE_A_CTE \
	errhint("Select the rows first, and call it alone in the WHERE of a CTE: " \
			"WITH m AS MATERIALIZED (SELECT ..), fresh AS MATERIALIZED (SELECT * FROM m WHERE idempotency.once(m.id, 'consumer')) .. FROM fresh ..")

static void
refuse_call(const PlannerInfo *root, Oid function)
{
	bool		again = is_evaluated_again(root->parse) && !is_in_returning(root->parse, function);

	for (const PlannerInfo *level = root; level->parent_root != NULL; level = level->parent_root)
		again |= is_of_expression(level->parent_root) &&
			is_evaluated_again(level->parent_root->parse);
	if (again)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("once() is called where PostgreSQL may evaluate it again"),
				 errdetail("UPDATE, DELETE, MERGE, and SELECT with a locking clause evaluate their conditions and values again for a row that a concurrent transaction has changed; the key would count as seen."),
				 WRITE_A_CTE));
	if (is_above_discarded_rows(root->parse, function))
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("once() is called where PostgreSQL may evaluate it for rows that are not in the result"),
				 errdetail("A condition of a query with a join, a subquery, OFFSET, DISTINCT ON, or a LIMIT after sorting or grouping may be evaluated for rows that these remove; their keys would count as seen."),
				 WRITE_A_CTE));
}

/*
 * Support function of once().  Raises IK400 for a call that may be evaluated
 * more than once for a row, or for a row that is not in the result.
 */
Datum
idempotency_once_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);

	if (IsA(request, SupportRequestSimplify))
	{
		SupportRequestSimplify *simplify = (SupportRequestSimplify *) request;

		/* An expression outside a query is evaluated once. */
		if (simplify->root != NULL)
			refuse_call(simplify->root, simplify->fcall->funcid);
	}
	PG_RETURN_POINTER(NULL);
}
