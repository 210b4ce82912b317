/*-------------------------------------------------------------------------
 *
 * pay.c
 *	  A client that makes payments through the candidates.
 *
 *	pay [-m new|mix|replay] [-c clients] [-t seconds] [-n rounds] CANDIDATE...
 *		Load: every client, a thread with connections of its own, makes
 *		payments as fast as it can.  The candidates take turns, with one time
 *		slice each a round, on the same connections: A B .. A B ..; the first
 *		round is not counted.  new: every key is new; mix: three of ten
 *		requests repeat an earlier one; replay: all do.  With -f N, replays
 *		repeat one of the keys fill-1 to fill-N.
 *
 *	pay -m duplicates [-c clients] [-n rounds] [-k prefix] CANDIDATE...
 *		All clients send the same new key at the same moment.
 *
 *	pay -m waiters [-c clients] [-n rounds] [-k prefix] CANDIDATE...
 *		The same, but the first of them is held up until all others wait for it,
 *		by an advisory lock that the payment takes; latencies are those after
 *		its release, and seconds is the last one.
 *
 *	pay -k KEY [-s STEP -x COMMAND] CANDIDATE
 *		One payment; its status is printed.  COMMAND is run before the
 *		client's round trip number STEP, or after the last one, before the
 *		status is printed.  To kill the client there, COMMAND kills its
 *		parent, $PPID.
 *
 * A load prints a line for each slice:
 *
 *	candidate round clients seconds done refused failed p50 p99 wal xids
 *
 * "refused" counts the answers 409; p50 and p99 are in microseconds; wal is the
 * server's WAL in bytes, and xids the number of transaction ids it assigned.
 *
 * Connects as libpq does (PGHOST, ..), and to Redis at the sockets of -r
 * (appendfsync everysec) and -R (always).  Statements are prepared.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <hiredis/hiredis.h>
#include <libpq-fe.h>

#define KEY_LENGTH		64
#define POOL_SIZE		200		/* keys that a client repeats */
#define MAX_CANDIDATES	16
#define MAX_PARAMETERS	4
#define STACK_SIZE		(256 * 1024)

#define IN_PROGRESS		"in-progress"	/* Redis' value until there is an answer */
#define REMEMBERED		"86400"	/* how long Redis keeps an answer, in seconds */

typedef enum Load
{
	NEW,
	MIX,
	REPLAY,
	DUPLICATES,
	WAITERS,
	SINGLE
} Load;

typedef struct Pool
{
	char		keys[POOL_SIZE][KEY_LENGTH];
	char		hashes[POOL_SIZE][KEY_LENGTH];	/* of keys that SELECT reads */
	int			nkeys;
	int			next;			/* index at which the next one replaces an old one */
} Pool;

typedef struct Client
{
	pthread_t	thread;
	PGconn	   *conn;
	redisContext *everysec;
	redisContext *always;
	uint64_t	random;
	Pool	   *pools;			/* one for each candidate of the run */
	int			step;

	/* of the present slice */
	uint32_t   *latencies;		/* microseconds */
	size_t		nlatencies;
	size_t		room;
	long		refused;
	long		failed;
} Client;

typedef struct Candidate Candidate;

/* Makes the payment of a key, and returns the status that its caller gets. */
typedef int (*Pay) (Client *client, const Candidate *candidate, const char *key);

struct Candidate
{
	const char *name;
	Pay			pay;
	const char *statement;		/* parameter of pay, if several candidates share it */
	const char *made_by;		/* candidate that makes the payments it replays; itself if NULL */
};

static int	statement(Client *client, const Candidate *candidate, const char *key);
static int	payment(Client *client, const Candidate *candidate, const char *key);
static int	by_statements(Client *client, const Candidate *candidate, const char *key);
static int	handwritten_by_statements(Client *client, const Candidate *candidate, const char *key);
static int	redis(Client *client, const Candidate *candidate, const char *key);
static int	select_row(Client *client, const Candidate *candidate, const char *key);
static int	select_compared(Client *client, const Candidate *candidate, const char *key);

static const Candidate known[] = {
	{"nothing", statement, "nothing", NULL},
	{"gate", statement, "gate", NULL},
	{"bare", payment, NULL, NULL},
	{"bare-function", statement, "bare", NULL},
	{"extension", statement, "extension", NULL},
	{"extension-if", statement, "extension_if", NULL},
	{"portable", statement, "portable", NULL},
	{"extension-nowait", statement, "extension_nowait", NULL},
	{"execute", statement, "execute", NULL},
	{"extension-statements", by_statements, NULL, NULL},
	{"handwritten", statement, "handwritten", NULL},
	{"handwritten-nowait", statement, "handwritten_nowait", NULL},
	{"handwritten-statements", handwritten_by_statements, NULL, NULL},
	{"redis", redis, "everysec", NULL},
	{"redis-always", redis, "always", NULL},
	{"claim", statement, "claim", "extension"},
	{"once", statement, "once", NULL},
	{"select", select_row, "select_row", "extension"},
	{"select-compared", select_compared, NULL, "handwritten"},
};

static const Candidate *candidates[MAX_CANDIDATES];
static int	ncandidates;
static Client *clients;

static Load load = NEW;
static int	nclients = 1;
static double seconds = 1;
static int	rounds = 3;
static long filled = 0;
static const char *single_key = NULL;
static int	command_step = 0;
static const char *command = NULL;
static const char *everysec_socket = NULL;
static const char *always_socket = NULL;
static const char *lock_seconds = "60";

/* The slice that all clients are in, set between two barriers. */
static pthread_barrier_t barrier;
static int	candidate_of_slice;
static char key_of_slice[KEY_LENGTH];
static atomic_bool slice_over;
static bool run_over;
static bool measured;
static int64_t released_at;		/* the gate of the present slice */

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "pay: %s: %s\n", what, why);
	exit(2);
}

static void *
allocated(size_t count, size_t size)
{
	void	   *memory = calloc(count, size);

	if (memory == NULL)
		die("memory", "none left");
	return memory;
}

static int64_t
microseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

/* Run COMMAND if this is the step for it. */
static void
step(Client *client)
{
	if (command != NULL && ++client->step == command_step && system(command) == -1)
		die(command, strerror(errno));
}

/* splitmix64 */
static uint64_t
next_random(Client *client)
{
	uint64_t	z = (client->random += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

static void
new_key(Client *client, char *key)
{
	uint64_t	high = next_random(client);
	uint64_t	low = next_random(client);

	snprintf(key, KEY_LENGTH, "%08x-%04x-4%03x-%04x-%012llx",
			 (uint32_t) (high >> 32), (uint32_t) (high >> 16) & 0xffff, (uint32_t) high & 0xfff,
			 (uint32_t) (low >> 48) | 0x8000, (unsigned long long) low & 0xffffffffffff);
}

static void
make_request(char *request, size_t size, const char *key)
{
	snprintf(request, size, "{\"reference\": \"%s\", \"account\": 42, \"amount\": 19.90}", key);
}

/* ----------------------------------------------------------------
 *		The ways to pay
 * ----------------------------------------------------------------
 */

static const struct
{
	const char *name;
	const char *text;
}			statements[] = {
	{"nothing", "SELECT WHERE $1::text IS NULL AND $2::text IS NULL"},
	{"gate", "SELECT 200 FROM pg_advisory_xact_lock_shared(1) AS lock WHERE $1::text IS NOT NULL AND $2::text IS NOT NULL"},
	{"payment", "INSERT INTO payments (reference, account, amount) VALUES ($1, 42, 19.90) RETURNING id, answer(payments)"},
	{"bare", "SELECT status, body FROM bare($1, $2)"},
	{"extension", "SELECT status, body FROM extension($1, $2)"},
	{"extension_nowait", "SELECT status, body FROM extension($1, $2, '0')"},
	{"extension_if", "SELECT status, body FROM extension_if($1, $2)"},
	{"portable", "SELECT status, body FROM portable($1, $2)"},
	{"execute", "SELECT status_code, response FROM idempotency.execute($1, 'payments', 'pay', $2)"},
	{"handwritten", "SELECT status, body FROM handwritten($1, $2)"},
	{"handwritten_nowait", "SELECT status, body FROM handwritten_nowait($1, $2)"},
	{"claim", "SELECT status_code, response FROM idempotency.claim($1, 'payments', $2)"},
	{"once", "SELECT 201 WHERE idempotency.once($1, 'payments') AND $2::text IS NOT NULL"},
	{"complete", "SELECT idempotency.complete($1, 'payments', $2, $3, 201)"},
	{"insert_key", "INSERT INTO handwritten_keys (scope, key, request_hash) "
	"VALUES ('payments', $1, sha256(convert_to($2::jsonb::text, 'UTF8'))) ON CONFLICT DO NOTHING"},
	{"select_key", "SELECT status_code, response, request_hash = sha256(convert_to($2::jsonb::text, 'UTF8')) "
	"FROM handwritten_keys WHERE scope = 'payments' AND key = $1"},
	{"update_key", "UPDATE handwritten_keys SET status_code = 201, response = $2 WHERE scope = 'payments' AND key = $1"},
};

/* One round trip.  Returns NULL if it fails. */
static PGresult *
round_trip(Client *client, const char *name, int nvalues, const char *const *values)
{
	PGresult   *result;

	step(client);
	result = name == NULL ? PQexec(client->conn, values[0]) :
		PQexecPrepared(client->conn, name, nvalues, values, NULL, NULL, 0);
	if (PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK)
		return result;
	if (load != SINGLE)
		fprintf(stderr, "pay: %s", PQerrorMessage(client->conn));
	PQclear(result);
	return NULL;
}

static bool
send_simple(Client *client, const char *text)
{
	PGresult   *result = round_trip(client, NULL, 1, &text);

	PQclear(result);
	return result != NULL;
}

static int
failed_in_transaction(Client *client)
{
	if (PQstatus(client->conn) == CONNECTION_OK)
		PQclear(PQexec(client->conn, "ROLLBACK"));
	return 500;
}

/* One statement, which makes the payment and returns status and body. */
static int
statement(Client *client, const Candidate *candidate, const char *key)
{
	char		request[200];
	const char *values[] = {key, filled > 0 ? NULL : request};
	PGresult   *result;
	int			status;

	make_request(request, sizeof(request), key);
	result = round_trip(client, candidate->statement, 2, values);
	if (result == NULL)
		return 500;
	status = PQntuples(result) == 0 ? 200 : atoi(PQgetvalue(result, 0, 0));
	PQclear(result);
	step(client);
	return status;
}

static int
payment(Client *client, const Candidate *candidate, const char *key)
{
	PGresult   *result = round_trip(client, "payment", 1, &key);

	(void) candidate;
	if (result == NULL)
		return 500;
	PQclear(result);
	step(client);
	return 201;
}

static int
by_statements(Client *client, const Candidate *candidate, const char *key)
{
	char		request[200];
	const char *values[] = {key, request};
	const char *ending[3] = {key};
	PGresult   *result;
	PGresult   *paid;
	int			status;

	(void) candidate;
	make_request(request, sizeof(request), key);
	if (!send_simple(client, "BEGIN"))
		return 500;
	result = round_trip(client, "claim", 2, values);
	if (result == NULL)
		return failed_in_transaction(client);
	status = atoi(PQgetvalue(result, 0, 0));
	PQclear(result);
	if (status == 0)			/* NULL: the key is ours */
	{
		paid = round_trip(client, "payment", 1, &key);
		if (paid == NULL)
			return failed_in_transaction(client);
		ending[1] = PQgetvalue(paid, 0, 1);
		ending[2] = PQgetvalue(paid, 0, 0);
		result = round_trip(client, "complete", 3, ending);
		PQclear(paid);
		if (result == NULL)
			return failed_in_transaction(client);
		PQclear(result);
		status = 201;
	}
	if (!send_simple(client, "COMMIT"))
		return 500;
	step(client);
	return status;
}

static int
handwritten_by_statements(Client *client, const Candidate *candidate, const char *key)
{
	char		request[200];
	const char *values[] = {key, request};
	const char *ending[2] = {key};
	PGresult   *result;
	PGresult   *paid;
	bool		ours;
	int			status = 201;

	(void) candidate;
	make_request(request, sizeof(request), key);
	if (!send_simple(client, "BEGIN"))
		return 500;
	result = round_trip(client, "insert_key", 2, values);
	if (result == NULL)
		return failed_in_transaction(client);
	ours = strcmp(PQcmdTuples(result), "1") == 0;
	PQclear(result);
	if (ours)
	{
		paid = round_trip(client, "payment", 1, &key);
		if (paid == NULL)
			return failed_in_transaction(client);
		ending[1] = PQgetvalue(paid, 0, 1);
		result = round_trip(client, "update_key", 2, ending);
		PQclear(paid);
	}
	else
	{
		result = round_trip(client, "select_key", 2, values);
		if (result != NULL)
			status = PQgetvalue(result, 0, 2)[0] == 't' ? atoi(PQgetvalue(result, 0, 0)) : 422;
	}
	if (result == NULL)
		return failed_in_transaction(client);
	PQclear(result);
	if (!send_simple(client, "COMMIT"))
		return 500;
	step(client);
	return status;
}

/* Read only the row of a replay, by its primary key. */
static int
select_row(Client *client, const Candidate *candidate, const char *hash)
{
	PGresult   *result = round_trip(client, candidate->statement, 1, &hash);
	int			status;

	if (result == NULL)
		return 500;
	status = PQntuples(result) == 0 ? 500 : atoi(PQgetvalue(result, 0, 0));
	PQclear(result);
	return status;
}

/* The row of a hand-written replay, and whether its request was the same. */
static int
select_compared(Client *client, const Candidate *candidate, const char *key)
{
	char		request[200];
	const char *values[] = {key, request};
	PGresult   *result;
	int			status;

	(void) candidate;
	make_request(request, sizeof(request), key);
	result = round_trip(client, "select_key", 2, values);
	if (result == NULL)
		return 500;
	status = PQntuples(result) == 0 ? 500 :
		PQgetvalue(result, 0, 2)[0] == 't' ? atoi(PQgetvalue(result, 0, 0)) : 422;
	PQclear(result);
	return status;
}

/*
 * The usual recipe: set the key in Redis, pay, replace its value with the answer.
 * An error of the payment deletes the key, so that a retry may run.
 */
static int
redis(Client *client, const Candidate *candidate, const char *key)
{
	redisContext *server = strcmp(candidate->statement, "always") == 0 ? client->always : client->everysec;
	redisReply *reply;
	PGresult   *paid;
	int			status;

	step(client);
	reply = redisCommand(server, "SET payments/%s " IN_PROGRESS " NX EX %s", key, lock_seconds);
	if (reply == NULL || reply->type == REDIS_REPLY_ERROR)
		return 500;
	if (reply->type == REDIS_REPLY_NIL)
	{
		freeReplyObject(reply);
		step(client);
		reply = redisCommand(server, "GET payments/%s", key);
		if (reply == NULL || reply->type == REDIS_REPLY_ERROR)
			return 500;
		status = reply->type == REDIS_REPLY_STRING && strcmp(reply->str, IN_PROGRESS) != 0 ? 201 : 409;
		freeReplyObject(reply);
		step(client);
		return status;
	}
	freeReplyObject(reply);

	paid = round_trip(client, "payment", 1, &key);
	if (paid == NULL)
	{
		freeReplyObject(redisCommand(server, "DEL payments/%s", key));
		return 500;
	}
	step(client);
	reply = redisCommand(server, "SET payments/%s %s EX %s", key, PQgetvalue(paid, 0, 1), REMEMBERED);
	PQclear(paid);
	if (reply == NULL || reply->type == REDIS_REPLY_ERROR)
		return 500;
	freeReplyObject(reply);
	step(client);
	return 201;
}

/* ----------------------------------------------------------------
 *		Clients
 * ----------------------------------------------------------------
 */

static redisContext *
connect_to_redis(const char *path)
{
	redisContext *context;

	if (path == NULL)
		return NULL;
	context = redisConnectUnix(path);
	if (context == NULL || context->err != 0)
		die(path, context == NULL ? "no memory" : context->errstr);
	return context;
}

static void
connect_client(Client *client)
{
	client->conn = PQconnectdb("");
	if (PQstatus(client->conn) != CONNECTION_OK)
		die("connection", PQerrorMessage(client->conn));
	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++)
	{
		PGresult   *result = PQprepare(client->conn, statements[i].name, statements[i].text, 0, NULL);

		/* The portable edition is not everywhere; whoever calls it will be told. */
		if (PQresultStatus(result) != PGRES_COMMAND_OK && strcmp(statements[i].name, "portable") != 0)
			die(statements[i].name, PQerrorMessage(client->conn));
		PQclear(result);
	}
	client->everysec = connect_to_redis(everysec_socket);
	client->always = connect_to_redis(always_socket);
	if (getrandom(&client->random, sizeof(client->random), 0) != sizeof(client->random))
		die("getrandom", strerror(errno));
	client->pools = allocated(ncandidates, sizeof(Pool));
}

static const Candidate *
candidate_named(const char *name)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(known[i].name, name) == 0)
			return &known[i];
	die(name, "no such candidate");
	return NULL;
}

static void
count_answer(Client *client, int status, int64_t latency)
{
	if (!measured)
		return;
	if (status == 409)
		client->refused++;
	else if (status != 200 && status != 201)
		client->failed++;
	if (client->nlatencies == client->room)
	{
		client->room = client->room == 0 ? 1024 : 2 * client->room;
		client->latencies = realloc(client->latencies, client->room * sizeof(uint32_t));
		if (client->latencies == NULL)
			die("memory", "none left");
	}
	client->latencies[client->nlatencies++] = (uint32_t) latency;
}

/*
 * Make the keys that a candidate will repeat.  For SELECT by primary key, look up
 * the partition and the hash now.
 */
static void
fill_pool(Client *client, const Candidate *candidate, Pool *pool)
{
	const Candidate *maker = candidate->made_by ? candidate_named(candidate->made_by) : candidate;

	for (pool->nkeys = 0; pool->nkeys < POOL_SIZE; pool->nkeys++)
	{
		char	   *key = pool->keys[pool->nkeys];

		if (filled > 0)
			snprintf(key, KEY_LENGTH, "fill-%ld", 1 + (long) (next_random(client) % filled));
		else
		{
			new_key(client, key);
			if (maker->pay(client, maker, key) != 201)
				die(maker->name, "could not make the payment that is to be replayed");
		}
		if (candidate->pay == select_row)
		{
			const char *value = key;
			char		prepare[300];
			PGresult   *row = PQexecParams(client->conn,
										   "SELECT hash, tableoid::regclass FROM idempotency.keys WHERE hash = idempotency.key_hash($1, 'payments')",
										   1, NULL, &value, NULL, NULL, 0);

			if (PQresultStatus(row) != PGRES_TUPLES_OK || PQntuples(row) != 1)
				die(key, "is not stored");
			snprintf(pool->hashes[pool->nkeys], KEY_LENGTH, "%s", PQgetvalue(row, 0, 0));
			if (pool->nkeys == 0)
			{
				PQclear(PQexec(client->conn, "DEALLOCATE select_row"));
				snprintf(prepare, sizeof(prepare), "SELECT status_code, response FROM %s WHERE hash = $1", PQgetvalue(row, 0, 1));
				PQclear(PQprepare(client->conn, candidate->statement, prepare, 0, NULL));
			}
			PQclear(row);
		}
	}
}

static void
run_slice(Client *client)
{
	const Candidate *candidate = candidates[candidate_of_slice];
	Pool	   *pool = &client->pools[candidate_of_slice];

	do
	{
		char		key[KEY_LENGTH];
		bool		again = load == REPLAY ||
			(load == MIX && pool->nkeys > 0 && next_random(client) % 10 < 3);
		int64_t		start;
		int			status;

		if (again)
		{
			int			i = next_random(client) % pool->nkeys;

			strcpy(key, candidate->pay == select_row ? pool->hashes[i] : pool->keys[i]);
		}
		else if (load == DUPLICATES || load == WAITERS)
			strcpy(key, key_of_slice);
		else
			new_key(client, key);

		start = microseconds();
		status = candidate->pay(client, candidate, key);
		count_answer(client, status, microseconds() - (load == WAITERS ? released_at : start));

		if (load == MIX && !again)
		{
			strcpy(pool->keys[pool->next], key);
			pool->next = (pool->next + 1) % POOL_SIZE;
			if (pool->nkeys < POOL_SIZE)
				pool->nkeys++;
		}
	} while (load != DUPLICATES && load != WAITERS && !slice_over);
}

static void *
run_client(void *argument)
{
	Client	   *client = argument;

	connect_client(client);
	if (load == REPLAY)
	{
		PQclear(PQexec(client->conn, "SET synchronous_commit = off"));
		for (int i = 0; i < ncandidates; i++)
			fill_pool(client, candidates[i], &client->pools[i]);
		PQclear(PQexec(client->conn, "RESET synchronous_commit"));
	}
	for (;;)
	{
		pthread_barrier_wait(&barrier);
		if (run_over)
			return NULL;
		run_slice(client);
		pthread_barrier_wait(&barrier);
	}
}

/* ----------------------------------------------------------------
 *		The run
 * ----------------------------------------------------------------
 */

static int64_t
asked(PGconn *conn, const char *question)
{
	PGresult   *result = PQexec(conn, question);
	int64_t		answer;

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		die(question, PQerrorMessage(conn));
	answer = atoll(PQgetvalue(result, 0, 0));
	PQclear(result);
	return answer;
}

#define WAL_QUESTION	"SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"
#define XID_QUESTION	"SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"

static int
compare(const void *a, const void *b)
{
	uint32_t	x = *(const uint32_t *) a;
	uint32_t	y = *(const uint32_t *) b;

	return (x > y) - (x < y);
}

static void
show_slice(int round, double taken, int64_t wal, int64_t xids)
{
	size_t		count = 0;
	long		refused = 0;
	long		failed = 0;
	uint32_t   *all;

	for (int i = 0; i < nclients; i++)
		count += clients[i].nlatencies;
	if (count == 0)
		die(candidates[candidate_of_slice]->name, "nothing was answered");
	all = allocated(count, sizeof(uint32_t));
	count = 0;
	for (int i = 0; i < nclients; i++)
	{
		memcpy(all + count, clients[i].latencies, clients[i].nlatencies * sizeof(uint32_t));
		count += clients[i].nlatencies;
		refused += clients[i].refused;
		failed += clients[i].failed;
		clients[i].nlatencies = 0;
		clients[i].refused = clients[i].failed = 0;
	}
	qsort(all, count, sizeof(uint32_t), compare);
	printf("%s\t%d\t%d\t%.6f\t%zu\t%ld\t%ld\t%u\t%u\t%lld\t%lld\n",
		   candidates[candidate_of_slice]->name, round, nclients, taken, count, refused, failed,
		   all[count / 2], all[count * 99 / 100], (long long) wal, (long long) xids);
	fflush(stdout);
	free(all);
}

static void
run_load(void)
{
	PGconn	   *conn = PQconnectdb("");
	pthread_attr_t attributes;

	clients = allocated(nclients, sizeof(Client));
	pthread_barrier_init(&barrier, NULL, nclients + 1);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	for (int i = 0; i < nclients; i++)
		if (pthread_create(&clients[i].thread, &attributes, run_client, &clients[i]) != 0)
			die("thread", "none left");

	for (int round = 0; round <= rounds; round++)
		for (candidate_of_slice = 0; candidate_of_slice < ncandidates; candidate_of_slice++)
		{
			int64_t		wal = asked(conn, WAL_QUESTION);
			int64_t		xids = asked(conn, XID_QUESTION);
			int64_t		start;

			/* The replayed rows are new: VACUUM their pages here, so that no slice has to. */
			if (load == REPLAY && round == 1 && candidate_of_slice == 0)
			{
				PQclear(PQexec(conn, "VACUUM"));
				wal = asked(conn, WAL_QUESTION);
				xids = asked(conn, XID_QUESTION);
			}
			snprintf(key_of_slice, KEY_LENGTH, "%s-%s-%d", single_key ? single_key : "",
					 candidates[candidate_of_slice]->name, round);
			if (load == WAITERS)
				(void) asked(conn, "SELECT 0 FROM pg_advisory_lock(1)");
			slice_over = false;
			measured = round > 0;
			pthread_barrier_wait(&barrier);
			start = microseconds();
			if (load == WAITERS)
			{
				while (asked(conn, "SELECT count(*) FROM pg_locks WHERE NOT granted") < nclients)
					usleep(20000);
				start = released_at = microseconds();
				(void) asked(conn, "SELECT pg_advisory_unlock(1)::integer");
			}
			else if (load != DUPLICATES)
				usleep(1e6 * (measured ? seconds : seconds / 2));
			slice_over = true;
			pthread_barrier_wait(&barrier);
			if (measured)
				show_slice(round, (microseconds() - start) / 1e6,
						   asked(conn, WAL_QUESTION) - wal, asked(conn, XID_QUESTION) - xids);
		}

	run_over = true;
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < nclients; i++)
		pthread_join(clients[i].thread, NULL);
	PQfinish(conn);
}

static void
pay_once(void)
{
	Client		client = {0};

	connect_client(&client);
	printf("%d\n", candidates[0]->pay(&client, candidates[0], single_key));
}

int
main(int argc, char **argv)
{
	static const char *const loads[] = {"new", "mix", "replay", "duplicates", "waiters"};
	int			option;
	bool		load_given = false;

	while ((option = getopt(argc, argv, "m:c:t:n:f:k:s:x:r:R:l:")) != -1)
		switch (option)
		{
			case 'm':
				for (load = NEW; load < SINGLE && strcmp(loads[load], optarg) != 0; load++)
					;
				load_given = load < SINGLE;
				if (!load_given)
					die(optarg, "no such load");
				break;
			case 'c':
				nclients = atoi(optarg);
				break;
			case 't':
				seconds = atof(optarg);
				break;
			case 'n':
				rounds = atoi(optarg);
				break;
			case 'f':
				filled = atol(optarg);
				break;
			case 'k':
				single_key = optarg;
				break;
			case 's':
				command_step = atoi(optarg);
				break;
			case 'x':
				command = optarg;
				break;
			case 'r':
				everysec_socket = optarg;
				break;
			case 'R':
				always_socket = optarg;
				break;
			case 'l':
				lock_seconds = optarg;
				break;
			default:
				return 2;
		}
	if (single_key != NULL && !load_given)
		load = SINGLE;
	for (; optind < argc && ncandidates < MAX_CANDIDATES; optind++)
		candidates[ncandidates++] = candidate_named(argv[optind]);
	if (ncandidates == 0 || nclients < 1 || rounds < 1 || seconds <= 0)
		die("usage", "see the head of pay.c");

	if (load == SINGLE)
		pay_once();
	else
		run_load();
	return 0;
}
