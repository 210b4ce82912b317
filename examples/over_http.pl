#!/usr/bin/perl
#
# over_http.pl SERVICE [ARGUMENT]...: speak HTTP to an example.
#
# Starts SERVICE, which is to listen on the port of 127.0.0.1 that the
# environment's PORT names, and is to promises.pl what it asks for: a program
# that answers lines.  Each line becomes
#
#	POST /payments
#	Authorization: Bearer CUSTOMER
#	Idempotency-Key: "KEY"
#
#	{"amount": AMOUNT}

use strict;
use warnings;

use HTTP::Tiny;
use IO::Socket::INET;
use POSIX qw(WNOHANG);

my $port = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;

my $service = fork // die "cannot fork: $!\n";
if ($service == 0)
{
	$ENV{PORT} = $port;
	open STDIN, '<', '/dev/null';
	open STDOUT, '>&', \*STDERR;
	exec @ARGV or die "$ARGV[0]: $!\n";
}
END { kill TERM => $service and waitpid $service, 0 if $service }

for (1 .. 600)
{
	last if IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port);
	waitpid $service, WNOHANG and die "the service has ended\n";
	select undef, undef, undef, 0.05;
}

my $http = HTTP::Tiny->new(timeout => 60);
$| = 1;
while (my $line = <STDIN>)
{
	my ($key, $customer, $amount) = split ' ', $line;
	my $answer = $http->post(
		"http://127.0.0.1:$port/payments",
		{
			headers => {
				'Authorization' => "Bearer $customer",
				'Content-Type' => 'application/json',
				'Idempotency-Key' => qq("$key"),
			},
			content => qq({"amount": $amount}),
		});
	print "$answer->{status} ", $answer->{content} =~ s/\s*\n\s*/ /gr, "\n";
}
