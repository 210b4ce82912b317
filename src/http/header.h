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
	HEADER_NOT_A_KEY,			/* nor, not being strict, with a bare key */
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
	size_t		length;			/* of the key, where there is no fault */
} HeaderKey;

/*
 * Read the header's value, as RFC 9651 has it for an item that is a string.
 * Its parameters must be well-formed, and are ignored.  Unless strict, a bare
 * key will do as well.
 *
 * The key is written to a buffer of the caller's with room for as many bytes
 * as the header has.  It consists of printable ASCII characters, and is empty
 * only where the header has an empty string.
 */
extern HeaderKey parse_key_header(const char *header, size_t length,
								  bool strict, char *key);

/* What stood to be expected where the fault is. */
extern const char *header_expectation(HeaderFault fault);

#endif							/* IDEMPOTENCY_HEADER_H */
