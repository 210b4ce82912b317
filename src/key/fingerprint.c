/*-------------------------------------------------------------------------
 *
 * fingerprint.c
 *	  From a request to its fingerprint.
 *
 * Two requests that are equal as jsonb have the same fingerprint; two that are
 * not equal have different ones unless 128 bits collide.  Equality of jsonb
 * ignores the order of keys and white space, which the binary form does not
 * preserve, and trailing zeros of numbers, which it does preserve.  The values
 * are therefore written one by one, each preceded by its type and length, and
 * a number as its sign and hash, which are equal for equal numbers.
 *
 * Strings are written as UTF-8, whatever the database's encoding, and the
 * pairs of an object in the order that they have in a UTF-8 database, which is
 * by length and bytes of the key.  So a retry is still recognized after a dump
 * has been restored into a database of another encoding.
 *
 * jsonb's own hash function is not enough here: it rotates and folds the hash
 * of each element into one word, so that swapping elements of a long array can
 * go unnoticed.
 *
 * The hash is not a cryptographic one.  A client that constructs a collision
 * gets the result of its own earlier request.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "compat.h"
#include "key/fingerprint.h"
#include "key/utf8.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

PG_FUNCTION_INFO_V1(idempotency_fingerprint);

#define FINGERPRINT_LEN		16

/* Stored fingerprints depend on these two; they never change. */
#define HASH_SEED_HIGH	UINT64CONST(0x66696e6765727072)
#define HASH_SEED_LOW	UINT64CONST(0x696e74206f662061)

static void
append_bytes(StringInfo canonical, char type, const char *bytes, uint32 length)
{
	char	   *end;

	enlargeStringInfo(canonical, 1 + sizeof(length) + length);
	end = canonical->data + canonical->len;
	*end = type;
	memcpy(end + 1, &length, sizeof(length));
	memcpy(end + 1 + sizeof(length), bytes, length);
	canonical->len += 1 + sizeof(length) + length;
}

/* The number 0, allocated once. */
static Numeric
zero(void)
{
	static Numeric number = NULL;

	if (number == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

		number = int64_to_numeric(0);
		MemoryContextSwitchTo(caller);
	}
	return number;
}

/*
 * The digits are not written: a number of ten characters may have over a
 * hundred thousand.  The server's hash ignores the sign.
 */
static void
append_number(StringInfo canonical, Numeric number)
{
	bool		negative = DatumGetBool(DirectFunctionCall2(numeric_lt,
															NumericGetDatum(number),
															NumericGetDatum(zero())));
	uint64		half[2];

	half[0] = DatumGetUInt64(DirectFunctionCall2(hash_numeric_extended,
												 NumericGetDatum(number),
												 UInt64GetDatum(HASH_SEED_HIGH)));
	half[1] = DatumGetUInt64(DirectFunctionCall2(hash_numeric_extended,
												 NumericGetDatum(number),
												 UInt64GetDatum(HASH_SEED_LOW)));
	append_bytes(canonical, negative ? '-' : 'd', (char *) half, sizeof(half));
}

static void
append_string(StringInfo canonical, const char *bytes, Size length)
{
	const char *utf8 = utf8_from_string(bytes, &length);

	append_bytes(canonical, 's', utf8, length);
	if (utf8 != bytes)
		pfree(unconstify(char *, utf8));
}

static void
append_scalar(StringInfo canonical, const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			appendStringInfoChar(canonical, 'n');
			break;
		case jbvBool:
			appendStringInfoChar(canonical, value->val.boolean ? 't' : 'f');
			break;
		case jbvString:
			append_string(canonical, value->val.string.val, value->val.string.len);
			break;
		case jbvNumeric:
			append_number(canonical, value->val.numeric);
			break;
		default:
			elog(ERROR, "unexpected type of jsonb scalar: %d", (int) value->type);
	}
}

/* A key and its value in the canonical form. */
typedef struct Pair
{
	const char *bytes;
	int			length;
} Pair;

/* Compare by length and bytes of the key, which is written first. */
static int
compare_pairs(const void *a, const void *b, void *unused)
{
	const char *left = ((const Pair *) a)->bytes + 1;
	const char *right = ((const Pair *) b)->bytes + 1;
	uint32		left_length;
	uint32		right_length;

	memcpy(&left_length, left, sizeof(left_length));
	memcpy(&right_length, right, sizeof(right_length));
	if (left_length != right_length)
		return left_length < right_length ? -1 : 1;
	return memcmp(left + sizeof(left_length), right + sizeof(right_length), left_length);
}

/* Sort the pairs of an object, which begin at the given positions. */
static void
sort_pairs(StringInfo canonical, const List *starts)
{
	int			count = list_length(starts);
	Pair	   *pairs;
	char	   *sorted;
	char	   *to;
	int			first;

	if (count < 2)
		return;
	first = linitial_int(starts);
	pairs = palloc(count * sizeof(Pair));
	for (int i = 0; i < count; i++)
	{
		int			start = list_nth_int(starts, i);
		int			end = i + 1 < count ? list_nth_int(starts, i + 1) : canonical->len;

		pairs[i].bytes = canonical->data + start;
		pairs[i].length = end - start;
	}
	qsort_interruptible(pairs, count, sizeof(Pair), compare_pairs, NULL);
	sorted = to = palloc(canonical->len - first);
	for (int i = 0; i < count; i++)
	{
		memcpy(to, pairs[i].bytes, pairs[i].length);
		to += pairs[i].length;
	}
	memcpy(canonical->data + first, sorted, canonical->len - first);
	pfree(sorted);
	pfree(pairs);
}

static void
append_jsonb(StringInfo canonical, Jsonb *request)
{
	JsonbIterator *iterator = JsonbIteratorInit(&request->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	bool		sorted = strings_are_utf8();
	List	   *objects = NIL;	/* where the pairs of the open objects begin,
								 * innermost last */

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		switch (token)
		{
			case WJB_BEGIN_ARRAY:
				/* A bare scalar is an array of one to the iterator. */
				appendStringInfoChar(canonical,
									 value.val.array.rawScalar ? '=' : '[');
				break;
			case WJB_END_ARRAY:
				appendStringInfoChar(canonical, ']');
				break;
			case WJB_BEGIN_OBJECT:
				appendStringInfoChar(canonical, '{');
				if (!sorted)
					objects = lappend(objects, NIL);
				break;
			case WJB_END_OBJECT:
				if (objects != NIL)
				{
					sort_pairs(canonical, llast(objects));
					list_free(llast(objects));
					objects = list_delete_last(objects);
				}
				appendStringInfoChar(canonical, '}');
				break;
			case WJB_KEY:
				if (objects != NIL)
					llast(objects) = lappend_int(llast(objects), canonical->len);
				append_scalar(canonical, &value);
				break;
			case WJB_VALUE:
			case WJB_ELEM:
				append_scalar(canonical, &value);
				break;
			default:
				elog(ERROR, "unexpected jsonb token: %d", (int) token);
		}
	}
}

bytea *
fingerprint_of(Jsonb *request)
{
	StringInfoData canonical;
	uint64		half[2];
	bytea	   *result;

	if (request == NULL)
		return NULL;

	initStringInfo(&canonical);
	append_jsonb(&canonical, request);
	half[0] = hash_bytes_extended((unsigned char *) canonical.data,
								  canonical.len, HASH_SEED_HIGH);
	half[1] = hash_bytes_extended((unsigned char *) canonical.data,
								  canonical.len, HASH_SEED_LOW);
	pfree(canonical.data);

	StaticAssertStmt(sizeof(half) == FINGERPRINT_LEN,
					 "a fingerprint is two hashes");
	result = palloc(VARHDRSZ + FINGERPRINT_LEN);
	SET_VARSIZE(result, VARHDRSZ + FINGERPRINT_LEN);
	memcpy(VARDATA(result), half, FINGERPRINT_LEN);
	return result;
}

/*
 * fingerprint(request jsonb) returns bytea
 *
 * The fingerprint of a request, as a claim stores it.  adopt() computes those of
 * the portable edition, which stores the requests themselves.
 */
Datum
idempotency_fingerprint(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(fingerprint_of(PG_GETARG_JSONB_P(0)));
}

bool
fingerprints_differ(const bytea *a, const bytea *b)
{
	if (a == NULL || b == NULL)
		return a != b;
	return VARSIZE_ANY_EXHDR(a) != VARSIZE_ANY_EXHDR(b) ||
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) != 0;
}
