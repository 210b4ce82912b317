/*-------------------------------------------------------------------------
 *
 * header.c
 *	  Reading the Idempotency-Key header.
 *
 * The header is a structured field (RFC 9651): one item, a string, with any
 * parameters.
 *
 *		"8e03978e-40d5-43dd-bc93-6894a57f9324";v=1
 *
 * The parser follows section 4.2 of the RFC to the letter: what the section
 * accepts is a key, and what it refuses is a fault with its position.  A
 * string without its closing quote is not completed, a second value is not
 * dropped, and a misplaced space is not trimmed: two servers that repair a
 * header differently would take one request for two.
 *
 * Many clients send the key without quotes.  A bare key, accepted unless the
 * caller is strict, consists of the characters of a token and "=", so that
 * UUIDs, ULIDs, and both forms of base64 are bare keys.  It may begin with any
 * of them but ":" and "=": a ":" begins a byte sequence.  No bare key begins
 * with a quote, so that a header that strict mode accepts means the same in
 * both modes.
 *
 * Plain C without allocation or thrown errors, which reads every byte a
 * constant number of times; the fuzz target is built from this file.
 *
 *-------------------------------------------------------------------------
 */
#include "http/header.h"

#include <string.h>

/* The limits that the RFC sets for numbers. */
#define MAX_INTEGER_DIGITS		15
#define MAX_DECIMAL_CHARACTERS	16
#define MAX_DIGITS_BEFORE_POINT 12
#define MAX_DIGITS_AFTER_POINT	3

typedef struct Parser
{
	const char *input;
	size_t		length;
	size_t		position;		/* of the next byte */
	HeaderFault fault;
	size_t		fault_position;
} Parser;

#define NO_CHARACTER	(-1)

/* The next byte, or NO_CHARACTER at the end. */
static int
peek(const Parser *parser)
{
	return parser->position < parser->length ?
		(unsigned char) parser->input[parser->position] : NO_CHARACTER;
}

static int
next(Parser *parser)
{
	int			c = peek(parser);

	if (c != NO_CHARACTER)
		parser->position++;
	return c;
}

/* Consume the next byte if it is the given one. */
static bool
accept(Parser *parser, char c)
{
	if (peek(parser) != c)
		return false;
	parser->position++;
	return true;
}

static bool
fail_at(Parser *parser, HeaderFault fault, size_t position)
{
	parser->fault = fault;
	parser->fault_position = position;
	return false;
}

static bool
fail(Parser *parser, HeaderFault fault)
{
	return fail_at(parser, fault, parser->position);
}

static void
skip_spaces(Parser *parser)
{
	while (accept(parser, ' '))
		;
}

/* The RFC's characters are ASCII, so these functions ignore the locale. */

static bool
is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static bool
is_lower(int c)
{
	return c >= 'a' && c <= 'z';
}

static bool
is_letter(int c)
{
	return is_lower(c) || (c >= 'A' && c <= 'Z');
}

static bool
is_printable(int c)
{
	return c >= 0x20 && c <= 0x7e;
}

static bool
is_one_of(int c, const char *set)
{
	return c > 0 && strchr(set, c) != NULL;
}

static bool
is_token_character(int c)
{
	return is_letter(c) || is_digit(c) || is_one_of(c, "!#$%&'*+-.^_`|~:/");
}

static bool
is_bare_character(int c)
{
	return is_token_character(c) || c == '=';
}

/* ----------------------------------------------------------------
 *		Bare items (RFC 9651, section 4.2.3.1 and following)
 *
 * Each function begins at the first character of its item and leaves the
 * parser after the last one.
 * ----------------------------------------------------------------
 */

/* A string; its characters are copied to key unless that is NULL. */
static bool
parse_string(Parser *parser, char *key, size_t *key_length)
{
	size_t		n = 0;

	next(parser);
	for (;;)
	{
		size_t		start = parser->position;
		int			c = next(parser);

		if (c == NO_CHARACTER)
			return fail(parser, HEADER_STRING_END);
		if (c == '"')
			break;
		if (c == '\\')
		{
			c = peek(parser);
			if (c != '"' && c != '\\')
				return fail(parser, HEADER_STRING_ESCAPE);
			next(parser);
		}
		else if (!is_printable(c))
			return fail_at(parser, HEADER_STRING_CHARACTER, start);
		if (key != NULL)
			key[n] = (char) c;
		n++;
	}
	if (key_length != NULL)
		*key_length = n;
	return true;
}

/* An integer or decimal. */
static bool
parse_number(Parser *parser, bool *is_decimal)
{
	size_t		start = parser->position;
	size_t		digits;
	size_t		point = 0;
	bool		has_point = false;

	if (accept(parser, '-'))
		start = parser->position;
	if (!is_digit(peek(parser)))
		return fail(parser, HEADER_NUMBER);
	for (;;)
	{
		int			c = peek(parser);

		digits = parser->position - start;
		if (is_digit(c))
		{
			if (digits == (has_point ? MAX_DECIMAL_CHARACTERS : MAX_INTEGER_DIGITS))
				return fail(parser, HEADER_NUMBER);
		}
		else if (c == '.' && !has_point)
		{
			if (digits > MAX_DIGITS_BEFORE_POINT)
				return fail(parser, HEADER_NUMBER);
			has_point = true;
			point = parser->position;
		}
		else
			break;
		next(parser);
	}
	if (has_point)
	{
		size_t		after_point = parser->position - point - 1;

		if (after_point == 0)
			return fail(parser, HEADER_NUMBER);
		if (after_point > MAX_DIGITS_AFTER_POINT)
			return fail_at(parser, HEADER_NUMBER,
						   point + 1 + MAX_DIGITS_AFTER_POINT);
	}
	*is_decimal = has_point;
	return true;
}

/* A token, whose first character the caller has checked. */
static bool
parse_token(Parser *parser)
{
	while (is_token_character(peek(parser)))
		next(parser);
	return true;
}

/*
 * A byte sequence: base64 between colons.  Padding may be left out, and
 * surplus bits are ignored, as the RFC allows.
 */
static bool
parse_byte_sequence(Parser *parser)
{
	size_t		data = 0;
	size_t		padding = 0;

	next(parser);
	for (;;)
	{
		int			c = peek(parser);

		if (c == '=')
			padding++;
		else if (padding == 0 &&
				 (is_letter(c) || is_digit(c) || c == '+' || c == '/'))
			data++;
		else
			break;
		next(parser);
	}
	if (data % 4 == 1 ||
		(padding > 0 && (padding > 2 || (data + padding) % 4 != 0)) ||
		!accept(parser, ':'))
		return fail(parser, HEADER_BYTES);
	return true;
}

static bool
parse_boolean(Parser *parser)
{
	next(parser);
	if (!accept(parser, '0') && !accept(parser, '1'))
		return fail(parser, HEADER_BOOLEAN);
	return true;
}

static bool
parse_date(Parser *parser)
{
	bool		is_decimal;
	size_t		start;

	next(parser);
	start = parser->position;
	if (!parse_number(parser, &is_decimal))
		return fail_at(parser, HEADER_DATE, parser->fault_position);
	if (is_decimal)
		return fail_at(parser, HEADER_DATE, start);
	return true;
}

/* A decoder of UTF-8, fed byte by byte. */
typedef struct Utf8
{
	int			missing;		/* bytes missing of the character */
	unsigned char least;		/* bounds of the next one of them */
	unsigned char most;
} Utf8;

/*
 * The bounds of the second byte exclude overlong forms, surrogates, and code
 * points beyond U+10FFFF.
 */
static bool
utf8_accepts(Utf8 *utf8, unsigned char byte)
{
	if (utf8->missing > 0)
	{
		if (byte < utf8->least || byte > utf8->most)
			return false;
		utf8->missing--;
		utf8->least = 0x80;
		utf8->most = 0xbf;
		return true;
	}
	if (byte < 0x80)
		return true;
	if (byte < 0xc2 || byte > 0xf4)
		return false;
	utf8->missing = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
	utf8->least = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;
	utf8->most = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
	return true;
}

/* The value of a hexadecimal digit, which must be in lower case. */
static int
hex_value(int c)
{
	if (is_digit(c))
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A display string: UTF-8, of which all but printable ASCII is %-encoded. */
static bool
parse_display_string(Parser *parser)
{
	Utf8		utf8 = {0};

	next(parser);
	if (!accept(parser, '"'))
		return fail(parser, HEADER_DISPLAY_STRING);
	for (;;)
	{
		size_t		start = parser->position;
		int			c = next(parser);

		if (c == '%')
		{
			int			high = hex_value(next(parser));
			int			low = hex_value(next(parser));

			if (high < 0 || low < 0)
				return fail_at(parser, HEADER_DISPLAY_STRING, start);
			c = high * 16 + low;
		}
		else if (!is_printable(c) || (c == '"' && utf8.missing > 0))
			return fail_at(parser, HEADER_DISPLAY_STRING, start);
		else if (c == '"')
			return true;

		if (!utf8_accepts(&utf8, (unsigned char) c))
			return fail_at(parser, HEADER_DISPLAY_STRING, start);
	}
}

static bool
parse_bare_item(Parser *parser)
{
	int			c = peek(parser);
	bool		is_decimal;

	if (c == '-' || is_digit(c))
		return parse_number(parser, &is_decimal);
	if (c == '*' || is_letter(c))
		return parse_token(parser);
	switch (c)
	{
		case '"':
			return parse_string(parser, NULL, NULL);
		case ':':
			return parse_byte_sequence(parser);
		case '?':
			return parse_boolean(parser);
		case '@':
			return parse_date(parser);
		case '%':
			return parse_display_string(parser);
		default:
			return fail(parser, HEADER_PARAMETER_VALUE);
	}
}

/* ----------------------------------------------------------------
 *		The item
 * ----------------------------------------------------------------
 */

static bool
parse_parameters(Parser *parser)
{
	while (accept(parser, ';'))
	{
		int			c;

		skip_spaces(parser);
		if (!is_lower(peek(parser)) && peek(parser) != '*')
			return fail(parser, HEADER_PARAMETER_KEY);
		while (c = peek(parser), is_lower(c) || is_digit(c) || is_one_of(c, "_-.*"))
			next(parser);
		if (accept(parser, '=') && !parse_bare_item(parser))
			return false;
	}
	return true;
}

static bool
parse_key(Parser *parser, bool strict, char *key, size_t *key_length)
{
	size_t		start = parser->position;
	int			c = peek(parser);

	if (c == '"')
		return parse_string(parser, key, key_length);
	if (strict)
		return fail(parser, HEADER_NOT_A_STRING);
	if (!is_bare_character(c) || c == ':' || c == '=')
		return fail(parser, HEADER_NOT_A_KEY);
	while (is_bare_character(peek(parser)))
		next(parser);
	*key_length = parser->position - start;
	memcpy(key, parser->input + start, *key_length);
	return true;
}

static bool
parse_item(Parser *parser, bool strict, char *key, size_t *key_length)
{
	skip_spaces(parser);
	if (peek(parser) == NO_CHARACTER)
		return fail(parser, HEADER_BLANK);
	if (!parse_key(parser, strict, key, key_length) ||
		!parse_parameters(parser))
		return false;
	skip_spaces(parser);
	if (peek(parser) == ',')
		return fail(parser, HEADER_LIST);
	if (peek(parser) != NO_CHARACTER)
		return fail(parser, HEADER_TRAILING);
	return true;
}

HeaderKey
parse_key_header(const char *header, size_t length, bool strict, char *key)
{
	Parser		parser = {.input = header,.length = length};
	HeaderKey	result = {.fault = HEADER_OK};

	if (!parse_item(&parser, strict, key, &result.length))
	{
		result.fault = parser.fault;
		result.position = parser.fault_position;
		result.length = 0;
	}
	return result;
}

const char *
header_expectation(HeaderFault fault)
{
	switch (fault)
	{
		case HEADER_OK:
		case HEADER_BLANK:
			break;
		case HEADER_NOT_A_STRING:
			return "a string in double quotes";
		case HEADER_NOT_A_KEY:
			return "a string in double quotes, or a key without quotes";
		case HEADER_STRING_CHARACTER:
			return "a printable ASCII character";
		case HEADER_STRING_ESCAPE:
			return "a double quote or a backslash after the backslash";
		case HEADER_STRING_END:
			return "the closing double quote";
		case HEADER_LIST:
			return "one key, not a list";
		case HEADER_TRAILING:
			return "a parameter or the end";
		case HEADER_PARAMETER_KEY:
			return "the name of a parameter, which begins with a lower-case letter or an asterisk";
		case HEADER_PARAMETER_VALUE:
			return "the value of a parameter";
		case HEADER_NUMBER:
			return "a number of at most 15 digits, or of at most 12 digits, a point, and one to three digits";
		case HEADER_BYTES:
			return "base64 and a closing colon";
		case HEADER_BOOLEAN:
			return "0 or 1 after the question mark";
		case HEADER_DATE:
			return "a whole number after the at sign";
		case HEADER_DISPLAY_STRING:
			return "a display string: %, then UTF-8 in double quotes, %-encoded in lower case";
	}
	return "a key";
}
