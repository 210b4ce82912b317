/*-------------------------------------------------------------------------
 *
 * utf8.c
 *	  Strings of the database's encoding as UTF-8.
 *
 * Keys, scopes and requests are hashed as UTF-8, so that a hash stays correct
 * in a database of another encoding.  A dump carries fingerprints there, which
 * can't be computed again; logical replication carries key hashes, and finds
 * the rows to change by these hashes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "key/utf8.h"
#include "mb/pg_wchar.h"

bool
strings_are_utf8(void)
{
	return GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII;
}

/* ASCII is the same in every encoding that a database can have. */
static bool
is_ascii(const char *bytes, Size length)
{
	for (Size i = 0; i < length; i++)
	{
		if (IS_HIGHBIT_SET(bytes[i]))
			return false;
	}
	return true;
}

const char *
utf8_from_string(const char *bytes, Size *length)
{
	char	   *converted;

	if (strings_are_utf8() || is_ascii(bytes, *length))
		return bytes;
	converted = (char *) pg_do_encoding_conversion((unsigned char *) unconstify(char *, bytes),
												   (int) *length,
												   GetDatabaseEncoding(), PG_UTF8);
	*length = strlen(converted);
	return converted;
}
