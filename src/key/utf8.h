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
 * Whether strings are UTF-8 as they are, or of no known encoding and taken as
 * they are.
 */
extern bool strings_are_utf8(void);

/*
 * The string as UTF-8, and its new length: the same bytes where nothing has
 * to be converted, else a copy in the current memory context.  Raises
 * UNTRANSLATABLE_CHARACTER where UTF-8 has no such character.
 */
extern const char *utf8_from_string(const char *bytes, Size *length);

#endif							/* IDEMPOTENCY_UTF8_H */
