package Payments;

use v5.36;
use Idempotent 'idempotent';

sub pay ($db, $key, $customer, $request)
{
	return idempotent($db, $key, "payments/$customer", $request, sub {
		my $payment = $db->selectrow_hashref('INSERT INTO payments (customer, amount) VALUES (?, ?) RETURNING *',
			undef, $customer, $request->{amount});
		return (201, $payment);
	});
}

1;
