#!/usr/bin/perl
#
# promises.pl [--bad-keys] [--http [--refused]] PROGRAM [ARGUMENT]...: the
# promises that every example has to keep.
#
# PROGRAM is a payments service.  It reads requests from its input, one a line,
#
#	KEY CUSTOMER AMOUNT
#
# in which KEY is the idempotency key, and answers each on its output, one a line,
# with an HTTP status and a body in JSON:
#
#	201 {"id": 1, "customer": "alice", "amount": 5}
#
# It ends when its input does.  The environment says where to connect: PGHOST,
# PGPORT, PGUSER and PGDATABASE, and the same in DATABASE_URL.
#
# --bad-keys: it also answers with the status of an error of the extension.
#
# --http: it is a web service, called through over_http.pl.  It answers 409 at
# once while the first request is at work, and sends a Location with 201.  It
# also serves, as the same operation, /payments/HOW, which pays, and then
#
#	commit		commits in the middle of the handler
#	unavailable	answers 503
#	error		throws
#	caught		catches an error of the database, and answers 409
#	nothing		answers 204
#
# over_http.pl says at which URL it is, for the requests of "try".
#
# --refused: it also serves /payments/refused, which pays, and then throws an
# exception that its framework answers with 402.
#
# Two of them run at a time, each with connections of its own, and get ten
# requests and more: enough for a driver to begin to prepare statements.

use strict;
use warnings;

use File::Basename qw(dirname);
use Getopt::Long qw(:config require_order);
use IO::Select;
use IPC::Open2;
use JSON::PP;
use Test::More;

my ($bad_keys, $over_http, $refused);
GetOptions('bad-keys' => \$bad_keys, 'http' => \$over_http, 'refused' => \$refused) or exit 2;
plan tests => 3 + ($bad_keys ? 1 : 0) + ($over_http ? 10 : 0) + ($refused ? 1 : 0);

my $json = JSON::PP->new->canonical->allow_nonref;
my $run = sprintf '%x%x', time, $$;

$SIG{ALRM} = sub { BAIL_OUT('no answer for 300 seconds') };
$SIG{PIPE} = 'IGNORE';

sub started
{
	my %process;
	$process{pid} = open2($process{out}, $process{in}, @_);
	return \%process;
}

sub send_to
{
	my ($process, $line) = @_;
	syswrite $process->{in}, "$line\n";
}

sub line_from
{
	my ($process) = @_;
	alarm 300;
	my $line = readline $process->{out};
	alarm 0;
	defined $line or BAIL_OUT('the program has ended without an answer');
	chomp $line;
	return $line;
}

# An answer with its body in one form, whatever the order of its members; and
# its headers.
sub answer_of
{
	my ($program) = @_;
	my $line = line_from($program);
	my ($status, $text) = $line =~ /^(\d{3}) (.*)$/;
	my ($body, $length) = eval { $json->decode_prefix($text) }
	  or BAIL_OUT("this is no answer: $line");
	my $answer = "$status " . $json->encode($body);
	return $answer unless wantarray;
	return ($answer, $json->decode(substr($text, $length) =~ s/^\s*$/{}/r));
}

sub request
{
	my ($program, @request) = @_;
	send_to($program, "@request");
	return answer_of($program);
}

my $psql = started(qw(psql -XAtq -v ON_ERROR_STOP=1));

sub value_of
{
	send_to($psql, "$_[0];");
	return line_from($psql);
}

sub rows_of
{
	return value_of("SELECT count(*) FROM payments WHERE customer = '$_[0]'");
}

my ($one, $other) = map { started(@ARGV) } 1 .. 2;

subtest 'a duplicate replays the same body' => sub {
	my $customer = "alice-$run";
	for my $amount (1 .. 10)
	{
		my @payment = ("$run-$amount", $customer, $amount);
		my $first = request($one, @payment);
		like($first, qr/^201 .*"amount":"?$amount\b/, 'made');
		is(request($other, @payment), $first, 'asked elsewhere');
		is(request($one, @payment), $first, 'asked again');
	}
	is(rows_of($customer), 10, 'one row for each');
};

# The table is locked until one of the two has claimed the key and waits for the
# table, and the other waits for the first, or over HTTP has been answered 409.
subtest 'two concurrent duplicates give one row' => sub {
	my $customer = "bob-$run";
	my $waiting = <<~'END';
		WITH RECURSIVE waiting (pid) AS (
			SELECT pg_backend_pid()
			UNION
			SELECT pg_locks.pid FROM pg_locks, waiting
			WHERE NOT granted AND waiting.pid = ANY (pg_blocking_pids(pg_locks.pid)))
		SELECT count(*) - 1 FROM waiting
		END

	send_to($psql, 'BEGIN; LOCK TABLE payments IN EXCLUSIVE MODE;');
	value_of('SELECT true');
	send_to($_, "$run $customer 5") for $one, $other;
	my ($first, $second) = ($one, $other);
	if ($over_http)
	{
		my ($sent_away) = IO::Select->new($one->{out}, $other->{out})->can_read(60);
		($first, $second) = ($other, $one) if defined $sent_away && $sent_away == $one->{out};
		my ($answer, $headers) = answer_of($second);
		like($answer, qr/^409 /, 'the second one is sent away');
		like($headers->{'retry-after'}, qr/^\d+$/, 'and told when to come back');
	}
	my $at_work = $over_http ? 1 : 2;
	for (1 .. 200)
	{
		last if value_of($waiting) == $at_work;
		select undef, undef, undef, 0.02;
	}
	is(value_of($waiting), $at_work, $over_http ? 'the first at work' : 'both at work');
	send_to($psql, 'COMMIT;');

	my $answer = answer_of($first);
	like($answer, qr/^201 /, 'answered');
	send_to($second, "$run $customer 5") if $over_http;
	is(answer_of($second), $answer, 'answered alike');
	is(rows_of($customer), 1, 'one row');
};

subtest 'a different payload is refused with 422' => sub {
	my $customer = "carol-$run";
	my $first = request($one, "$run", $customer, 5);
	like(request($other, "$run", $customer, 6), qr/^422 /, 'refused');
	is(request($other, "$run", $customer, 5), $first, 'the first one still replayed');
	is(rows_of($customer), 1, 'one row');
};

subtest 'a bad key is refused with 400' => sub {
	my $customer = "dave-$run";
	like(request($one, 'k' x 256, $customer, 5), qr/^400 /, 'refused');
	like(request($one, $run, $customer, 5), qr/^201 /, 'the next request made');
	is(rows_of($customer), 1, 'one row');
} if $bad_keys;

if ($over_http)
{
	subtest 'a replay says so, and leads to what the first request made' => sub {
		my ($first, $headers) = request($one, $run, "erin-$run", 5);
		my ($replay, $replayed) = request($other, $run, "erin-$run", 5);
		is($headers->{'idempotent-replayed'}, undef, 'the first answer is no replay');
		is($replayed->{'idempotent-replayed'}, 'true', 'the second is');
		like($headers->{location}, qr{/payments/\d+$}, 'made here');
		is($replayed->{location}, $headers->{location}, 'found here');
	};

	subtest 'the same key on another path or query is refused with 422' => sub {
		my $customer = "frank-$run";
		my $first = request($one, $run, $customer, 5);
		like(request($other, $run, $customer, 5, '/payments/error'), qr/^422 /, 'another path');
		like(request($other, $run, $customer, 5, '/payments?dry=1'), qr/^422 /, 'another query');
		is(request($other, $run, $customer, 5), $first, 'the first one still replayed');
		is(rows_of($customer), 1, 'one row');
	};

	subtest 'a second header is refused with 400' => sub {
		my $customer = "grace-$run";
		like(request($one, "$run,$run-2", $customer, 5), qr/^400 /, 'refused');
		is(rows_of($customer), 0, 'no row');
	};

	subtest 'a body that jsonb can not hold is refused with 400' => sub {
		my $customer = "gina-$run";
		like(request($one, $run, $customer, "5,\"x\":$_"), qr/^400 /, $_)
		  for '"\u0000"', '"\ud800"', 'NaN', '"unfinished';
		is(rows_of($customer), 0, 'no row');
	};

	subtest 'a 503 is not replayed, and leaves nothing behind' => sub {
		my $customer = "heidi-$run";
		for my $program ($one, $other)
		{
			my ($answer, $headers) = request($program, $run, $customer, 5, '/payments/unavailable');
			like($answer, qr/^503 /, 'unavailable');
			is($headers->{'idempotent-replayed'}, undef, 'not replayed');
		}
		is(rows_of($customer), 0, 'no row');
	};

	subtest 'a handler that fails is rolled back, and frees the key' => sub {
		my $customer = "ivan-$run";
		like(request($one, $run, $customer, 5, '/payments/error'), qr/^500 /, 'failed');
		is(rows_of($customer), 0, 'no row');
		like(request($other, $run, $customer, 5), qr/^201 /, 'the key is free at once, for any request');
		is(rows_of($customer), 1, 'one row');
	};

	subtest 'a handler that commits in between has no effect, and so no second one' => sub {
		my $customer = "judy-$run";
		like(request($_, $run, $customer, 5, '/payments/commit'), qr/^500 /, 'refused') for $one, $other;
		is(rows_of($customer), 0, 'no row');
	};

	subtest 'an answer without a body is replayed' => sub {
		my $customer = "kate-$run";
		for my $replayed (undef, 'true')
		{
			my ($answer, $headers) = request($one, $run, $customer, 5, '/payments/nothing');
			is($answer, '204 ""', 'no content');
			is($headers->{'idempotent-replayed'}, $replayed, $replayed ? 'replayed' : 'not replayed');
		}
		is(rows_of($customer), 1, 'one row');
	};

	# Work that is undone, by an error that its handler has caught, or by an exception.
	for my $refusal ([ caught => 409 ], $refused ? [ refused => 402 ] : ())
	{
		my ($how, $status) = @$refusal;
		subtest "a refusal whose work is undone is stored: $how" => sub {
			my $customer = "leo-$how-$run";
			my $first = request($one, $run, $customer, 5, "/payments/$how");
			like($first, qr/^$status /, 'refused');
			my ($answer, $headers) = request($other, $run, $customer, 5, "/payments/$how");
			is($answer, $first, 'refused again');
			is($headers->{'idempotent-replayed'}, 'true', 'replayed');
			is(rows_of($customer), 0, 'no row');
		};
	}

	subtest 'what the pages try is answered as they say' => sub {
		my ($url) = request($one, 'url') =~ /"(.*)"/;
		open my $file, '<', dirname($0) . '/try' or die "try: $!\n";
		my $requests = join '', <$file>;
		$requests =~ s{http://localhost:8080/payments}{$url};
		$requests =~ s/\balice\b/mallory-$run/;
		open my $sh, '-|', 'sh', '-c', $requests or die "sh: $!\n";
		my ($made, $again, $other_amount, $no_key, @parallel) = split m{(?=HTTP/1)}, join '', <$sh>;
		my ($body) = $made =~ /^(\{.*\})/m;
		like($made, qr{^HTTP/1\S+ 201\b.*^location: \S*/payments/\d+\r$}msi, 'made');
		like($again, qr{^HTTP/1\S+ 201\b.*^idempotent-replayed: true\r\n.*^\Q$body\E}msi, 'again: replayed');
		like($other_amount, qr{^HTTP/1\S+ 422\b}, 'another amount: refused');
		like($no_key, qr{^HTTP/1\S+ 400\b}, 'no key: refused');
		is(scalar @parallel, 3, 'three at a time');
		like($_, qr{^HTTP/1\S+ 201\b|^HTTP/1\S+ 409\b.*^retry-after: \d+\r$}msi, 'paid, replayed or sent away')
		  for @parallel;
		is(rows_of("mallory-$run"), 2, 'two rows');
	};
}

for my $process ($one, $other, $psql)
{
	close $process->{in};
	alarm 300;
	waitpid $process->{pid}, 0;
	alarm 0;
}
