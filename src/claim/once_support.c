/*-------------------------------------------------------------------------
 *
 * once_support.c
 *	  Where in a query once() may stand.
 *
 * once() must be evaluated once for a row, and only for a row that the query
 * goes on with; else its key counts as seen, and the effect has not happened.
 * PostgreSQL promises neither of a condition:
 *
 *		- UPDATE, DELETE, MERGE, and SELECT with a locking clause, evaluate the
 *		  query again for a row that a concurrent transaction has changed
 *		  meanwhile (EvalPlanQual).  once() is true for the old version and
 *		  false for the new one, which then is left alone.
 *		- A condition of a join may be evaluated below the join, and one of a
 *		  query with ORDER BY and LIMIT below the sort, for rows that are then
 *		  left out.
 *
 * The planner asks this support function to simplify each call that it meets,
 * at the level of the query that contains it after views, functions in SQL and
 * subqueries have been merged into it.  It simplifies nothing and refuses calls
 * at such levels.  A call that is hidden in a function which is not merged is
 * not seen.
 *
 * A subquery is evaluated again with the level above it if it is part of an
 * expression there.  The rows of a CTE, and of a subquery in FROM, are
 * remembered.  RETURNING is evaluated for what has been changed, once.  Beside
 * it, a call that comes out of a function in SQL is not told from the one in
 * RETURNING; it is found when it is evaluated again: see idempotency_once().
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
#include "parser/parsetree.h"

PG_FUNCTION_INFO_V1(idempotency_once_support);

/* Whether an expression calls the function, subqueries left aside. */
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
 * Whether the call, if it is one of this level, is in RETURNING: evaluated for
 * a row that has been changed.  One that an SQL function brought along is in
 * no place that can be named.
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
 * Whether a level is planned for an expression of its parent: neither as one of
 * the parent's CTEs, which are planned first of all, nor as one of its
 * relations, which are planned when it knows them all.
 */
static bool
is_of_expression(const PlannerInfo *parent)
{
	return list_length(parent->cte_plan_ids) == list_length(parent->parse->cteList) &&
		parent->simple_rel_array_size == 0;
}

/* The relations that are joined here, and whether a condition has a call. */
static int
count_relations(Node *node, const Query *query, Oid function, bool *in_condition)
{
	int			count = 0;
	ListCell   *cell;

	if (IsA(node, RangeTblRef))
		return rt_fetch(((RangeTblRef *) node)->rtindex, query->rtable)->rtekind == RTE_RESULT ? 0 : 1;
	if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		*in_condition |= calls(join->quals, &function);
		return count_relations(join->larg, query, function, in_condition) +
			count_relations(join->rarg, query, function, in_condition);
	}
	*in_condition |= calls(((FromExpr *) node)->quals, &function);
	foreach(cell, ((FromExpr *) node)->fromlist)
		count += count_relations(lfirst(cell), query, function, in_condition);
	return count;
}

static bool
is_above_discarded_rows(const Query *query, Oid function)
{
	bool		in_condition = false;
	int			relations = count_relations((Node *) query->jointree, query, function, &in_condition);

	return in_condition &&
		(relations > 1 || (query->sortClause != NIL && query->limitCount != NULL));
}

/* The only form that is right whatever the query around it. */
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
				 errdetail("A condition beside a join, or ORDER BY and LIMIT, may be evaluated for rows that these leave out; their keys would count as seen."),
				 WRITE_A_CTE));
}

/*
 * Support function of once().  Raises IK400 for a call where it may be
 * evaluated more than once for a row, or for a row that is left out.
 */
Datum
idempotency_once_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);

	if (IsA(request, SupportRequestSimplify))
	{
		SupportRequestSimplify *simplify = (SupportRequestSimplify *) request;

		/* Without a query around it, an expression is evaluated as it stands. */
		if (simplify->root != NULL)
			refuse_call(simplify->root, simplify->fcall->funcid);
	}
	PG_RETURN_POINTER(NULL);
}
