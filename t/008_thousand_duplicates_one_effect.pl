# A thousand concurrent requests with one key have one effect: one request does
# the work, and all the others replay its result, at each isolation level, and
# if the first owners fail and roll back.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $most = 1000;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->append_conf('postgresql.conf', 'max_connections = ' . ($most + 20) . "\nidempotency.max_waiters = $most");
$node->start;

# A request as an application makes it.  The owner works until every other
# request waits for it, so that all thousand are concurrent.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION idempotency;
CREATE TABLE payments (id integer GENERATED ALWAYS AS IDENTITY, request text);
CREATE TABLE answers (request text, outcome text, response jsonb);
CREATE SEQUENCE tries;

CREATE FUNCTION request(request text, others integer, failures integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
	c idempotency.claim_result;
	payment integer;
BEGIN
	c := idempotency.claim(request, 'shop', '{"amount": 10}', wait => '10 minutes');
	IF c.proceed THEN
		INSERT INTO payments (request) VALUES (request.request) RETURNING id INTO payment;
		WHILE (SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE wait_event_type = 'Lock') < others LOOP
			PERFORM pg_sleep(0.02);
			PERFORM pg_stat_clear_snapshot();
		END LOOP;
		IF nextval('tries') <= failures THEN
			RAISE EXCEPTION 'the work failed' USING ERRCODE = 'serialization_failure';
		END IF;
		PERFORM idempotency.complete(request, 'shop', to_jsonb(payment), payment::text, 201);
		c.response := to_jsonb(payment);
	END IF;
	INSERT INTO answers VALUES (request.request, c.outcome, c.response);
END
$$;
SQL

sub one
{
	return $node->safe_psql('postgres', shift);
}

# Send the requests, all with one key.  pgbench retries failed ones.
sub request
{
	my ($requests, $key, $isolation, $failures) = @_;
	my $what = "$isolation, $failures failures";
	my $script = $node->basedir . "/$key.sql";
	append_to_file($script, "SELECT request('$key', $requests - 1, $failures);\n");
	one('ALTER SEQUENCE tries RESTART');

	# An owner would wait for ever for a duplicate that was aborted.
	local $ENV{PGOPTIONS} = '-c statement_timeout=1min -c default_transaction_isolation=' . ($isolation =~ s/ /\\ /r);
	$node->command_like(
		[ 'pgbench', '-n', '-c', $requests, '-j', '2', '-t', '1', '--max-tries', $failures + 1, '-f', $script, 'postgres' ],
		qr{transactions actually processed: $requests/$requests\n.*failed transactions: 0 }s,
		"$requests concurrent requests are answered: $what");

	is(one("SELECT count(*) FROM payments WHERE request = '$key'"), '1', "they have one effect: $what");
	is( one("SELECT outcome, count(*) FROM answers WHERE request = '$key' GROUP BY outcome ORDER BY outcome"),
		"new|1\nreplay|" . ($requests - 1),
		"one does the work, all others replay: $what");
	is( one("SELECT DISTINCT a.response = to_jsonb(p.id) FROM answers AS a JOIN payments AS p USING (request) WHERE request = '$key'"),
		't', "all have the result of that one effect: $what");
}

request(100, 'once', 'read committed', 0);
request(100, 'serializable', 'serializable', 0);
request(100, 'first owners fail', 'repeatable read', 3);
# If a hundred fail, a thousand would only take longer.
request($most, 'thousand', 'read committed', 3) if Test::More->builder->is_passing;

done_testing();
