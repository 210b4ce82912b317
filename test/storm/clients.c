/*-------------------------------------------------------------------------
 *
 * clients.c
 *	  The clients of the storm: many processes that ask for the same work at
 *	  the same time, in all ways, and write down the answers.
 *
 *		clients SEED NUMBER DIRECTORY
 *
 * New keys appear at a fixed rate.  A client draws a key, most often one of
 * the newest, and a style: claim, work and result in one transaction; a lease
 * that is renewed, released, forgotten or completed late; a batch; execute() or
 * once(); or one of the mistakes that must have no effect: a commit between claim
 * and result, and another request with the same key.  It also draws the
 * isolation level, savepoints, pauses, the end of the transaction, and the
 * statement at which its connection is cut: before it is sent, or after, so that
 * its reply is lost.  One client also purges and erases a tenant (schema.sql).
 * What the n-th try of a client draws depends on the seed alone; which key is
 * "the newest" depends on the time.
 *
 * On SIGTERM the clients stop drawing, and ask for every key once again, until
 * each has an answer.
 *
 * Each client writes DIRECTORY/history.N, a line for each answer, fields
 * separated by tabs.  Times are microseconds of the machine's clock; turn
 * orders the answers as the server gave them (schema.sql), 0 where unknown.
 *
 *	T tx fate begun received			committed, aborted or unknown
 *	C tx key turn sent received style outcome attempt effect ttl lease asked
 *										a claim, without a lease if that is 0;
 *										asked: right, wrong (another request),
 *										late (first_sent past the ttl)
 *	L tx key sent ttl lease				a claim whose answer was lost
 *	D tx key turn sent received attempt effect ttl
 *										the claim is done: complete() or fail()
 *	B tx key turn sent received attempt lease
 *										heartbeat() or checkpoint()
 *	R tx key sent attempt				release()
 *	W tx key effect						the work: a row was inserted
 *	X tx what sent						purge or erase_scope of the tenant
 *	E tx sqlstate style sent received message
 *										an error
 *
 * Lines of a transaction are facts only if its T line says "committed", or if
 * it says "unknown" and its work is found in the end.  Calls block, and each
 * client is a process: the whole state of a client is below.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define KEYS_PER_SECOND		100
#define NEWEST_KEYS			100
#define POOLED_EVERY		4	/* one client in so many goes through PgBouncer */
#define CUT_PERCENT			12
#define MOST_STATEMENTS		12	/* at which a try is cut */
#define PATIENCE			60000	/* milliseconds; then the server hangs */
#define BATCH				30	/* keys in a block */
#define LIST				1024	/* bytes of SQL */
#define BLOCKS_PER_SECOND	5
#define FIRST_BLOCK			1000000
#define KEPT				INT64_C(34560000000)	/* milliseconds: 400 days */
#define OTHER_TTL			4000	/* of some completions */
#define REMOVER				1	/* the client that purges and erases */

/* The columns of a result that read_claim() reads. */
#define RESULT	"CASE WHEN c.status_code = 410 THEN 'erased' ELSE c.outcome END," \
	" c.attempt, c.response->>'id', nextval('turn')"

typedef enum Reply
{
	ANSWERED,
	REFUSED,					/* an error; the connection is alive */
	LOST						/* no connection, no answer */
} Reply;

static uint64_t seed;
static int	client;
static int	clients;
static int64_t start;
static volatile sig_atomic_t over;

static PGconn *conn;
static PGresult *answer;
static FILE *history;

/* the present try */
static int64_t try;
static uint64_t draws;
static int	statement;
static int	cut_at;
static bool cut_unsent;

/* the present transaction, and the present statement */
static int64_t tx;
static int64_t begun;
static const char *style;
static int64_t sent;
static int64_t received;
static char sqlstate[6];

/* ----------------------------------------------------------------
 *		Chance and time
 * ----------------------------------------------------------------
 */

static uint64_t
mixed(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* A number from 0 to range - 1. */
static int
drawn(int range)
{
	return (int) (mixed(mixed(mixed(seed) + client) + (uint64_t) try * 1000 + draws++) % range);
}

static bool
percent(int chance)
{
	return drawn(100) < chance;
}

static int64_t
microseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static void
rest(int microseconds_at_most)
{
	if (microseconds_at_most > 0)
		usleep(drawn(microseconds_at_most));
}

/* Most statements follow at once, some after a moment. */
static void
think(void)
{
	int			mood = drawn(10);

	rest(mood < 6 ? 0 : mood < 9 ? 5000 : 50000);
}

/* ----------------------------------------------------------------
 *		Keys
 * ----------------------------------------------------------------
 */

typedef enum Kind
{
	CLAIMED,
	ONCE,
	TENANTS						/* see schema.sql */
} Kind;

static Kind
kind_of(int key)
{
	int			digit = key % 10;

	return key >= FIRST_BLOCK || digit < 7 ? CLAIMED : digit == 7 ? ONCE : TENANTS;
}

/* How many keys there are now, if they appear at this rate. */
static int
number_by_now(int per_second)
{
	return 1 + (int) ((microseconds(CLOCK_MONOTONIC) - start) * per_second / 1000000);
}

/* In half of the cases the next key, else one of the newest, or any. */
static int
draw_number(int per_second, int newest)
{
	int			present = number_by_now(per_second);
	int			mood = drawn(10);

	if (mood < 5)
		return present + 1;
	if (mood < 8 && newest < present)
		return present - drawn(newest);
	return 1 + drawn(present);
}

/* No client asks for a key before its time; then all do at once. */
static bool
in_time(int key)
{
	int64_t		appears = key < FIRST_BLOCK ?
		(key - 1) * INT64_C(1000000) / KEYS_PER_SECOND :
		((key - FIRST_BLOCK) / BATCH - 1) * INT64_C(1000000) / BLOCKS_PER_SECOND;
	int64_t		left = start + appears - microseconds(CLOCK_MONOTONIC);

	if (left > 0)
		usleep(left);
	return true;
}

static int
draw_key(void)
{
	if (percent(90))
		return draw_number(KEYS_PER_SECOND, NEWEST_KEYS);
	return FIRST_BLOCK + drawn(number_by_now(BLOCKS_PER_SECOND) * BATCH);
}

/* One key in five is kept, and the tenants'; the others have a ttl for each claim. */
static int64_t
draw_ttl(int key)
{
	static const int ttls[] = {1500, 2600, 3700, 5000, 30000};

	return key % 5 == 0 || kind_of(key) == TENANTS ? KEPT : ttls[drawn(5)];
}

/* ----------------------------------------------------------------
 *		Connections and statements
 * ----------------------------------------------------------------
 */

static void
forget_answer(void)
{
	PQclear(answer);
	answer = NULL;
}

static void
disconnect(void)
{
	if (conn != NULL && PQsocket(conn) >= 0)
		(void) shutdown(PQsocket(conn), SHUT_RDWR);
	PQfinish(conn);
	conn = NULL;
}

/* Errors are read from results; a server may crash here. */
static void
ignore_notice(void *argument, const PGresult *notice)
{
	(void) argument;
	(void) notice;
}

/* Reconnect until a server answers. */
static void
connect_to_service(void)
{
	const char *where = client % POOLED_EVERY == 0 ?
		"port=6432 connect_timeout=5" : "port=6000 connect_timeout=5";

	while (conn == NULL)
	{
		conn = PQconnectdb(where);
		if (PQstatus(conn) == CONNECTION_OK)
		{
			(void) PQsetNoticeReceiver(conn, ignore_notice, NULL);
			break;
		}
		disconnect();
		usleep(50000);
	}
}

static void
note_error(const char *code, const char *message)
{
	fprintf(history, "E\t%ld\t%s\t%s\t%ld\t%ld\t%s\n", tx, code, style, sent,
			microseconds(CLOCK_REALTIME), message);
}

/* Wait for the whole answer: it counts only once the server is ready. */
static bool
receive_answer(void)
{
	PGresult   *result;

	for (;;)
	{
		struct pollfd fd = {.fd = PQsocket(conn), .events = POLLIN};

		while (!PQisBusy(conn))
		{
			result = PQgetResult(conn);
			if (result == NULL)
				return PQstatus(conn) == CONNECTION_OK &&
					PQtransactionStatus(conn) != PQTRANS_UNKNOWN;
			if (answer == NULL || PQresultStatus(result) == PGRES_FATAL_ERROR)
			{
				forget_answer();
				answer = result;
			}
			else
				PQclear(result);
			if (PQstatus(conn) != CONNECTION_OK)
				return false;
		}
		if (poll(&fd, 1, PATIENCE) == 0)
		{
			note_error("hangs", "no answer for long");
			return false;
		}
		if (!PQconsumeInput(conn))
			return false;
	}
}

/* Send a statement, and wait for the answer, unless the connection is cut here. */
static Reply __attribute__((format(printf, 1, 2)))
ask(const char *format,...)
{
	static char text[8192];
	va_list		args;
	bool		cut = ++statement == cut_at;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);

	forget_answer();
	strcpy(sqlstate, "");
	sent = microseconds(CLOCK_REALTIME);
	if ((cut && cut_unsent) || !PQsendQuery(conn, text) || cut || !receive_answer())
	{
		received = 0;
		disconnect();
		return LOST;
	}
	received = microseconds(CLOCK_REALTIME);
	if (PQresultStatus(answer) == PGRES_TUPLES_OK || PQresultStatus(answer) == PGRES_COMMAND_OK)
		return ANSWERED;

	snprintf(sqlstate, sizeof(sqlstate), "%s", PQresultErrorField(answer, PG_DIAG_SQLSTATE));
	note_error(sqlstate, PQresultErrorField(answer, PG_DIAG_MESSAGE_PRIMARY));
	return REFUSED;
}

static const char *
field(int row, int column)
{
	return PQgetvalue(answer, row, column);
}

static int64_t
number(int row, int column)
{
	return atoll(field(row, column));
}

/* Append to a list of LIST bytes, after a comma if it is not empty. */
static void __attribute__((format(printf, 2, 3)))
append(char *list, const char *format,...)
{
	size_t		length = strlen(list);
	va_list		args;

	if (length > 0)
		length += snprintf(list + length, LIST - length, ", ");
	va_start(args, format);
	vsnprintf(list + length, LIST - length, format, args);
	va_end(args);
}

/* ----------------------------------------------------------------
 *		Transactions
 * ----------------------------------------------------------------
 */

static void
new_transaction(void)
{
	static int64_t serial = 0;

	tx = client * INT64_C(10000000) + ++serial;
	begun = microseconds(CLOCK_REALTIME);
}

static void
note_fate(const char *fate)
{
	fprintf(history, "T\t%ld\t%s\t%ld\t%ld\n", tx, fate, begun, microseconds(CLOCK_REALTIME));
}

/* One statement that is a transaction of its own. */
static Reply
note_single(Reply reply)
{
	note_fate(reply == ANSWERED ? "committed" : reply == REFUSED ? "aborted" : "unknown");
	return reply;
}

static bool
begin(void)
{
	static const char *const levels[] = {"READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"};

	new_transaction();
	return ask("BEGIN ISOLATION LEVEL %s", levels[drawn(3)]) == ANSWERED;
}

/* Whether the transaction must have ended with this error. */
static bool
was_refused(Reply reply)
{
	return reply == REFUSED &&
		(strncmp(sqlstate, "40", 2) == 0 || strcmp(sqlstate, "IK500") == 0);
}

/* A transaction that did not reach its COMMIT was rolled back. */
static void
give_up(void)
{
	note_fate("aborted");
	if (conn != NULL)
		(void) ask("ROLLBACK");
}

static void
commit_in_two_phases(void)
{
	bool		commit = percent(75);
	Reply		reply = ask("PREPARE TRANSACTION 'storm-%ld'", tx);

	if (reply != ANSWERED || strcmp(PQcmdStatus(answer), "PREPARE TRANSACTION") != 0)
	{
		note_fate(reply == LOST ? "unknown" : "aborted");
		return;
	}
	think();
	if (percent(50))
	{
		disconnect();
		connect_to_service();
	}
	reply = ask("%s PREPARED 'storm-%ld'", commit ? "COMMIT" : "ROLLBACK", tx);
	note_fate(reply != ANSWERED ? "unknown" : commit ? "committed" : "aborted");
}

static void
end_transaction(void)
{
	Reply		reply;

	switch (over ? 9 : drawn(10))
	{
		case 0:
			give_up();
			break;
		case 1:
			commit_in_two_phases();
			break;
		default:
			reply = ask("COMMIT");
			if (reply == ANSWERED)
				note_fate(strcmp(PQcmdStatus(answer), "COMMIT") == 0 ? "committed" : "aborted");
			else
				note_fate(was_refused(reply) ? "aborted" : "unknown");
	}
}

/* ----------------------------------------------------------------
 *		Claims, work, results
 * ----------------------------------------------------------------
 */

/* A key that the present try owns, or has asked for. */
typedef struct Claim
{
	int			key;
	int64_t		ttl;			/* milliseconds */
	int			lease;			/* milliseconds; 0: none */
	const char *asked;
	bool		own;
	bool		settled;		/* by a result */
	int64_t		attempt;
	int64_t		effect;			/* of the reply, or of this claim */
	int64_t		turn;
} Claim;

static void
note_claim(const Claim *claim, const char *outcome)
{
	fprintf(history, "C\t%ld\t%d\t%ld\t%ld\t%ld\t%s\t%s\t%ld\t%ld\t%ld\t%d\t%s\n",
			tx, claim->key, claim->turn, sent, received, style, outcome,
			claim->attempt, claim->effect, claim->ttl, claim->lease, claim->asked);
}

static void
note_lost_claim(const Claim *claim)
{
	fprintf(history, "L\t%ld\t%d\t%ld\t%ld\t%d\n", tx, claim->key, sent, claim->ttl, claim->lease);
}

static void
note_done(const Claim *claim, int64_t turn, int64_t ttl)
{
	fprintf(history, "D\t%ld\t%d\t%ld\t%ld\t%ld\t%ld\t%ld\t%ld\n",
			tx, claim->key, turn, sent, received, claim->attempt, claim->effect, ttl);
}

static void
note_work(const Claim *claim)
{
	fprintf(history, "W\t%ld\t%d\t%ld\n", tx, claim->key, claim->effect);
}

static const char *
draw_wait(void)
{
	static const char *const waits[] = {"'0'", "'100 ms'", "NULL"};

	return waits[drawn(3)];
}

static Claim
draw_claim(int key)
{
	Claim		claim = {.key = key, .ttl = draw_ttl(key), .lease = 100 + drawn(400), .asked = "right"};

	return claim;
}

/* The same for work and result in the claim's transaction, which needs no lease. */
static Claim
draw_claim_to_finish(int key)
{
	Claim		claim = draw_claim(key);

	if (percent(70))
		claim.lease = 0;
	return claim;
}

/* A lease as an argument. */
static const char *
lease_of(const Claim *claim)
{
	static char text[32];

	snprintf(text, sizeof(text), claim->lease == 0 ? "NULL" : "'%d ms'", claim->lease);
	return text;
}

/* Fill in the claim from a row of outcome, attempt, effect, turn. */
static void
read_claim(Claim *claim, int row, int column)
{
	const char *outcome = field(row, column);

	claim->own = strcmp(outcome, "new") == 0 || strcmp(outcome, "recovered") == 0;
	claim->settled = strcmp(outcome, "replay") == 0 || strcmp(outcome, "erased") == 0;
	claim->attempt = number(row, column + 1);
	claim->effect = number(row, column + 2);
	claim->turn = number(row, column + 3);
	note_claim(claim, outcome);
}

static Reply
claim_key(Claim *claim, const char *wait)
{
	bool		wrong = strcmp(claim->asked, "wrong") == 0;
	bool		late = strcmp(claim->asked, "late") == 0;
	Reply		reply;

	(void) in_time(claim->key);
	reply = ask("SELECT " RESULT
				" FROM idempotency.claim(name_of(%d), scope_of(%d), '{\"key\": %d%s}', '%ld ms', %s, %s, %s) AS c",
				claim->key, claim->key, claim->key, wrong ? ", \"other\": 1" : "", claim->ttl,
				lease_of(claim), wait, late ? "clock_timestamp() - interval '401 days'" : "NULL");
	if (reply == ANSWERED)
		read_claim(claim, 0, 0);
	else if (reply == LOST)
		note_lost_claim(claim);
	return reply;
}

static bool
do_work(Claim *claim)
{
	if (ask("INSERT INTO effect (key, tx) VALUES (%d, %ld) RETURNING id", claim->key, tx) != ANSWERED)
		return false;
	claim->effect = number(0, 0);
	note_work(claim);
	return true;
}

/* Complete or fail: both store a result that is replayed. */
static bool
complete_key(const Claim *claim, bool with_attempt)
{
	char		attempt[32] = "NULL";
	char		ttl[32] = "NULL";
	bool		other_ttl = claim->ttl != KEPT && percent(15);

	if (with_attempt)
		snprintf(attempt, sizeof(attempt), "%ld", claim->attempt);
	if (other_ttl)
		snprintf(ttl, sizeof(ttl), "'%d ms'", OTHER_TTL);
	if (ask("SELECT idempotency.%s(name_of(%d), scope_of(%d), '{\"id\": %ld}', '%ld', NULL, %s, %s), nextval('turn')",
			percent(90) ? "complete" : "fail", claim->key, claim->key, claim->effect, claim->effect,
			attempt, ttl) != ANSWERED)
		return false;
	note_done(claim, number(0, 1), other_ttl ? OTHER_TTL : claim->ttl);
	return true;
}

/* ----------------------------------------------------------------
 *		The styles
 * ----------------------------------------------------------------
 */

/* Complete a claim that was rolled back: it has to be refused. */
static Reply
complete_in_vain(int key)
{
	const char *own_style = style;
	Reply		reply;

	style = "vain";
	reply = ask("SELECT idempotency.complete(name_of(%d), scope_of(%d), '{\"id\": 0}')", key, key);
	if (reply == ANSWERED)
		note_error("accepted", "a claim was completed that is gone");
	style = own_style;
	return reply;
}

/* Claim and work, and roll back: no other client may notice. */
static bool
claim_in_vain(int key)
{
	Claim		claim = draw_claim(key);

	return ask("SAVEPOINT vain") == ANSWERED &&
		ask("SELECT idempotency.claim(name_of(%d), scope_of(%d), '{\"key\": %d}', '%ld ms', wait => '0')",
			key, key, key, claim.ttl) == ANSWERED &&
		ask("INSERT INTO effect (key, tx) VALUES (%d, %ld)", key, -tx) == ANSWERED &&
		ask("ROLLBACK TO SAVEPOINT vain") == ANSWERED &&
		(percent(50) ||
		 (complete_in_vain(key) == REFUSED && ask("ROLLBACK TO SAVEPOINT vain") == ANSWERED));
}

/* Work and complete, or forget the claim and claim again, and roll all back. */
static bool
end_in_vain(int key)
{
	bool		complete = percent(60);

	if (ask("SAVEPOINT vain") != ANSWERED ||
		ask("INSERT INTO effect (key, tx) VALUES (%d, %ld)", key, -tx) != ANSWERED ||
		ask("SELECT idempotency.%s(name_of(%d), scope_of(%d))", complete ? "complete" : "forget", key, key) != ANSWERED)
		return false;
	if (!complete && percent(50) &&
		ask("SELECT idempotency.once(name_of(%d), scope_of(%d))", key, key) != ANSWERED)
		return false;
	think();
	if (ask("ROLLBACK TO SAVEPOINT vain") != ANSWERED)
		return false;
	think();
	return true;
}

/* Make a checkpoint, which writes a claim that is still deferred. */
static bool
note_step(int key)
{
	return ask("SELECT idempotency.checkpoint(name_of(%d), scope_of(%d), 'step')", key, key) == ANSWERED;
}

/* Claim, work and result of one key, within a transaction. */
static bool
serve_claim(Claim *claim, const char *wait)
{
	bool		savepoint = percent(20);

	if (savepoint && ask("SAVEPOINT kept") != ANSWERED)
		return false;
	if (claim_key(claim, wait) != ANSWERED)
		return false;
	think();
	if (claim->own &&
		!((percent(90) || note_step(claim->key)) &&
		  (percent(80) || end_in_vain(claim->key)) &&
		  do_work(claim) && complete_key(claim, percent(50))))
		return false;
	return !savepoint || ask("RELEASE SAVEPOINT kept") == ANSWERED;
}

static bool
serve_key(int key, const char *wait)
{
	Claim		claim = draw_claim_to_finish(key);

	if (percent(10))
		claim.asked = "late";
	return serve_claim(&claim, wait);
}

static void
try_transaction(int key)
{
	style = "transaction";
	if (begin() &&
		(percent(80) || claim_in_vain(key)) &&
		serve_key(key, draw_wait()) &&
		(percent(80) || serve_key(1 + drawn(number_by_now(KEYS_PER_SECOND)) / 10 * 10, "'0'")))
		end_transaction();
	else
		give_up();
}

/* Another request with the same key: it must have no effect. */
static void
try_wrong_request(int key)
{
	Claim		claim = draw_claim(key);

	style = "wrong";
	claim.asked = "wrong";
	if (begin())
		(void) claim_key(&claim, draw_wait());
	give_up();
}

/*
 * Commit after the work and before the result, and continue, like an ORM or a
 * framework whose session commits.
 */
static void
try_commit_in_between(int key)
{
	Claim		claim = draw_claim(key);

	style = "between";
	claim.lease = 0;
	if (!begin() || claim_key(&claim, draw_wait()) != ANSWERED ||
		(claim.own && !do_work(&claim)))
	{
		give_up();
		return;
	}
	think();
	end_transaction();
	if (claim.own && conn != NULL)
	{
		new_transaction();
		(void) note_single(complete_in_vain(key));
	}
}

/* Only claim, without a lease. */
static void
try_single_claim(int key)
{
	Claim		claim = draw_claim(key);

	style = "single";
	claim.lease = 0;
	new_transaction();
	(void) note_single(claim_key(&claim, draw_wait()));
}

/* Remove all keys of a tenant; the effect shows whether that was committed. */
static void
try_removal(void)
{
	const char *what = percent(40) ? "purge" : "erase_scope";
	Claim		removal = {.key = 0};

	style = "removal";
	if (begin() && do_work(&removal) &&
		ask("SELECT idempotency.%s('shop/4')", what) == ANSWERED)
	{
		fprintf(history, "X\t%ld\t%s\t%ld\n", tx, what, sent);
		end_transaction();
	}
	else
		give_up();
}

/* Renew the lease. */
static Reply
beat(const Claim *claim)
{
	Reply		reply;

	new_transaction();
	if (percent(50))
		reply = ask("SELECT idempotency.heartbeat(name_of(%d), scope_of(%d), %ld, '%d ms'), nextval('turn')",
					claim->key, claim->key, claim->attempt, claim->lease);
	else
		reply = ask("SELECT idempotency.checkpoint(name_of(%d), scope_of(%d), 'step', '{\"tx\": %ld}', %ld, '%d ms'), nextval('turn')",
					claim->key, claim->key, tx, claim->attempt, claim->lease);
	if (reply == ANSWERED)
		fprintf(history, "B\t%ld\t%d\t%ld\t%ld\t%ld\t%ld\t%d\n",
				tx, claim->key, number(0, 1), sent, received, claim->attempt, claim->lease);
	return note_single(reply);
}

static void
release(const Claim *claim)
{
	Reply		reply;

	new_transaction();
	reply = ask("SELECT idempotency.release(name_of(%d), scope_of(%d), %ld)", claim->key, claim->key, claim->attempt);
	fprintf(history, "R\t%ld\t%d\t%ld\t%ld\n", tx, claim->key, sent, claim->attempt);
	(void) note_single(reply);
}

/* The owner of a lease, which may return too late, or never. */
static void
own_lease(Claim *claim)
{
	int			fate = drawn(20);

	if (percent(30))
	{
		rest(claim->lease * 1000);
		if (beat(claim) != ANSWERED)
			return;
	}
	rest(claim->lease * 2000);
	if (fate < 2)
		release(claim);
	else if (fate > 4)
	{
		if (begin() && do_work(claim) && complete_key(claim, true))
			end_transaction();
		else
			give_up();
	}
}

static void
try_lease(int key)
{
	Claim		claim = draw_claim(key);

	style = "lease";
	new_transaction();
	if (note_single(claim_key(&claim, draw_wait())) == ANSWERED && claim.own)
		own_lease(&claim);
}

static void
try_execute(int key)
{
	Claim		claim = draw_claim(key);

	style = "execute";
	claim.lease = 0;
	if (begin() &&
		ask("SELECT set_config('storm.tx', '%ld', true)", tx) == ANSWERED &&
		in_time(key) &&
		ask("SELECT " RESULT
			" FROM idempotency.execute(name_of(%d), scope_of(%d), 'work', '{\"key\": %d}', '%ld ms', %s) AS c",
			key, key, key, claim.ttl, draw_wait()) == ANSWERED)
	{
		read_claim(&claim, 0, 0);
		if (claim.own)
		{
			note_work(&claim);
			note_done(&claim, claim.turn, claim.ttl);
		}
		end_transaction();
	}
	else
		give_up();
}

/* Do the work of the claims that the client owns, and complete them. */
static bool
complete_batch(Claim *claims, int count, bool with_attempts)
{
	char		rows[LIST] = "";
	char		keys[LIST] = "";
	char		responses[LIST] = "";
	char		ids[LIST] = "";
	char		attempts[LIST] = "";
	int			owned = 0;

	for (int i = 0; i < count; i++)
	{
		if (claims[i].own)
			claims[owned++] = claims[i];
	}
	if (owned == 0)
		return true;

	for (int i = 0; i < owned; i++)
		append(rows, "(%d, %ld)", claims[i].key, tx);
	if (ask("INSERT INTO effect (key, tx) VALUES %s RETURNING id", rows) != ANSWERED)
		return false;
	for (int i = 0; i < owned; i++)
	{
		claims[i].effect = number(i, 0);
		note_work(&claims[i]);
		append(keys, "name_of(%d)", claims[i].key);
		append(responses, "'{\"id\": %ld}'", claims[i].effect);
		append(ids, "'%ld'", claims[i].effect);
		append(attempts, "%ld", claims[i].attempt);
	}
	if (ask("SELECT idempotency.complete_many(ARRAY[%s], 'storm', ARRAY[%s]::jsonb[], ARRAY[%s], attempts => %s%s%s), nextval('turn')",
			keys, responses, ids, with_attempts ? "ARRAY[" : "NULL",
			with_attempts ? attempts : "", with_attempts ? "]" : "") != ANSWERED)
		return false;
	for (int i = 0; i < owned; i++)
		note_done(&claims[i], number(0, 1), claims[i].ttl);
	return true;
}

/* Claim them in one call, with the same ttl and lease. */
static Reply
claim_batch(Claim *claims, int count)
{
	char		keys[LIST] = "";
	char		requests[LIST] = "";
	Reply		reply;

	for (int i = 0; i < count; i++)
	{
		append(keys, "name_of(%d)", claims[i].key);
		append(requests, "'{\"key\": %d}'", claims[i].key);
	}
	(void) in_time(claims[0].key);
	reply = ask("SELECT " RESULT
				" FROM idempotency.claim_many(ARRAY[%s], 'storm', ARRAY[%s]::jsonb[], '%ld ms', %s, %s) AS c ORDER BY ord",
				keys, requests, claims[0].ttl, lease_of(&claims[0]), draw_wait());
	for (int i = 0; i < count; i++)
	{
		if (reply == ANSWERED)
			read_claim(&claims[i], i, 0);
		else if (reply == LOST)
			note_lost_claim(&claims[i]);
	}
	return reply;
}

/* A block of keys, or a few single ones; some are repeated. */
static void
try_batch(int key)
{
	Claim		claims[BATCH];
	bool		leases = percent(40);
	bool		block = percent(60);
	int			count = block ? BATCH : 5;

	style = "batch";
	if (block)
		key = FIRST_BLOCK + draw_number(BLOCKS_PER_SECOND, 3) * BATCH;
	claims[0] = leases ? draw_claim(key) : draw_claim_to_finish(key);
	for (int i = 1; i < count; i++)
	{
		key += percent(95);
		if (kind_of(key) != CLAIMED)
			key += 3;
		claims[i] = claims[0];
		claims[i].key = key;
	}

	if (leases)
	{
		new_transaction();
		if (note_single(claim_batch(claims, count)) != ANSWERED)
			return;
		rest(claims[0].lease * 2000);
		if (begin() && complete_batch(claims, count, true))
			end_transaction();
		else
			give_up();
	}
	else if (begin() && claim_batch(claims, count) == ANSWERED)
	{
		think();
		if (complete_batch(claims, count, percent(50)))
			end_transaction();
		else
			give_up();
	}
	else
		give_up();
}

static void
try_once(int key)
{
	Claim		claim = draw_claim(key);

	style = "once";
	claim.lease = 0;
	if (begin() &&
		in_time(key) &&
		ask("SELECT idempotency.once(name_of(%d), scope_of(%d), '%ld ms'), nextval('turn')", key, key, claim.ttl) == ANSWERED)
	{
		bool		first = strcmp(field(0, 0), "t") == 0;

		claim.turn = number(0, 1);
		claim.attempt = first;
		note_claim(&claim, first ? "new" : "replay");
		if (first)
			note_done(&claim, claim.turn, claim.ttl);
		if (!first || do_work(&claim))
		{
			end_transaction();
			return;
		}
	}
	give_up();
}

static void
try_key(int key)
{
	int			mood = drawn(100);

	if (kind_of(key) == ONCE)
		try_once(key);
	else if (client == REMOVER && mood < 3)
		try_removal();
	else if (mood < 36)
		try_transaction(key);
	else if (mood < 58)
		try_lease(key);
	else if (mood < 70 && kind_of(key) == CLAIMED)
		try_batch(key);
	else if (mood < 85)
		try_execute(key);
	else if (mood < 90)
		try_commit_in_between(key);
	else if (mood < 95)
		try_single_claim(key);
	else
		try_wrong_request(key);
}

/* ----------------------------------------------------------------
 *		A client's life
 * ----------------------------------------------------------------
 */

/* At the end: ask for a key of a tenant.  Returns whether its work is known to be done. */
static bool
ask_tenant_again(int key)
{
	Claim		claim = draw_claim_to_finish(key);

	style = "calm";
	if (begin() && serve_claim(&claim, "NULL"))
		end_transaction();
	else
		give_up();
	return claim.own || claim.settled;
}

/* At the end: ask for keys until the work of all is known to be done. */
static void
ask_once_again(int first, int last)
{
	for (int i = 0; i < 100; i++)
	{
		Claim		claims[BATCH];
		int			count = 0;
		bool		done = true;

		try++;
		draws = 0;
		if (conn == NULL)
			connect_to_service();
		for (int key = first; key <= last; key++)
		{
			if (kind_of(key) == CLAIMED)
			{
				claims[count] = count == 0 ? draw_claim_to_finish(key) : claims[0];
				claims[count++].key = key;
			}
			else if (kind_of(key) == TENANTS)
				done = ask_tenant_again(key) && done;
			else if (i == 0)
				try_once(key);
		}
		style = "calm";
		if (!begin() || claim_batch(claims, count) != ANSWERED)
		{
			give_up();
			continue;
		}
		for (int c = 0; c < count; c++)
			done = done && (claims[c].own || claims[c].settled);
		if (complete_batch(claims, count, true))
			end_transaction();
		else
			give_up();
		if (done)
			return;
		usleep(50000);
	}
	note_error("stuck", "keys have no answer in the calm after the storm");
}

static void
run_client(const char *directory)
{
	char		name[1024];
	int			newest;

	snprintf(name, sizeof(name), "%s/history.%d", directory, client);
	history = fopen(name, "w");
	if (history == NULL)
	{
		perror(name);
		exit(2);
	}
	for (try = 1; !over; try++)
	{
		draws = 0;
		statement = 0;
		cut_at = percent(CUT_PERCENT) ? 1 + drawn(MOST_STATEMENTS) : 0;
		cut_unsent = percent(30);
		style = "connect";
		if (conn == NULL)
			connect_to_service();
		try_key(draw_key());
	}

	cut_at = -1;
	newest = number_by_now(KEYS_PER_SECOND);
	for (int key = 1 + client * BATCH; key <= newest; key += clients * BATCH)
		ask_once_again(key, key + BATCH - 1);
	newest = FIRST_BLOCK + number_by_now(BLOCKS_PER_SECOND) * BATCH;
	for (int key = FIRST_BLOCK + client * BATCH; key < newest; key += clients * BATCH)
		ask_once_again(key, key + BATCH - 1);
	disconnect();
	if (fclose(history) != 0)
	{
		perror(name);
		exit(2);
	}
	exit(0);
}

/* Only the parent gets the signal; it passes it on to its process group. */
static void
end_storm(int signal_number)
{
	bool		first = !over;

	over = true;
	if (first && client == clients)
		(void) kill(0, signal_number);
}

int
main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = end_storm};
	int			status;
	int			failed = 0;

	if (argc != 4)
	{
		fprintf(stderr, "usage: clients SEED NUMBER DIRECTORY\n");
		return 2;
	}
	seed = strtoull(argv[1], NULL, 10);
	clients = atoi(argv[2]);
	start = microseconds(CLOCK_MONOTONIC);
	sigaction(SIGTERM, &action, NULL);
	setpgid(0, 0);
	prctl(PR_SET_TIMERSLACK, 1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (client = 0; client < clients; client++)
	{
		if (fork() == 0)
		{
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			run_client(argv[3]);
		}
	}
	for (int left = clients; left > 0;)
	{
		if (wait(&status) < 0)
			continue;			/* a signal */
		left--;
		failed += status != 0;
	}
	return failed > 0;
}
