/*-------------------------------------------------------------------------
 *
 * utf8.h
 *	  Strings of the database's encoding as UTF-8.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_UTF8_H
#define IDEMPOTENCY_UTF8_H

/*
 * Whether strings need no conversion: they are UTF-8, or their encoding is
 * unknown (SQL_ASCII).
 */
extern bool strings_are_utf8(void);

/*
 * The string as UTF-8, and its new length.  Returns the string itself if
 * nothing has to be converted, otherwise a copy in the current memory context.
 * Raises UNTRANSLATABLE_CHARACTER if UTF-8 has no such character.
 */
extern const char *utf8_from_string(const char *bytes, Size *length);

#endif							/* IDEMPOTENCY_UTF8_H */
