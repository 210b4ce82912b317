/*-------------------------------------------------------------------------
 *
 * errorfilter.c
 *	  Which errors of a command are stored as its result.
 *
 * A filter is an array of text: SQLSTATEs, five characters, and classes of
 * them, two.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "error.h"
#include "errorfilter.h"

static int
filter_entries(const ArrayType *filter, Datum **entries, bool **isnull)
{
	int			count;

	deconstruct_array(unconstify(ArrayType *, filter), TEXTOID, -1, false,
					  TYPALIGN_INT, entries, isnull, &count);
	return count;
}

void
check_error_filter(const ArrayType *filter)
{
	Datum	   *entries;
	bool	   *isnull;
	int			count = filter_entries(filter, &entries, &isnull);

	for (int i = 0; i < count; i++)
	{
		int			length = isnull[i] ? 0 :
			VARSIZE_ANY_EXHDR(DatumGetPointer(entries[i]));

		if (length != 5 && length != 2)
			ereport(ERROR,
					(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
					 errmsg("cache_errors must hold SQLSTATEs or classes of them"),
					 errdetail("Element %d has %d characters.", i + 1, length),
					 errhint("Give five characters, such as 23505, or the two of a class, such as 23.")));
	}
}

bool
stores_error(const ArrayType *filter, int sqlerrcode)
{
	const char *sqlstate = unpack_sql_state(sqlerrcode);
	Datum	   *entries;
	bool	   *isnull;
	int			count;

	if (sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
		return false;

	count = filter_entries(filter, &entries, &isnull);
	for (int i = 0; i < count; i++)
	{
		const char *entry = DatumGetPointer(entries[i]);

		/* A policy may have been stored without set_policy(). */
		if (!isnull[i] && strncmp(sqlstate, VARDATA_ANY(entry), VARSIZE_ANY_EXHDR(entry)) == 0)
			return true;
	}
	return false;
}
