/*-------------------------------------------------------------------------
 *
 * storm.c
 *	  Clients of a payments service, with many faults.
 *
 * Each payment has one key and several callers: up to three at the same
 * moment (a double click, a proxy that retries), others up to a second and a
 * half later (a queue that delivers again).  A caller sends its request again
 * until it has an answer, as a client that wants its payment made has to.  These
 * faults occur:
 *
 *		- a lost reply: the connection is cut when the request, or the COMMIT
 *		  of its transaction, has been sent and its reply has not been read;
 *		- the death of the client between its request and its COMMIT;
 *		- a backend terminated in the middle of a transaction, by the SIGTERM
 *		  that pg_terminate_backend() sends;
 *		- 409, if the caller doesn't want to wait for another one; it retries
 *		  after the time that the answer advises;
 *		- one crash of the server: a backend is killed with SIGKILL half-way, and
 *		  the postmaster ends all backends and runs crash recovery.
 *
 * Two services get the same payments at the same times from the same callers:
 * pay(), which uses the extension, and pay_without_keys(), which doesn't.  When
 * all callers have their answers the tables are audited: which payments were
 * made, how often, and whether each receipt that a caller got has a row.  The
 * exit status is 0 if pay() kept its promises, else 1.
 *
 * One process, one loop: libpq's asynchronous interface and poll().  The payments
 * and the faults of their callers depend on the seed alone; the number of payments
 * and their interleaving depend on the machine.
 *
 * It sends signals to backends, so it runs on the server's machine as the
 * server's user.  Where to connect comes from the environment (PGHOST, ..);
 * the callers connect as the role "shop" that service.sql makes.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define MILLISECOND			INT64_C(1000)
#define SECOND				(1000 * MILLISECOND)

#define MAX_CALLERS			5	/* of one payment */
#define ACCOUNTS			500
#define FAULTY_TRIES		3	/* a caller's later tries have no faults */
#define RECONNECT_AFTER		(50 * MILLISECOND)
#define TERMINATE_EVERY		(80 * MILLISECOND)
#define TOLERATED_DELAY		(200 * MILLISECOND)
#define LONGEST_DRAIN		(30 * SECOND)

enum
{
	WITH_KEYS,
	WITHOUT_KEYS,
	SERVICES
};

typedef enum Fault
{
	NO_FAULT,
	REPLY_LOST,
	CLIENT_DIES
} Fault;

typedef struct Payment
{
	char	   *answer;			/* the first one that a caller got */
	bool		answered_otherwise; /* and another one that differs */
	int			rows;			/* found by the audit */
	bool		lost;			/* a caller's receipt names no row */
} Payment;

typedef struct Caller
{
	int			payment;
	int			number;
	int			tries;
	int64_t		receipt;		/* id of the payment in its answer */
} Caller;

typedef struct Service
{
	const char *call;			/* the statement that callers send */
	const char *audit;
	Payment    *payments;
	Caller	   *callers;
	int			ncallers;

	/* callers to be served, a heap ordered by the time they are due */
	struct Due
	{
		int64_t		at;
		Caller	   *caller;
	}		   *due;
	int			ndue;
	int			unanswered;		/* callers without an answer */

	/* what happened */
	int			requests;
	int			firsts;			/* answers that are not replays */
	int			replays;
	int			conflicts;
	int			replies_lost;
	int			clients_died;
	int			terminated;
	int			errors;			/* none of the above */
	int			answered_otherwise; /* payments, not answers */

	/* what the audit found */
	int			rows;
	int			paid;
	int			paid_twice;
	int			lost;
	int64_t		cents;
} Service;

typedef enum State
{
	DOWN,						/* until the time that is due */
	CONNECTING,
	IDLE,
	BEGINNING,
	PAYING,
	THINKING,					/* until the time that is due */
	COMMITTING
} State;

typedef struct Connection
{
	Service    *service;
	State		state;
	PGconn	   *conn;
	PostgresPollingStatusType polling;	/* CONNECTING */
	int64_t		opened;
	int64_t		due;			/* DOWN, THINKING */
	PGresult   *result;			/* first result of the present statement */
	bool		failed;			/* another one was an error */

	/* what it is doing for whom */
	Caller	   *caller;
	bool		transaction;
	Fault		fault;
	bool		terminated;
	PGresult   *answer;
} Connection;

static int	duration = 15;
static int	rate = 150;
static int	connections_each = 24;
static uint64_t seed = 1;

static Service services[SERVICES] = {
	[WITH_KEYS] = {
		.call = "SELECT status, body, replayed, ceil(extract(epoch FROM retry_after) * 1000), body->>'id'"
		" FROM pay($1, $2, $3)",
		.audit = "SELECT substr(reference, 7), id, amount * 100 FROM payments ORDER BY id",
	},
	[WITHOUT_KEYS] = {
		.call = "SELECT status, body, replayed, ceil(extract(epoch FROM retry_after) * 1000), body->>'id'"
		" FROM pay_without_keys($1, $2, $3)",
		.audit = "SELECT substr(reference, 7), id, amount * 100 FROM payments_without_keys ORDER BY id",
	},
};

static Connection *connections;
static int	nconnections;
static int	npayments;
static int64_t crashed_at;		/* 0: not yet */
static bool recovered;

/* ----------------------------------------------------------------
 *		The plan: everything here depends on the seed alone
 * ----------------------------------------------------------------
 */

/* What a number is drawn for. */
enum
{
	FOR_ACCOUNT,
	FOR_AMOUNT,
	FOR_CALLERS_AT_ONCE,
	FOR_CALLERS_LATER,
	FOR_TIME,
	FOR_STYLE,
	FOR_PATIENCE,
	FOR_FAULT,
	FOR_THINKING,
	FOR_BACKOFF,
	FOR_VICTIM
};

static uint64_t
mixed(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static int
drawn(int what, int payment, int caller, int try, int range)
{
	uint64_t	x = mixed(seed * 64 + what);

	x = mixed(x + payment);
	x = mixed(x + caller * 1024 + try);
	return (int) (x % range);
}

static int
account_of(int payment)
{
	return drawn(FOR_ACCOUNT, payment, 0, 0, ACCOUNTS);
}

static int
cents_of(int payment)
{
	return 100 + drawn(FOR_AMOUNT, payment, 0, 0, 50000);
}

static Fault
fault_of(const Caller *caller)
{
	int			percent = drawn(FOR_FAULT, caller->payment, caller->number, caller->tries, 100);

	if (caller->tries > FAULTY_TRIES)
		return NO_FAULT;
	return percent < 8 ? REPLY_LOST : percent < 12 ? CLIENT_DIES : NO_FAULT;
}

/* ----------------------------------------------------------------
 *		Time
 * ----------------------------------------------------------------
 */

static int64_t
time_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * SECOND + now.tv_nsec / 1000;
}

static void
put_due(Service *service, Caller *caller, int64_t at)
{
	int			i = service->ndue++;

	for (; i > 0 && service->due[(i - 1) / 2].at > at; i = (i - 1) / 2)
		service->due[i] = service->due[(i - 1) / 2];
	service->due[i].at = at;
	service->due[i].caller = caller;
}

/* The caller that is due first, or NULL if none is due yet. */
static Caller *
take_due(Service *service, int64_t now)
{
	Caller	   *first;
	struct Due	last;
	int			i = 0;

	if (service->ndue == 0 || service->due[0].at > now)
		return NULL;
	first = service->due[0].caller;
	last = service->due[--service->ndue];
	for (;;)
	{
		int			child = 2 * i + 1;

		if (child + 1 < service->ndue && service->due[child + 1].at < service->due[child].at)
			child++;
		if (child >= service->ndue || service->due[child].at >= last.at)
			break;
		service->due[i] = service->due[child];
		i = child;
	}
	service->due[i] = last;
	return first;
}

static void *
allocated(size_t number, size_t size)
{
	void	   *memory = calloc(number, size);

	if (memory == NULL)
	{
		perror("storm");
		exit(2);
	}
	return memory;
}

/* Enough room for the fastest storm. */
static void
prepare(Service *service)
{
	size_t		most_payments = (size_t) duration * rate;

	service->payments = allocated(most_payments, sizeof(Payment));
	service->callers = allocated(most_payments * MAX_CALLERS, sizeof(Caller));
	service->due = allocated(most_payments * MAX_CALLERS, sizeof(struct Due));
}

/* One more payment; its callers know when they are going to send it. */
static void
admit_payment(Service *service, int payment, int64_t now)
{
	int			at_once = 1 + drawn(FOR_CALLERS_AT_ONCE, payment, 0, 0, 3);
	int			later = 1 + drawn(FOR_CALLERS_LATER, payment, 0, 0, 2);

	for (int number = 0; number < at_once + later; number++)
	{
		Caller	   *caller = &service->callers[service->ncallers++];
		int			spread = number < at_once ? 3 * MILLISECOND : 1500 * MILLISECOND;

		caller->payment = payment;
		caller->number = number;
		put_due(service, caller, now + drawn(FOR_TIME, payment, number, 0, spread));
		service->unanswered++;
	}
}

/* Whether callers have to wait for a connection. */
static bool
is_overloaded(const Service *service, int64_t now)
{
	return service->ndue > 0 && service->due[0].at < now - TOLERATED_DELAY;
}

/* ----------------------------------------------------------------
 *		Reports
 * ----------------------------------------------------------------
 */

static bool
on_terminal(void)
{
	return isatty(STDOUT_FILENO);
}

static void
show_progress(int64_t elapsed)
{
	const Service *with = &services[WITH_KEYS];
	const Service *without = &services[WITHOUT_KEYS];
	int			faults = 0;

	for (int i = 0; i < SERVICES; i++)
		faults += services[i].replies_lost + services[i].clients_died + services[i].terminated;
	printf("%s%3d s  sent %d/%d  faults %d  replays %d  409 %d  charged twice %d/%d",
		   on_terminal() ? "\r\033[K" : "", (int) (elapsed / SECOND),
		   with->requests, without->requests, faults, with->replays,
		   with->conflicts, with->answered_otherwise, without->answered_otherwise);
	if (!on_terminal())
		putchar('\n');
	fflush(stdout);
}

/* A line of its own. */
static void
show_event(const char *event)
{
	printf("%s%s\n", on_terminal() ? "\r\033[K" : "", event);
	fflush(stdout);
}

/* The first answer from the restarted server. */
static void
show_recovery(int64_t now)
{
	char		event[100];

	recovered = true;
	snprintf(event, sizeof(event), "server is back: first answer %d ms after the crash",
			 (int) ((now - crashed_at) / MILLISECOND));
	show_event(event);
}

/* Report an error that the traffic does not explain. */
static void
show_error(Service *service, const char *message)
{
	char		line[1024];

	if (service->errors++ >= 20)
		return;
	snprintf(line, sizeof(line), "unexpected answer %s: %s",
			 service == &services[WITH_KEYS] ? "with the extension" : "without the extension",
			 message);
	line[strcspn(line, "\n")] = '\0';
	show_event(line);
}

/* ----------------------------------------------------------------
 *		Connections
 * ----------------------------------------------------------------
 */

static void
forget_results(Connection *c)
{
	PQclear(c->result);
	PQclear(c->answer);
	c->result = c->answer = NULL;
	c->failed = false;
}

/* The caller has no answer and does not know the result; it retries. */
static void
come_back(Connection *c, int64_t at)
{
	put_due(c->service, c->caller, at);
	c->caller = NULL;
}

static int64_t
after_backoff(const Caller *caller, int64_t now)
{
	return now + (20 + drawn(FOR_BACKOFF, caller->payment, caller->number,
							 caller->tries, 80)) * MILLISECOND;
}

/* The connection is gone, whether or not this program has cut it. */
static void
disconnect(Connection *c, int64_t now, int64_t reconnect_after)
{
	if (c->caller != NULL)
		come_back(c, after_backoff(c->caller, now));
	forget_results(c);
	PQfinish(c->conn);
	c->conn = NULL;
	c->state = DOWN;
	c->due = now + reconnect_after;
}

/*
 * Cut the connection as a dying client does: without a Terminate message, and
 * without reading what the server has sent.
 */
static void
cut(Connection *c, int64_t now)
{
	if (c->fault == REPLY_LOST)
		c->service->replies_lost++;
	else
		c->service->clients_died++;
	shutdown(PQsocket(c->conn), SHUT_RDWR);
	disconnect(c, now, 0);
}

/* The server warns before it breaks a connection; the loop sees it break. */
static void
ignore_notice(void *unused, const char *message)
{
	(void) unused;
	(void) message;
}

static void
connect_to_server(Connection *c, int64_t now)
{
	static const char *const keywords[] = {"user", "application_name", NULL};
	static const char *const values[] = {"shop", "storm", NULL};

	c->conn = PQconnectStartParams(keywords, values, 0);
	PQsetNoticeProcessor(c->conn, ignore_notice, NULL);
	c->polling = PGRES_POLLING_WRITING;
	c->opened = now;
	c->state = CONNECTING;
}

static void
go_on_connecting(Connection *c, int64_t now)
{
	c->polling = PQconnectPoll(c->conn);
	if (c->polling == PGRES_POLLING_FAILED)
		disconnect(c, now, RECONNECT_AFTER);
	else if (c->polling == PGRES_POLLING_OK)
	{
		PQsetnonblocking(c->conn, 1);
		c->state = IDLE;
	}
}

/* ----------------------------------------------------------------
 *		A try: [BEGIN,] the request [, a moment of thought, COMMIT]
 * ----------------------------------------------------------------
 */

static void
send_statement(Connection *c, const char *statement, State state)
{
	/* A send that fails leaves a broken connection, which the loop finds. */
	(void) PQsendQuery(c->conn, statement);
	c->state = state;
}

static void
send_request(Connection *c)
{
	const Caller *caller = c->caller;
	char		key[32];
	char		request[100];
	bool		patient = drawn(FOR_PATIENCE, caller->payment, caller->number, 0, 3) > 0;
	const char *values[] = {key, request, patient ? NULL : "0"};
	int			cents = cents_of(caller->payment);

	snprintf(key, sizeof(key), "order-%d", caller->payment);
	snprintf(request, sizeof(request), "{\"account\": %d, \"amount\": %d.%02d}",
			 account_of(caller->payment), cents / 100, cents % 100);
	(void) PQsendQueryParams(c->conn, c->service->call, 3, NULL, values, NULL, NULL, 0);
	c->service->requests++;
	c->state = PAYING;
}

static void
begin_try(Connection *c, Caller *caller)
{
	caller->tries++;
	c->caller = caller;
	c->transaction = drawn(FOR_STYLE, caller->payment, caller->number, 0, 2) == 0;
	c->fault = fault_of(caller);
	/* Without a transaction block the client can't die before its COMMIT. */
	if (c->fault == CLIENT_DIES && !c->transaction)
		c->fault = REPLY_LOST;
	c->terminated = false;
	if (c->transaction)
		send_statement(c, "BEGIN", BEGINNING);
	else
		send_request(c);
}

/* The caller may believe its answer: it is committed. */
static void
end_try(Connection *c, int64_t now)
{
	Service    *service = c->service;
	Payment    *payment = &service->payments[c->caller->payment];
	const char *status = PQgetvalue(c->answer, 0, 0);
	const char *body = PQgetvalue(c->answer, 0, 1);

	if (strcmp(status, "409") == 0)
	{
		service->conflicts++;
		come_back(c, now + atoi(PQgetvalue(c->answer, 0, 3)) * MILLISECOND);
	}
	else if (strcmp(status, "201") == 0)
	{
		if (strcmp(PQgetvalue(c->answer, 0, 2), "t") == 0)
			service->replays++;
		else
			service->firsts++;
		if (crashed_at != 0 && !recovered && c->opened > crashed_at)
			show_recovery(now);
		c->caller->receipt = atoll(PQgetvalue(c->answer, 0, 4));
		if (payment->answer == NULL)
			payment->answer = strdup(body);
		else if (strcmp(payment->answer, body) != 0 && !payment->answered_otherwise)
		{
			payment->answered_otherwise = true;
			service->answered_otherwise++;
		}
		service->unanswered--;
		c->caller = NULL;
	}
	else
	{
		show_error(service, status);
		come_back(c, now + SECOND);
	}
	forget_results(c);
	c->state = IDLE;
}

/*
 * A statement has ended: the server has said that it is ready for the next
 * one.  Only then is the answer taken.  A single statement commits after its
 * result has been sent, so a result alone promises nothing.
 */
static void
statement_ended(Connection *c, int64_t now)
{
	PGresult   *result = c->result;

	if (c->failed)
	{
		show_error(c->service, PQresultErrorMessage(result));
		if (PQtransactionStatus(c->conn) == PQTRANS_IDLE)
		{
			come_back(c, now + SECOND);
			forget_results(c);
			c->state = IDLE;
		}
		else
			disconnect(c, now, 0);
		return;
	}

	c->result = NULL;
	if (c->state == PAYING)
		c->answer = result;
	else
		PQclear(result);
	switch (c->state)
	{
		case BEGINNING:
			send_request(c);
			break;
		case PAYING:
			if (!c->transaction)
				end_try(c, now);
			else
			{
				c->due = now + drawn(FOR_THINKING, c->caller->payment, c->caller->number,
									 c->caller->tries, 20 * MILLISECOND);
				c->state = THINKING;
			}
			break;
		case COMMITTING:
			end_try(c, now);
			break;
		default:
			break;
	}
}

/* Whether the traffic explains the last message of a broken connection. */
static bool
is_explained(const PGresult *result)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return sqlstate == NULL ||	/* the connection broke without a message */
		strcmp(sqlstate, "57P01") == 0 ||	/* terminated */
		strcmp(sqlstate, "57P02") == 0 ||	/* another backend crashed */
		strcmp(sqlstate, "57P03") == 0; /* starting up */
}

/* Read what has arrived. */
static void
receive(Connection *c, int64_t now)
{
	bool		alive = PQconsumeInput(c->conn) != 0;

	while (!PQisBusy(c->conn))
	{
		PGresult   *result = PQgetResult(c->conn);

		if (PQstatus(c->conn) == CONNECTION_BAD)
		{
			if (result != NULL && !is_explained(result))
				show_error(c->service, PQresultErrorMessage(result));
			PQclear(result);
			alive = false;
			break;
		}
		if (result == NULL)
		{
			if (c->result != NULL)
				statement_ended(c, now);
			break;
		}
		if (PQresultStatus(result) != PGRES_TUPLES_OK &&
			PQresultStatus(result) != PGRES_COMMAND_OK)
		{
			/* The server's last message; the connection breaks next. */
			if (is_explained(result))
			{
				PQclear(result);
				alive = false;
				break;
			}
			PQclear(c->result);
			c->result = result;
			c->failed = true;
		}
		else if (c->result == NULL)
			c->result = result;
		else
			PQclear(result);
	}
	if (!alive && c->conn != NULL)
		disconnect(c, now, RECONNECT_AFTER);
}

/* Do the things that are due, without anything having arrived. */
static void
proceed(Connection *c, int64_t now)
{
	Caller	   *caller;

	switch (c->state)
	{
		case DOWN:
			if (c->due <= now)
				connect_to_server(c, now);
			break;
		case IDLE:
			caller = take_due(c->service, now);
			if (caller != NULL)
				begin_try(c, caller);
			break;
		case THINKING:
			if (c->due > now)
				break;
			if (c->fault == CLIENT_DIES)
				cut(c, now);
			else
				send_statement(c, "COMMIT", COMMITTING);
			break;
		default:
			break;
	}

	/* The try's last statement has been sent: lose the reply. */
	if (c->conn != NULL && c->state != CONNECTING && PQflush(c->conn) == 0 &&
		c->fault == REPLY_LOST &&
		c->state == (c->transaction ? COMMITTING : PAYING))
		cut(c, now);
}

/* ----------------------------------------------------------------
 *		Faults of the server
 * ----------------------------------------------------------------
 */

static bool
in_transaction(const Connection *c)
{
	return c->state == THINKING || (c->transaction && (c->state == PAYING || c->state == COMMITTING));
}

static void
terminate_a_backend(Service *service, int turn)
{
	int			start = drawn(FOR_VICTIM, turn, 0, 0, nconnections);

	for (int i = 0; i < nconnections; i++)
	{
		Connection *c = &connections[(start + i) % nconnections];

		if (c->service == service && in_transaction(c) && !c->terminated)
		{
			c->terminated = true;
			service->terminated++;
			kill(PQbackendPID(c->conn), SIGTERM);
			return;
		}
	}
}

/* Kill a backend that has paid and not committed; the others follow it. */
static bool
crash_the_server(void)
{
	for (int i = 0; i < nconnections; i++)
	{
		Connection *c = &connections[i];

		if (c->service == &services[WITH_KEYS] && c->state == THINKING && !c->terminated &&
			kill(PQbackendPID(c->conn), SIGKILL) == 0)
			return true;
	}
	return false;
}

/* ----------------------------------------------------------------
 *		The storm
 * ----------------------------------------------------------------
 */

static int
unanswered_callers(void)
{
	int			unanswered = 0;

	for (int i = 0; i < SERVICES; i++)
		unanswered += services[i].unanswered;
	return unanswered;
}

static void
wait_for_events(struct pollfd *fds)
{
	for (int i = 0; i < nconnections; i++)
	{
		const Connection *c = &connections[i];

		fds[i].fd = c->conn == NULL ? -1 : PQsocket(c->conn);
		fds[i].revents = 0;
		if (c->state == CONNECTING)
			fds[i].events = c->polling == PGRES_POLLING_WRITING ? POLLOUT : POLLIN;
		else
			fds[i].events = POLLIN;
	}
	(void) poll(fds, nconnections, 1);
}

/* Runs until every caller has an answer, or the time for it is over. */
static void
run_storm(void)
{
	struct pollfd *fds = allocated(nconnections, sizeof(struct pollfd));
	int64_t		start = time_now();
	int64_t		end = start + duration * SECOND;
	int64_t		next_payment = start;
	int64_t		next_report = start + SECOND;
	int64_t		next_termination = start + TERMINATE_EVERY;
	int			terminations = 0;
	int64_t		now = start;

	while (now < end || unanswered_callers() > 0)
	{
		wait_for_events(fds);
		now = time_now();

		/* Both services get it now, or neither. */
		if (now >= next_payment && now < end && npayments < duration * rate &&
			!is_overloaded(&services[WITH_KEYS], now) &&
			!is_overloaded(&services[WITHOUT_KEYS], now))
		{
			for (int i = 0; i < SERVICES; i++)
				admit_payment(&services[i], npayments, now);
			npayments++;
			next_payment += SECOND / rate;
			if (next_payment < now - TOLERATED_DELAY)
				next_payment = now;
		}
		for (int i = 0; i < nconnections; i++)
		{
			Connection *c = &connections[i];

			if (c->state == CONNECTING)
			{
				if (fds[i].revents != 0 || PQsocket(c->conn) < 0)
					go_on_connecting(c, now);
			}
			else if (c->conn != NULL &&
					 (fds[i].revents != 0 || PQstatus(c->conn) == CONNECTION_BAD))
				receive(c, now);
			proceed(c, now);
		}

		if (crashed_at == 0 && now - start > duration * SECOND / 2 && crash_the_server())
		{
			crashed_at = now;
			show_event("server crashes: a backend was killed in the middle of a payment");
		}
		if (now >= next_termination && now < end)
		{
			next_termination = now + TERMINATE_EVERY;
			terminate_a_backend(&services[terminations % SERVICES], terminations);
			terminations++;
		}
		if (now >= next_report)
		{
			next_report += SECOND;
			show_progress(now - start);
		}
		if (now > end + LONGEST_DRAIN)
			break;
	}
	show_progress(time_now() - start);
	if (on_terminal())
		putchar('\n');

	for (int i = 0; i < nconnections; i++)
	{
		PQfinish(connections[i].conn);
		connections[i].conn = NULL;
	}
	free(fds);
}

/* ----------------------------------------------------------------
 *		The audit
 * ----------------------------------------------------------------
 */

static PGresult *
answer_to(PGconn *conn, const char *question)
{
	PGresult   *result = PQexec(conn, question);

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
	{
		fprintf(stderr, "storm: %s", PQerrorMessage(conn));
		exit(2);
	}
	return result;
}

/* Whether one of the rows, which are ordered by id, has this id. */
static bool
has_id(const PGresult *rows, int64_t id)
{
	int			low = 0;
	int			high = PQntuples(rows);

	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		int64_t		found = atoll(PQgetvalue(rows, middle, 1));

		if (found == id)
			return true;
		if (found < id)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

static void
audit_service(PGconn *conn, Service *service)
{
	PGresult   *rows = answer_to(conn, service->audit);

	service->rows = PQntuples(rows);
	for (int row = 0; row < service->rows; row++)
	{
		int			payment = atoi(PQgetvalue(rows, row, 0));

		service->cents += atoll(PQgetvalue(rows, row, 2));
		service->payments[payment].rows++;
	}
	for (int i = 0; i < service->ncallers; i++)
	{
		const Caller *caller = &service->callers[i];

		if (caller->receipt != 0 && !has_id(rows, caller->receipt))
			service->payments[caller->payment].lost = true;
	}
	for (int payment = 0; payment < npayments; payment++)
	{
		service->paid += service->payments[payment].rows > 0;
		service->paid_twice += service->payments[payment].rows > 1;
		service->lost += service->payments[payment].lost;
	}
	PQclear(rows);
}

static void
show_numbers(const char *label, int with, int without)
{
	printf("  %-46s %12d %12d\n", label, with, without);
}

static void
show_table(int64_t owed)
{
	const Service *with = &services[WITH_KEYS];
	const Service *without = &services[WITHOUT_KEYS];

#define SHOW(label, field) show_numbers(label, with->field, without->field)
	printf("\n  %-46s %12s %12s\n", "", "with keys", "without");
	show_numbers("distinct payments", npayments, npayments);
	SHOW("requests sent", requests);
	SHOW("  reply lost (cut when all had been sent)", replies_lost);
	SHOW("  client died before its COMMIT", clients_died);
	SHOW("  backend terminated in the transaction", terminated);
	SHOW("  answered: paid now", firsts);
	SHOW("  answered: replay of the first answer", replays);
	SHOW("  answered: 409, sent again when advised", conflicts);
	SHOW("  answered: unexpected error", errors);
	SHOW("payments executed", rows);
	SHOW("payments executed twice or more", paid_twice);
	SHOW("payments lost after the client was told", lost);
	SHOW("payments answered in two different ways", answered_otherwise);
	SHOW("callers left without an answer", unanswered);
	printf("  %-46s %12.2f %12.2f\n\n", "charged beyond what was owed",
		   (with->cents - owed) / 100.0, (without->cents - owed) / 100.0);
#undef SHOW
}

/* Returns whether the extension kept its promises. */
static bool
audit(void)
{
	const Service *with = &services[WITH_KEYS];
	const Service *without = &services[WITHOUT_KEYS];
	PGconn	   *conn = PQconnectdb("");
	PGresult   *unfinished = answer_to(conn, "SELECT count(*) FROM idempotency.keys WHERE status <> 'completed'");
	int64_t		owed = 0;
	bool		kept = true;

	for (int payment = 0; payment < npayments; payment++)
		owed += cents_of(payment);
	for (int i = 0; i < SERVICES; i++)
		audit_service(conn, &services[i]);
	show_table(owed);

#define EXPECT(condition, otherwise) \
	do { if (!(condition)) { kept = false; printf("FAILED: %s\n", otherwise); } } while (0)
	EXPECT(with->paid_twice == 0 && with->rows == with->paid && with->cents <= owed,
		   "a payment was executed twice");
	EXPECT(with->lost == 0, "a payment was lost after its client had been told that it was made");
	EXPECT(with->paid == npayments, "a payment was not made");
	EXPECT(with->answered_otherwise == 0, "retries of one payment were answered differently");
	EXPECT(with->errors == 0 && without->errors == 0, "a caller got an error that the traffic doesn't explain");
	EXPECT(with->unanswered == 0 && without->unanswered == 0, "a caller never got an answer");
	EXPECT(strcmp(PQgetvalue(unfinished, 0, 0), "0") == 0, "a key was left unfinished");
	EXPECT(crashed_at != 0 && recovered, "the server did not crash and come back, as was planned");
	EXPECT(without->paid_twice > 0, "nothing was executed twice without the extension: this run shows nothing");
#undef EXPECT
	PQclear(unfinished);
	PQfinish(conn);
	return kept;
}

int
main(int argc, char **argv)
{
	int			option;

	while ((option = getopt(argc, argv, "d:r:c:s:")) != -1)
	{
		switch (option)
		{
			case 'd':
				duration = atoi(optarg);
				break;
			case 'r':
				rate = atoi(optarg);
				break;
			case 'c':
				connections_each = atoi(optarg);
				break;
			case 's':
				seed = strtoull(optarg, NULL, 10);
				break;
			default:
				duration = 0;
		}
	}
	if (duration < 1 || duration > 86400 || rate < 1 || rate > 10000 || connections_each < 1)
	{
		fprintf(stderr, "usage: storm [-d seconds] [-r payments per second] [-c connections per service] [-s seed]\n");
		return 2;
	}
	for (int i = 0; i < SERVICES; i++)
		prepare(&services[i]);
	nconnections = connections_each * SERVICES;
	connections = allocated(nconnections, sizeof(Connection));
	for (int i = 0; i < nconnections; i++)
		connections[i].service = &services[i % SERVICES];

	printf("Up to %d payments a second for %d seconds, to a service with the extension and to one\n"
		   "without it.  Each payment is sent by two to five callers who retry until answered, over\n"
		   "%d connections to each service.  Pairs of figures are with/without the extension.\n\n",
		   rate, duration, connections_each);
	run_storm();
	return audit() ? 0 : 1;
}
