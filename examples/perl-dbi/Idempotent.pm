package Idempotent;

use v5.36;
use Exporter 'import';
use JSON::PP;

our @EXPORT_OK = ('idempotent');

my $json = JSON::PP->new;

# Run the work once for each key of the scope; its answers are a status and a
# body.
#
# Claim, work and answer are one transaction.  An error, and an answer of 500 and
# above, undoes all of it, and a retry runs the work again.  The request is
# compared: over HTTP, pass method, path, query and body.
sub idempotent ($db, $key, $scope, $request, $work)
{
	my @answer;
	$db->begin_work;
	eval {
		my $claim = $db->selectrow_hashref('SELECT * FROM idempotency.claim(key => ?, scope => ?, request => ?)',
			undef, $key, $scope, $json->encode($request));
		if ($claim->{outcome} eq 'replay')
		{
			@answer = ($claim->{status_code}, $json->decode($claim->{response}));
		}
		elsif ($claim->{outcome} eq 'new')
		{
			@answer = $work->();
			$db->do('SELECT idempotency.complete(key => ?, scope => ?, response => ?, status_code => ?)',
				undef, $key, $scope, $json->encode($answer[1]), $answer[0]) if $answer[0] < 500;
		}
		elsif ($claim->{outcome} eq 'recovered')
		{
			# A previous owner has committed a part of the work.
			die "claims of the scope have a lease: $scope\n";
		}
		else
		{
			@answer = ($claim->{status_code}, { title => $claim->{outcome} });
		}
		$answer[0] < 500 ? $db->commit : $db->rollback;
	} or do {
		# An error that the client has caused is answered; rollback forgets the SQLSTATE.
		my ($error, $sqlstate) = ($@, $db->state);
		$db->rollback;
		$sqlstate =~ /^IK(400|409|412|413|422)$/ or die $error;
		@answer = ($1, { title => $error });
	};
	return @answer;
}

1;
