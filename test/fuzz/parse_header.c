/*-------------------------------------------------------------------------
 *
 * parse_header.c
 *	  Fuzz target for the parser of the Idempotency-Key header.
 *
 * Each input is parsed strictly and leniently; what must be true of the two
 * results is asserted below.  Header and key are in buffers of exactly their
 * size, so that the address sanitizer detects an access beyond them.
 *
 * With libFuzzer this file is the target.  Compiled with -DREPLAY it is a
 * program that runs the files named on its command line once each, for
 * compilers without libFuzzer.
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/header.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool holds, const char *promise)
{
	if (!holds)
	{
		fprintf(stderr, "broken promise: %s\n", promise);
		abort();
	}
}

static void *
allocate(size_t size)
{
	/* Not malloc(0), which may be NULL. */
	void	   *memory = malloc(size > 0 ? size : 1);

	if (memory == NULL)
		abort();
	return memory;
}

/* A parsed header and its key. */
typedef struct Parsed
{
	HeaderKey	result;
	char	   *key;
} Parsed;

static Parsed
parse(const char *header, size_t length, bool strict)
{
	char	   *exact = allocate(length);
	Parsed		parsed;

	if (length > 0)
		memcpy(exact, header, length);
	parsed.key = allocate(length);
	parsed.result = parse_key_header(exact, length, strict, parsed.key);
	free(exact);

	if (parsed.result.fault == HEADER_OK)
	{
		check(parsed.result.length <= length, "a key is no longer than its header");
		for (size_t i = 0; i < parsed.result.length; i++)
			check(parsed.key[i] >= 0x20 && parsed.key[i] <= 0x7e,
				  "a key is printable ASCII");
	}
	else
	{
		check(parsed.result.position <= length, "a fault lies within the header");
		check(header_expectation(parsed.result.fault)[0] != '\0',
			  "a fault says what was expected");
	}
	return parsed;
}

static bool
same_key(const Parsed *a, const Parsed *b)
{
	return a->result.fault == HEADER_OK && b->result.fault == HEADER_OK &&
		a->result.length == b->result.length &&
		memcmp(a->key, b->key, a->result.length) == 0;
}

/* Write the key as a string item. */
static size_t
serialize(const Parsed *parsed, char *header)
{
	size_t		n = 0;

	header[n++] = '"';
	for (size_t i = 0; i < parsed->result.length; i++)
	{
		if (parsed->key[i] == '"' || parsed->key[i] == '\\')
			header[n++] = '\\';
		header[n++] = parsed->key[i];
	}
	header[n++] = '"';
	return n;
}

/* What must be true of every header that is accepted. */
static void
check_accepted(const char *header, size_t length, bool strict, const Parsed *parsed)
{
	char	   *again = allocate(length * 2 + 4);
	size_t		n = serialize(parsed, again);
	Parsed		other;

	other = parse(again, n, true);
	check(same_key(parsed, &other), "a key written as a string is read as the same key");
	free(other.key);

	other = parse(again, n - 1, true);
	check(other.result.fault != HEADER_OK, "a string without its closing quote is refused");
	free(other.key);

	again[0] = ' ';
	memcpy(again + 1, header, length);
	again[length + 1] = ' ';
	other = parse(again, length + 2, strict);
	check(same_key(parsed, &other), "spaces around an item change nothing");
	free(other.key);

	again[length + 1] = ',';
	other = parse(again, length + 2, strict);
	check(other.result.fault == HEADER_LIST && other.result.position == length + 1,
		  "a list is refused at its comma");
	free(other.key);
	free(again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *header = (const char *) data;
	Parsed		strict = parse(header, size, true);
	Parsed		lenient = parse(header, size, false);

	if (strict.result.fault == HEADER_OK)
	{
		check(same_key(&strict, &lenient), "a header that is accepted strictly has the same key leniently");
		check_accepted(header, size, true, &strict);
	}
	if (lenient.result.fault == HEADER_OK)
	{
		check(strict.result.fault == HEADER_OK ||
			  strict.result.fault == HEADER_NOT_A_STRING,
			  "being strict refuses bare keys and nothing else");
		check_accepted(header, size, false, &lenient);
	}
	free(strict.key);
	free(lenient.key);
	return 0;
}

#ifdef REPLAY

#define MAX_INPUT	65536

int
main(int argc, char **argv)
{
	static uint8_t input[MAX_INPUT];

	for (int i = 1; i < argc; i++)
	{
		FILE	   *file = fopen(argv[i], "rb");

		if (file == NULL)
		{
			perror(argv[i]);
			return 1;
		}
		LLVMFuzzerTestOneInput(input, fread(input, 1, sizeof(input), file));
		fclose(file);
	}
	printf("%d inputs\n", argc - 1);
	return 0;
}

#endif
