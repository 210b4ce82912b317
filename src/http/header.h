/*-------------------------------------------------------------------------
 *
 * header.h
 *	  Reading the Idempotency-Key header.
 *
 * Plain C, without the server: the fuzz target is built from it as well.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_HEADER_H
#define IDEMPOTENCY_HEADER_H

#include <stdbool.h>
#include <stddef.h>

typedef enum HeaderFault
{
	HEADER_OK,
	HEADER_BLANK,				/* nothing but spaces */
	HEADER_NOT_A_STRING,		/* does not begin with a quote */
	HEADER_NOT_A_KEY,			/* nor, unless strict, with a bare key */
	HEADER_STRING_CHARACTER,
	HEADER_STRING_ESCAPE,
	HEADER_STRING_END,
	HEADER_LIST,				/* a comma: more than one value */
	HEADER_TRAILING,			/* something else after the value */
	HEADER_PARAMETER_KEY,
	HEADER_PARAMETER_VALUE,
	HEADER_NUMBER,
	HEADER_BYTES,
	HEADER_BOOLEAN,
	HEADER_DATE,
	HEADER_DISPLAY_STRING
} HeaderFault;

typedef struct HeaderKey
{
	HeaderFault fault;
	size_t		position;		/* of the fault: bytes that were well-formed */
	size_t		length;			/* of the key, if there is no fault */
} HeaderKey;

/*
 * Read the header's value, an item that is a string as RFC 9651 defines it.
 * Its parameters must be well-formed, and are ignored.  Unless strict, a bare
 * key is accepted as well.
 *
 * The key is written to a buffer of the caller's that has room for as many
 * bytes as the header has.  The key consists of printable ASCII characters,
 * and is empty only if the header has an empty string.
 */
extern HeaderKey parse_key_header(const char *header, size_t length,
								  bool strict, char *key);

/* What the parser expected at the position of the fault. */
extern const char *header_expectation(HeaderFault fault);

#endif							/* IDEMPOTENCY_HEADER_H */
