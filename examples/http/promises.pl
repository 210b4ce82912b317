#!/usr/bin/perl
#
# promises.pl DIRECTORY: the promises that the payments service has to keep.
#
# DIRECTORY has the programs "service" and "processor", and gets the files that
# the load writes.  One processor runs, two services, and for each phase of a
# payment one more service, which dies in it.  curl sends the requests.  The
# processor knows the charges; every payment of this test has a different amount.

use strict;
use warnings;

use IO::Socket::INET;
use JSON::PP;
use List::Util qw(shuffle);
use Test::More;
use Time::HiRes qw(sleep time);

my $directory = shift;
my %running;

END
{
	local $?;
	kill 'KILL', keys %running;
	waitpid $_, 0 for keys %running;
}
$SIG{$_} = sub { exit 1 } for qw(INT TERM);

# Start a program that listens, and return its URL and its process.
sub start
{
	my ($program, %environment) = @_;
	my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die $!;
	my $address = '127.0.0.1:' . $socket->sockport;
	close $socket;

	my $pid = fork() // die $!;
	if (!$pid)
	{
		%ENV = (%ENV, %environment, LISTEN => $address);
		exec "$directory/$program" or die "$directory/$program: $!";
	}
	$running{$pid} = 1;
	for (1 .. 500)
	{
		return ("http://$address", $pid) if IO::Socket::INET->new(PeerAddr => $address);
		sleep 0.02;
	}
	die "$program does not listen";
}

sub killed_by
{
	my ($pid) = @_;
	waitpid $pid, 0;
	delete $running{$pid};
	return $? & 127;
}

my ($processor) = start('processor');
my %setting = (PROCESSOR_URL => $processor, LEASE => '2s');
my ($url) = start('service', %setting);
my ($other_url) = start('service', %setting);

my $run = sprintf '%x-%x', time, $$;
my $amount = 1000;

# A payment, with an amount that no other one has.
sub payment
{
	my (%order) = @_;
	$amount++;
	return { url => $url, account => 'alice', key => "\"$run-$amount\"",
		order => { amount => $amount, currency => 'EUR', card => 'visa', %order } };
}

sub curl
{
	open my $curl, '-|', 'curl', '-s', '--no-progress-meter', '--max-time', 30, @_ or die $!;
	local $/;
	my $output = <$curl>;
	close $curl;
	return $output;
}

# The answer to a payment; %changed replaces parts of the request.
sub answer
{
	my ($payment, %changed) = @_;
	my %p = (%$payment, %changed);
	my $output = curl('-i', "$p{url}/payments" . ($p{query} // ''), '-u', "$p{account}:", '--json', encode_json($p{order}),
		defined $p{key} ? ('-H', "Idempotency-Key: $p{key}") : ());
	my ($head, $body) = split /\r\n\r\n/, $output, 2;
	my ($status, @headers) = split /\r\n/, $head // '';
	my %answer = map { /^(\S+): (.*)/ ? (lc $1 => $2) : () } @headers;
	@answer{qw(status body)} = (($status // ' ') =~ /^HTTP\S+ (\d+)/, $body) if $status;
	return \%answer;
}

# The final answer to a client that obeys Retry-After.
sub final_answer
{
	my ($answer, $end) = (undef, time + 30);
	do
	{
		sleep $answer->{'retry-after'} if $answer;
		$answer = answer(@_);
	} while ($answer->{'retry-after'} && time < $end);
	return $answer;
}

sub is_problem
{
	my ($answer, $status, $title) = @_;
	my $problem = eval { decode_json($answer->{body}) } // {};
	is("$answer->{status} $answer->{'content-type'}", "$status application/problem+json", "$status, a problem document");
	is($problem->{status}, $status, 'with its status');
	like($problem->{title}, $title, 'and its title');
}

sub charges
{
	my ($payment) = @_;
	return scalar grep { /^\S+ $payment->{order}{amount}$/ } split /\n/, curl("$processor/charges");
}

# Wait for the processor to have the payment.
sub until_charged
{
	my ($payment) = @_;
	for (1 .. 500)
	{
		return if charges($payment);
		sleep 0.02;
	}
	die 'nothing was charged';
}

sub rows
{
	my ($payment) = @_;
	my @rows = `psql -XAtq -c "SELECT status FROM payments WHERE amount = $payment->{order}{amount}"`;
	return join ' ', map { s/\n//r } @rows;
}

sub is_paid_once
{
	my ($payment) = @_;
	is(charges($payment), 1, 'one charge');
	is(rows($payment), 'paid', 'one row, paid');
}

subtest 'a request is answered by 201, and so is its duplicate, marked as a replay' => sub {
	my $payment = payment();
	my $first = answer($payment);
	is($first->{status}, 201, 'made');
	is($first->{'idempotent-replayed'}, undef, 'not a replay');
	like($first->{location}, qr{^/payments/\d+$}, 'its location');
	for my $at ($url, $other_url)
	{
		my $again = answer($payment, url => $at);
		is($again->{'idempotent-replayed'}, 'true', 'a replay');
		is($again->{$_}, $first->{$_}, "the same $_") for qw(status content-type location body);
	}
	is_paid_once($payment);
};

subtest 'a request with no key, or with a malformed one, is answered by 400' => sub {
	my $payment = payment();
	is_problem(answer($payment, key => undef), 400, qr/header is missing/);
	is_problem(answer($payment, key => $_), 400, qr/Idempotency-Key/) for ';', '"unfinished', 'bare', '"one", "two"';
	is(charges($payment), 0, 'no charge');
	is(rows($payment), '', 'no row');
};

subtest 'another request under the key is answered by 422' => sub {
	my $payment = payment();
	is(answer($payment)->{status}, 201, 'made');
	is_problem(answer($payment, order => { %{ $payment->{order} }, currency => 'USD' }), 422, qr/already used/);
	is_problem(answer($payment, query => '?dry=1'), 422, qr/already used/);
	is_paid_once($payment);
};

subtest 'a duplicate of an outstanding request is answered by 409 and Retry-After' => sub {
	my $payment = payment(card => 'slow');
	my $client = fork() // die $!;
	if (!$client)
	{
		%running = ();
		exec 'curl', '-s', '-o', '/dev/null', "$url/payments", '-u', 'alice:', '--json', encode_json($payment->{order}),
		  '-H', "Idempotency-Key: $payment->{key}";
	}
	$running{$client} = 1;
	until_charged($payment);
	my $answer = answer($payment);
	is_problem($answer, 409, qr/outstanding/);
	like($answer->{'retry-after'}, qr/^[12]$/, 'what is left of the lease, in seconds');
	killed_by($client);
	is(final_answer($payment)->{'idempotent-replayed'}, 'true', 'later on replayed');
	is_paid_once($payment);
};

subtest 'two accounts may choose the same key' => sub {
	my ($alice, $bob) = (payment(), payment());
	@$bob{qw(account key)} = ('bob', $alice->{key});
	is(answer($_)->{status}, 201, 'made') for $alice, $bob;
	is_paid_once($_) for $alice, $bob;
};

subtest 'a declined card stays declined' => sub {
	my $payment = payment(card => 'declined');
	my $first = answer($payment);
	is_problem($first, 402, qr/declined/);
	my $again = answer($payment, url => $other_url);
	is($again->{'idempotent-replayed'}, 'true', 'a replay');
	is($again->{$_}, $first->{$_}, "the same $_") for qw(status content-type location body);
	is(rows($payment), 'declined', 'one row');
};

subtest 'a charge whose answer was lost is found again' => sub {
	my $payment = payment(card => 'flaky');
	my $first = answer($payment);
	is_problem($first, 503, qr/does not answer/);
	is(charges($payment), 1, 'charged');
	is(final_answer($payment)->{status}, 201, 'made');
	is_paid_once($payment);
};

for my $phase (qw(claimed created called charged completed))
{
	subtest "the service is killed when the payment is $phase, and a retry finishes it without a second charge" => sub {
		my $payment = payment();
		my ($doomed, $pid) = start('service', %setting, DIE_AFTER => $phase);
		is(answer($payment, url => $doomed)->{status}, undef, 'no answer');
		is(killed_by($pid), 9, 'killed');
		if ($phase ne 'completed')
		{
			is(answer($payment)->{status}, 409, 'outstanding while the lease lasts');
		}
		my $answer = final_answer($payment);
		is($answer->{status}, 201, 'made');
		is($answer->{'idempotent-replayed'}, $phase eq 'completed' ? 'true' : undef, 'replayed if complete');
		is(answer($payment)->{body}, $answer->{body}, 'and replayed');
		is_paid_once($payment);
	};
}

subtest 'the service is killed during the call, and a retry finishes it without a second charge' => sub {
	my $payment = payment(card => 'slow');
	my ($doomed, $pid) = start('service', %setting);
	my $client = fork() // die $!;
	if (!$client)
	{
		%running = ();
		answer($payment, url => $doomed);
		exit 0;
	}
	$running{$client} = 1;
	until_charged($payment);
	kill 'KILL', $pid;
	killed_by($_) for $pid, $client;
	is(final_answer($payment)->{status}, 201, 'made');
	is_paid_once($payment);
};

subtest 'an owner that comes back late finds that it was superseded' => sub {
	my $payment = payment(card => 'slow');
	my ($late_url, $late) = start('service', %setting);
	open my $late_client, '-|', 'curl', '-s', '-w', ' %{http_code}', "$late_url/payments", '-u', 'alice:',
	  '--json', encode_json($payment->{order}), '-H', "Idempotency-Key: $payment->{key}" or die $!;
	until_charged($payment);
	kill 'STOP', $late;
	is(final_answer($payment)->{status}, 201, 'another one takes over');
	kill 'CONT', $late;
	like(join('', <$late_client>), qr/outstanding.* 409$/, 'the late one writes nothing');
	close $late_client;
	is_paid_once($payment);
};

subtest 'under a load of duplicates, every key is charged once' => sub {
	my ($keys, $duplicates) = (40, 15);
	my (@requests, %body, %made, %status);
	for my $n (1 .. $keys)
	{
		my $payment = payment(card => $n % 4 ? 'visa' : 'flaky');
		push @requests, map { $payment } 1 .. $duplicates;
	}
	@requests = shuffle(@requests);

	mkdir "$directory/load";
	open my $config, '>', "$directory/load.curl" or die $!;
	for my $n (0 .. $#requests)
	{
		my $p = $requests[$n];
		my ($at, $key, $order) = ($n % 2 ? $url : $other_url, $p->{key}, encode_json($p->{order}));
		s/"/\\"/g for $key, $order;
		print $config qq(next\n) if $n;
		print $config qq(url = "$at/payments"\nuser = "alice:"\njson = "$order"\n);
		print $config qq(header = "Idempotency-Key: $key"\noutput = "$directory/load/$n"\n);
		print $config qq(write-out = "$n %{http_code} %header{idempotent-replayed}\\n"\n);
	}
	close $config;

	for (split /\n/, curl('--parallel', '--parallel-max', 20, '--config', "$directory/load.curl"))
	{
		my ($n, $status, $replayed) = split / /;
		my $p = $requests[$n];
		$status{$status}++;
		next if $status != 201;
		open my $file, '<', "$directory/load/$n" or die $!;
		$body{ $p->{key} }{<$file>} = 1;
		$made{ $p->{key} }++ if !$replayed;
	}
	note("$keys keys, " . @requests . ' requests: ', join ', ', map { "$status{$_} times $_" } sort keys %status);

	my %seen;
	for my $p (grep { !$seen{ $_->{key} }++ } @requests)
	{
		my $answer = final_answer($p);
		$body{ $p->{key} }{ $answer->{body} } = 1;
		$made{ $p->{key} }++ if $answer->{status} == 201 && !$answer->{'idempotent-replayed'};
	}
	is_deeply([ grep { !/^(201|409|503)$/ } keys %status ], [], 'no other answers');
	is(scalar(grep { keys %$_ == 1 } values %body), $keys, 'one body for each key');
	is(scalar(grep { $_ == 1 } values %made), $keys, 'one of its answers not marked as a replay');
	my %charged;
	$charged{$_}++ for map { /^\S+ (\d+)$/ } split /\n/, curl("$processor/charges");
	is(scalar(grep { ($charged{ $_->{order}{amount} } // 0) == 1 } @requests), scalar @requests, 'one charge for each key');
	is_deeply([ grep { $_ > 1 } values %charged ], [], 'and nothing was charged twice in the whole test');
	is(`psql -XAtqc "SELECT count(*) - count(DISTINCT amount) FROM payments"`, "0\n", 'nor has two rows');
};

done_testing();
