/*-------------------------------------------------------------------------
 *
 * errorfilter.c
 *	  Which errors of a command are stored as its result.
 *
 * A filter is an array of text: SQLSTATEs of five characters, and classes of
 * two.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "error.h"
#include "key/errorfilter.h"
#include "miscadmin.h"

static int
filter_entries(const ArrayType *filter, Datum **entries, bool **isnull)
{
	int			count;

	deconstruct_array(unconstify(ArrayType *, filter), TEXTOID, -1, false,
					  TYPALIGN_INT, entries, isnull, &count);
	return count;
}

/* Whether the string has the characters and the length of a SQLSTATE or a class. */
static bool
is_sqlstate_part(const char *part, int length)
{
	for (int i = 0; i < length; i++)
	{
		if (!(part[i] >= '0' && part[i] <= '9') && !(part[i] >= 'A' && part[i] <= 'Z'))
			return false;
	}
	return length == 5 || length == 2;
}

void
check_error_filter(const ArrayType *filter)
{
	Datum	   *entries;
	bool	   *isnull;
	int			count = filter_entries(filter, &entries, &isnull);

	for (int i = 0; i < count; i++)
	{
		const char *entry = DatumGetPointer(entries[i]);

		CHECK_FOR_INTERRUPTS();
		if (isnull[i] || !is_sqlstate_part(VARDATA_ANY(entry), VARSIZE_ANY_EXHDR(entry)))
			ereport(ERROR,
					(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
					 errmsg("cache_errors must contain SQLSTATEs or classes of SQLSTATEs"),
					 errdetail("Element %d is neither.", i + 1),
					 errhint("Give five digits or upper-case letters, such as 23505, or the two of a class, such as 23.")));
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

		CHECK_FOR_INTERRUPTS();
		/* A policy that was written directly into the table is unchecked. */
		if (!isnull[i] &&
			is_sqlstate_part(VARDATA_ANY(entry), VARSIZE_ANY_EXHDR(entry)) &&
			strncmp(sqlstate, VARDATA_ANY(entry), VARSIZE_ANY_EXHDR(entry)) == 0)
			return true;
	}
	return false;
}
