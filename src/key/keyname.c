/*-------------------------------------------------------------------------
 *
 * keyname.c
 *	  The rules for keys, and their hash.
 *
 * A key is identified by scope and name, compared byte for byte.  The index
 * holds the hash of both, of 128 bits; keyrow.c compares the full scope and
 * name before it relies on a hash.
 *
 * If the name is a UUID of version 7, its 48 bits of time take the place of
 * the first 48 bits of the hash.  Keys that were made at about the same time
 * are then neighbors in the index, so that after a checkpoint the images of a
 * few index pages are written and not those of all.  80 bits of the hash
 * remain, and only keys of the same millisecond can collide in them.
 *
 * The second half, which consists of hash bits alone, names the key's lock, so
 * that keys of the same moment don't contend for one lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "compat.h"
#include "error.h"
#include "guc.h"
#include "key/keyname.h"
#include "key/utf8.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

/* Stored hashes depend on these two; they never change. */
#define HASH_SEED_HIGH	UINT64CONST(0x69646d70746e6379)
#define HASH_SEED_LOW	UINT64CONST(0x6b65792068617368)

/* Bytes of a UUID of version 7 that hold its time. */
#define UUID7_TIME_LEN	6

/* A message shows no more bytes of a key than this. */
#define KEY_SHOWN		255

PG_FUNCTION_INFO_V1(idempotency_key_hash);

bool
same_text(const text *a, const text *b)
{
	Size		length = VARSIZE_ANY_EXHDR(a);

	return length == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), length) == 0;
}

/* A string in the form in which it is hashed. */
typedef struct Bytes
{
	const char *data;
	Size		length;
} Bytes;

static Bytes
bytes_of_text(const text *value)
{
	Bytes		bytes = {VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)};

	bytes.data = utf8_from_string(bytes.data, &bytes.length);
	return bytes;
}

static uint64
hash_bytes_seeded(Bytes bytes, uint64 seed)
{
	return hash_bytes_extended((const unsigned char *) bytes.data, (int) bytes.length, seed);
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;					/* to lower case, if it is a letter */
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/*
 * The time of a UUID of version 7 that is written with hyphens, which is its
 * first six bytes.  Returns false if the name is no such UUID.
 */
static bool
uuid7_time(Bytes name, uint8 time[UUID7_TIME_LEN])
{
	static const char form[] = "hhhhhhhh-hhhh-7hhh-vhhh-hhhhhhhhhhhh";
	int			digits = 0;

	/* The length or the version excludes most other keys. */
	if (name.length != strlen(form) || name.data[14] != '7')
		return false;
	for (int i = 0; i < (int) name.length; i++)
	{
		int			digit = hex_digit(name.data[i]);

		if (form[i] == '-' ? name.data[i] != '-' :
			form[i] == '7' ? digit != 7 :
			form[i] == 'v' ? digit < 8 || digit > 11 : digit < 0)
			return false;
		if (form[i] == '-' || digits == 2 * UUID7_TIME_LEN)
			continue;
		time[digits / 2] = digits % 2 == 0 ? digit << 4 : time[digits / 2] | digit;
		digits++;
	}
	return true;
}

/*
 * The hash of the scope seeds the hash of the name, so that moving bytes from
 * one to the other changes the hash.
 */
void
hash_key(IdempotencyKey *key)
{
	Bytes		name = bytes_of_text(key->name);
	Bytes		scope = bytes_of_text(key->scope);
	uint8		time[UUID7_TIME_LEN];
	uint64		half[2];

	half[0] = hash_bytes_seeded(name, hash_bytes_seeded(scope, HASH_SEED_HIGH));
	half[1] = hash_bytes_seeded(name, hash_bytes_seeded(scope, HASH_SEED_LOW));
	StaticAssertStmt(sizeof(half) == UUID_LEN, "a key's hash fills a uuid");
	memcpy(key->hash.data, half, UUID_LEN);
	if (uuid7_time(name, time))
		memcpy(key->hash.data, time, UUID7_TIME_LEN);
}

bool
scope_is_reserved(const text *scope)
{
	Size		length = strlen(RESERVED_SCOPE);

	return VARSIZE_ANY_EXHDR(scope) >= length &&
		memcmp(VARDATA_ANY(scope), RESERVED_SCOPE, length) == 0;
}

void
check_scope(const text *scope)
{
	Size		length = VARSIZE_ANY_EXHDR(scope);
	Size		limit = SCOPE_LENGTH_LIMIT;

	if (length > 0 && (*VARDATA_ANY(scope) == '{' || *VARDATA_ANY(scope) == '['))
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("scope of the idempotency key begins like JSON"),
				 errdetail("A scope does not begin with \"{\" or \"[\"."),
				 errhint("The key comes first, the scope second, and the request or response third; execute() takes key, scope, command and request.")));

	/*
	 * The records of issue() have the scope with a prefix, so that theirs may
	 * be longer.
	 */
	if (scope_is_reserved(scope))
		limit += strlen(RESERVED_SCOPE);
	if (length > limit)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("scope of the idempotency key is too long"),
				 errdetail("The scope has %zu bytes; the maximum is %d.",
						   length, SCOPE_LENGTH_LIMIT),
				 errhint("Name the operation and the caller in the scope, and pass what the client sent as the request.")));
}

void
make_key(IdempotencyKey *key, text *name, text *scope)
{
	if (name == NULL)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("idempotency key is missing"),
				 errhint("Pass the key that the client sent; a request without one can't be made safe to retry.")));
	if (scope == NULL)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("scope of the idempotency key must not be null"),
				 errhint("Pass the empty string for the empty scope.")));
	if (VARSIZE_ANY_EXHDR(name) == 0)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("idempotency key is empty"),
				 errhint("Pass the key that the client sent, such as a UUID generated for each operation.")));
	check_scope(scope);
	key->name = name;
	key->scope = scope;
	hash_key(key);
}

uint64
key_lock_bits(const pg_uuid_t *hash)
{
	uint64		bits;

	memcpy(&bits, hash->data + UUID_LEN - sizeof(bits), sizeof(bits));
	return bits;
}

void
check_known_key_length(const IdempotencyKey *key)
{
	int			length = VARSIZE_ANY_EXHDR(key->name);

	if (length > KEY_LENGTH_LIMIT)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("idempotency key is too long"),
				 errdetail("The key has %d bytes; the maximum of any setting is %d.",
						   length, KEY_LENGTH_LIMIT),
				 errhint("Pass the key that was claimed.")));
}

void
check_key_not_too_long(const text *name)
{
	int			length = VARSIZE_ANY_EXHDR(name);

	if (length > max_key_length)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("idempotency key is too long"),
				 errdetail("The key has %d bytes; the maximum is %d.",
						   length, max_key_length),
				 errhint("Shorten the key, or raise idempotency.max_key_length.")));
}

void
check_new_key_length(const IdempotencyKey *key, int min_length)
{
	int			length = VARSIZE_ANY_EXHDR(key->name);

	check_key_not_too_long(key->name);
	if (length < min_length)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("idempotency key is too short"),
				 errdetail("The key has %d bytes; the minimum is %d.",
						   length, min_length),
				 errhint("Use a key that can't be guessed, and that no two clients choose by chance, for instance a UUID.")));
}

void
check_scope_not_reserved(const text *scope)
{
	if (scope_is_reserved(scope))
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("scope of the idempotency key is reserved"),
				 errdetail("Scopes that begin with \"%s\" belong to issue().",
						   RESERVED_SCOPE),
				 errhint("Use the scope that was passed to issue().")));
}

static const char *
first_bytes(const text *value, int most)
{
	int			length = VARSIZE_ANY_EXHDR(value);

	return pnstrdup(VARDATA_ANY(value), pg_mbcliplen(VARDATA_ANY(value), length, most));
}

const char *
key_in_message(const text *name)
{
	return first_bytes(name, KEY_SHOWN);
}

const char *
scope_in_message(const text *scope)
{
	return first_bytes(scope, SCOPE_LENGTH_LIMIT);
}

text *
text_from_arg(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : PG_GETARG_TEXT_PP(arg);
}

/*
 * key_hash(key text, scope text) returns uuid
 *
 * The hash under which a key is stored.  It is immutable because a constraint
 * checks every stored row against it.
 */
Datum
idempotency_key_hash(PG_FUNCTION_ARGS)
{
	IdempotencyKey key;
	pg_uuid_t  *result = palloc(sizeof(pg_uuid_t));

	key.name = PG_GETARG_TEXT_PP(0);
	key.scope = PG_GETARG_TEXT_PP(1);
	hash_key(&key);
	*result = key.hash;
	PG_RETURN_UUID_P(result);
}
