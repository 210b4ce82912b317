/*-------------------------------------------------------------------------
 *
 * derive.c
 *	  Keys for downstream services.
 *
 * An owner of a key that calls other services needs a key for each call, the
 * same one at every retry and for every owner, so that the other service also
 * runs the call once.  Such a key is computed, not stored: it is a hash of the
 * original key and of the purpose of the call.
 *
 * SHA-256 is one-way: a service that receives a derived key can compute
 * neither the original key nor the keys derived for other services.  The
 * length of the key precedes it, so that no two pairs of key and purpose have
 * the same bytes.  The first 128 bits are written as a UUID of version 8, a
 * form that every service accepts as a key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "compat.h"
#include "error.h"
#include "fmgr.h"
#include "key/utf8.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(idempotency_derive);

#define UUID_VERSION	0x80	/* version 8, in the upper half of byte 6 */
#define UUID_VARIANT	0x80	/* in the upper two bits of byte 8 */

/* Add the bytes in pieces, so that hashing can be interrupted between them. */
static int
hash_bytes_in_pieces(pg_cryptohash_ctx *context, const char *bytes, Size length)
{
	while (length > 0)
	{
		Size		piece = Min(length, 1024 * 1024);

		CHECK_FOR_INTERRUPTS();
		if (pg_cryptohash_update(context, (const uint8 *) bytes, piece) < 0)
			return -1;
		bytes += piece;
		length -= piece;
	}
	return 0;
}

static void
hash_pair(const text *key, const text *purpose, uint8 digest[PG_SHA256_DIGEST_LENGTH])
{
	Size		key_length = VARSIZE_ANY_EXHDR(key);
	Size		purpose_length = VARSIZE_ANY_EXHDR(purpose);
	const char *key_bytes = utf8_from_string(VARDATA_ANY(key), &key_length);
	const char *purpose_bytes = utf8_from_string(VARDATA_ANY(purpose), &purpose_length);
	uint64		length = pg_hton64(key_length);
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);

	if (pg_cryptohash_init(context) < 0 ||
		pg_cryptohash_update(context, (const uint8 *) &length, sizeof(length)) < 0 ||
		hash_bytes_in_pieces(context, key_bytes, key_length) < 0 ||
		hash_bytes_in_pieces(context, purpose_bytes, purpose_length) < 0 ||
		pg_cryptohash_final(context, digest, PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not compute %s hash: %s", "SHA-256",
			 pg_cryptohash_error(context));
	pg_cryptohash_free(context);
}

/* The argument, which must be neither null nor empty. */
static text *
nonempty_arg(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg) || VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(arg)) == 0)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 PG_ARGISNULL(arg) ?
				 errmsg("%s must not be null", name) :
				 errmsg("%s must not be empty", name),
				 errhint("Pass the key of the request, and a name for the call for which the key is derived.")));
	return PG_GETARG_TEXT_PP(arg);
}

/*
 * derive(key text, purpose text) returns text
 *
 * The key to use for the purpose, derived from the given key.  The same two
 * texts give the same key in every database, whatever its encoding, and in
 * every version.  Raises IK400 if one of them is null or empty.
 */
Datum
idempotency_derive(PG_FUNCTION_ARGS)
{
	text	   *key = nonempty_arg(fcinfo, 0, "key");
	text	   *purpose = nonempty_arg(fcinfo, 1, "purpose");
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	pg_uuid_t	uuid;

	hash_pair(key, purpose, digest);
	memcpy(uuid.data, digest, UUID_LEN);
	uuid.data[6] = (uuid.data[6] & 0x0f) | UUID_VERSION;
	uuid.data[8] = (uuid.data[8] & 0x3f) | UUID_VARIANT;
	PG_RETURN_TEXT_P(cstring_to_text(DatumGetCString(DirectFunctionCall1(uuid_out,
																		 UUIDPGetDatum(&uuid)))));
}
