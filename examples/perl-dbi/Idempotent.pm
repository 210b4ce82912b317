package Idempotent;

use v5.36;
use Exporter 'import';
use JSON::PP;

our @EXPORT_OK = ('idempotent');

my $json = JSON::PP->new;

# Run the work once for each key of the scope; its answers are a status and a
# body.
#
# Claim, work and answer are one transaction.  An error rolls all of it back,
# and a retry runs the work again.
sub idempotent ($db, $key, $scope, $request, $work)
{
	my @answer;
	$db->begin_work;
	eval {
		my $claim = $db->selectrow_hashref('SELECT * FROM idempotency.claim(?, ?, ?)',
			undef, $key, $scope, $json->encode($request));
		if ($claim->{outcome} eq 'replay')
		{
			@answer = ($claim->{status_code}, $json->decode($claim->{response}));
		}
		elsif (!$claim->{proceed})
		{
			@answer = ($claim->{status_code}, { title => $claim->{outcome} });
		}
		else
		{
			@answer = $work->();
			$db->do('SELECT idempotency.complete(?, ?, ?, status_code => ?)',
				undef, $key, $scope, $json->encode($answer[1]), $answer[0]);
		}
		$db->commit;
	} or do {
		# The extension's SQLSTATEs end in the HTTP status; rollback forgets them.
		my ($error, $sqlstate) = ($@, $db->state);
		$db->rollback;
		$sqlstate =~ /^IK(\d{3})$/ or die $error;
		@answer = ($1, { title => $error });
	};
	return @answer;
}

1;
