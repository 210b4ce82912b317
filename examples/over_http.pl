#!/usr/bin/perl
#
# over_http.pl SERVICE [ARGUMENT]...: send the requests of promises.pl over HTTP.
#
# Starts SERVICE, which has to listen on the port of 127.0.0.1 that the
# environment's PORT names, and answers the lines of promises.pl.  A line
#
#	KEY CUSTOMER AMOUNT [PATH]
#
# becomes
#
#	POST PATH (or /payments)
#	Authorization: Bearer CUSTOMER
#	Idempotency-Key: "KEY" (KEY,KEY becomes two headers)
#
#	{"amount": AMOUNT}
#
# and its answer ends with the headers that promises.pl looks at:
#
#	201 {"id": 1, "customer": "alice", "amount": 5} {"location": "/payments/1"}
#
# The line "url" asks for the URL of /payments.

use strict;
use warnings;

use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP;
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

my $json = JSON::PP->new->canonical->allow_nonref;
# A server may close a connection on which it has answered 500.
my $http = HTTP::Tiny->new(timeout => 60, keep_alive => 0);
$| = 1;
while (my $line = <STDIN>)
{
	chomp $line;
	if ($line eq 'url')
	{
		print qq(200 "http://127.0.0.1:$port/payments"\n);
		next;
	}
	my ($keys, $customer, $amount, $path) = split ' ', $line;
	my $answer = $http->post(
		"http://127.0.0.1:$port" . ($path // '/payments'),
		{
			headers => {
				'Authorization' => "Bearer $customer",
				'Content-Type' => 'application/json',
				'Idempotency-Key' => [ map { qq("$_") } split /,/, $keys ],
			},
			content => qq({"amount": $amount}),
		});
	# A framework's error page is not JSON.
	my $body = $answer->{content} // '';
	$body = $json->encode($body) unless eval { $json->decode($body); 1 };
	my %headers = map { $_ => $answer->{headers}{$_} }
	  grep { exists $answer->{headers}{$_} } qw(idempotent-replayed location retry-after);
	print "$answer->{status} ", $body =~ s/\s*\n\s*/ /gr, ' ', $json->encode(\%headers), "\n";
}
