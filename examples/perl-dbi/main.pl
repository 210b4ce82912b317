# Answers the requests of promises.pl.

use v5.36;
use lib '.';

use DBI;
use JSON::PP;
use Payments;

# PgBouncer before 1.21 does not support prepared statements.
my $db = DBI->connect('dbi:Pg:', '', '', { RaiseError => 1, PrintError => 0, AutoCommit => 1, pg_server_prepare => 0 });

$| = 1;
while (my $line = <STDIN>)
{
	my ($key, $customer, $amount) = split ' ', $line;
	my ($status, $body) = Payments::pay($db, $key, $customer, { amount => 0 + $amount });
	say $status, ' ', encode_json($body);
}
