# check.pl: judge the answers that the clients of a storm got, and the final state.
#
#	check.pl [-p] DIRECTORY
#
# Reads history.* (its lines are described in clients.c), clock (the steps of the
# servers' clock), triggers (the times of foreign triggers), restored (the answers
# of copies), effects and keys (the tables in the end) and server.*.log, and relies
# only on the extension's contract.  What has to be true:
#
#	effects	An effect is there if and only if its transaction committed.
#	keys	A key that is stored has its effect, and an effect its key.
#	lives	A key's work is done once in a life.  A life ends no earlier than
#			its ttl after it began.
#	owners	An unfinished claim is taken over only after its lease, with
#			a higher attempt.  After a release the key may be claimed before the
#			end of the lease, with a higher attempt, too.
#	fences	Nothing is accepted from an owner that has been superseded.
#	replies	Every reply is the result of the present life, and exists.  Once a
#			result is known, no client gets "in progress".
#	requests	Another request never gets an answer; one first sent before the
#			ttl is never run.
#	commits	A claim without a lease is not committed before its end.
#	tenants	A purge or an erasure takes effect at once, and for nothing else.
#	triggers	Nothing is written while a table has a foreign trigger.
#	copies	A restored database answers like the one that was dumped.
#	errors	The faults and the contract explain every error of a client or of a
#			server.
#
# The answers for a key are checked in the order in which the server gave them.
# Times are bounds: the earliest and the latest time of the server's clock when it
# judged a request, between sending and receiving.  An answer that may have been
# right counts as right.

use strict;
use warnings;

# With -p it is the portable edition, in which an older snapshot may lead to 40001
# or to an answer that was right when the transaction began.
my $portable = @ARGV && $ARGV[0] eq '-p' && shift;
my $directory = shift or die "usage: check.pl [-p] DIRECTORY\n";
my ($violations, %count) = (0);

sub violation
{
	my ($what, @lines) = @_;

	return if ++$violations > 20;
	print "VIOLATION: $what\n";
	print '    ', join(' ', map { defined $_ ? $_ : '-' } @{ $_->{fields} }), "\n" for grep { $_ } @lines;
}

sub lines_of
{
	my $name = shift;

	open(my $file, '<', "$directory/$name") or die "$directory/$name: $!\n";
	my @lines = map { chomp; [ split /\t/, $_, -1 ] } <$file>;
	return @lines;
}

# ---- the server's clock ----

# Each step: the clock was set between two times of the machine, to an offset.
my @steps = map { { begun => $_->[0], ended => $_->[1], offset => $_->[2] } } lines_of('clock');

# The earliest time of the server's clock in an interval that may be open.
sub earliest
{
	my ($sent, $received) = @_;
	my ($now, $earliest) = (0);

	for my $step (@steps)
	{
		last if $received && $step->{begun} > $received;
		if ($step->{ended} <= $sent) { $earliest = $sent + $step->{offset}; }
		else
		{
			my $reading = ($step->{begun} > $sent ? $step->{begun} : $sent) + $step->{offset};
			$earliest = $reading if !defined $earliest || $reading < $earliest;
		}
	}
	return $earliest;
}

# The latest time of the server's clock until then.  A key that has expired once may
# be gone, even if the clock was set back since.
sub latest
{
	my $received = shift;
	my $latest;

	for my $i (0 .. $#steps)
	{
		last if $steps[$i]{begun} > $received;
		my $until = $i < $#steps && $steps[ $i + 1 ]{ended} < $received ? $steps[ $i + 1 ]{ended} : $received;
		my $reading = $until + $steps[$i]{offset};
		$latest = $reading if !defined $latest || $reading > $latest;
	}
	return $latest;
}

# ---- the history ----

my (%fate, %began_at, %known_at, %answers, %work, %released, %lost, %done_by, @removals);

my %fields = (
	C => [qw(tx key turn sent received style outcome attempt effect ttl lease asked)],
	D => [qw(tx key turn sent received attempt effect ttl)],
	B => [qw(tx key turn sent received attempt lease)],
	R => [qw(tx key sent attempt)],
	L => [qw(tx key sent ttl lease)],
	W => [qw(tx key effect)],
	X => [qw(tx what sent)]);

# When there certainly was a trigger, and when there may have been one.
my @triggers = map { { begun => $_->[0], put => $_->[1], ended => $_->[2], gone => $_->[3] } } lines_of('triggers');

# The errors that a client may get, besides the contract's own codes: the
# connection or the server is going or gone, the disk is full, or a prepared
# transaction was ended by storm.pl.  Not a deadlock: a client that has a key waits
# for another one only within a batch.
my $explained = $portable ? qr/^(57P0[123]|08...|53[13]00|42704|55000|40001)$/ : qr/^(57P0[123]|08...|53[13]00|42704|55000)$/;
my %contract = (
	lease => qr/^IK4(04|23)$/,
	batch => qr/^IK4(04|23)$/,
	once => qr/^IK409$/,
	between => qr/^IK500$/,
	single => qr/^IK500$/,
	vain => qr/^IK4(04|23|28)$/);

for my $name (map { s{.*/}{}r } glob("$directory/history.*"))
{
	for my $line (lines_of($name))
	{
		my ($type, @values) = @$line;

		if ($type eq 'T')
		{
			$fate{ $values[0] } = $values[1];
			$began_at{ $values[0] } = $values[2];
			$known_at{ $values[0] } = $values[3];
			$count{transactions}++;
		}
		elsif ($type eq 'E')
		{
			my ($tx, $sqlstate, $style, $sent, $received, $message) = @values;
			my $contract = $contract{$style};
			my $trigger = $sqlstate eq '0A000' && grep { $received > $_->{begun} && $sent < $_->{gone} } @triggers;

			$count{errors}++;
			violation("unexpected error", { fields => $line })
			  unless $sqlstate =~ $explained || $trigger || ($contract && $sqlstate =~ $contract);
			$count{refused}++ if $sqlstate =~ /^(IK500|0A000)$/;
		}
		else
		{
			my %answer = (type => $type, fields => $line);

			@answer{ @{ $fields{$type} } } = @values;
			$answer{$_} and $answer{$_} *= 1000 for qw(ttl lease);
			if ($type eq 'W') { push @{ $work{ $answer{tx} } }, \%answer; }
			elsif ($type eq 'R') { push @{ $released{ $answer{key} }{ $answer{attempt} } }, \%answer; }
			elsif ($type eq 'X') { push @removals, \%answer; }
			elsif ($type eq 'L') { push @{ $lost{ $answer{key} } }, \%answer; }
			else { push @{ $answers{ $answer{key} } }, \%answer; }
			$count{ $answer{outcome} }++ if $type eq 'C';
			$done_by{ $answer{tx} }{ $answer{key} } = 1 if $type eq 'D';
		}
	}
}

# ---- effects ----

my (%effect, %effects_of, %has_effect);

for my $line (lines_of('effects'))
{
	my ($id, $key, $tx) = @$line;
	my $effect = { id => $id, key => $key, tx => $tx, fields => $line };
	my $fate = $fate{$tx};

	$effect{$id} = $effect;
	push @{ $effects_of{$tx} }, $effect;
	$has_effect{$key} = 1;
	if ($tx < 0) { violation('work is there that was rolled back to a savepoint', $effect); }
	elsif (!defined $fate) { violation('work is there that no transaction did', $effect); }
	elsif ($fate eq 'aborted') { violation('work is there whose transaction did not commit', $effect); }
	$count{effects}++;
}

for my $tx (keys %work)
{
	my @missing = grep { !$effect{ $_->{effect} } } @{ $work{$tx} };

	violation('acknowledged work is lost', @missing)
	  if @missing && $fate{$tx} eq 'committed';
	violation('work of one transaction is there in part', @missing)
	  if @missing && $fate{$tx} eq 'unknown' && $effects_of{$tx};
}

sub happened
{
	my $tx = shift->{tx};

	return $fate{$tx} eq 'committed' || ($fate{$tx} eq 'unknown' && $effects_of{$tx});
}

# ---- removals ----

# The earliest beginning of each, and the latest time of its effect.
for my $removal (@removals)
{
	$removal->{by} = $fate{ $removal->{tx} } eq 'committed' ? $known_at{ $removal->{tx} } : 9e18;
	$count{removals}++;
}
@removals = grep { happened($_) } @removals;

# Whether a key belongs to the tenant that is purged and erased.
sub is_removable
{
	my $key = shift;

	return $key < 1000000 && $key % 10 == 8;
}

# A removal that may have removed the key between two times; of a kind, if given.
sub removal_between
{
	my ($key, $from, $to, $what) = @_;

	return unless is_removable($key);
	my ($removal) = grep { $_->{by} >= $from && $_->{sent} <= $to && $_->{what} =~ ($what // qr/./) } @removals;
	return $removal;
}

# The earliest time of the snapshot by which an answer was given.
sub snapshot_of
{
	my $answer = shift;

	return $portable ? $began_at{ $answer->{tx} } : $answer->{sent};
}

# A removal of a result that was known by then; the removal was known itself before
# an answer.
sub removal_of
{
	my ($life, $answer) = @_;

	return unless is_removable($answer->{key}) && $fate{ $life->{done}{tx} } eq 'committed';
	my ($removal) = grep { $_->{sent} > $known_at{ $life->{done}{tx} } && $_->{by} < snapshot_of($answer) } @removals;
	return $removal;
}

# ---- the lives of a key ----

# A life: {claim, lease, expires, done}, all times the earliest possible.  It has
# also ended if it was purged, or if a client whose reply was lost has taken it over,
# for a time that has ended.
sub may_have_ended
{
	my ($life, $answer) = @_;
	my $now = latest($answer->{received});

	return 1 if $now >= $life->{expires};
	return 1 if removal_between($answer->{key}, $life->{claim}{sent}, $answer->{received}, qr/purge/);
	return 0 if $life->{done};
	for my $lost (@{ $lost{ $answer->{key} } || [] })
	{
		my $longest = $lost->{ttl} > $lost->{lease} ? $lost->{ttl} : $lost->{lease};

		return 1 if $fate{ $lost->{tx} } eq 'unknown' && $lost->{sent} < $answer->{received} &&
		  $lost->{sent} > $life->{claim}{sent} && $now >= earliest($lost->{sent}) + $longest;
	}
	return 0;
}

sub check_claim
{
	my ($life, $claim) = @_;
	my $owner = $life->{claim};

	if ($life->{done}) { violation('a key ran twice', $life->{done}, $claim); }
	elsif ($claim->{attempt} <= $owner->{attempt}) { violation('an attempt did not rise', $owner, $claim); }
	elsif ($claim->{outcome} eq 'recovered')
	{
		$count{takeovers}++;
		violation('a claim was taken over before the end of its lease', $owner, $claim)
		  if latest($claim->{received}) < $life->{lease};
	}
	else
	{
		my @releases = grep { $_->{sent} < $claim->{received} && $fate{ $_->{tx} } ne 'aborted' }
		  @{ $released{ $claim->{key} }{ $owner->{attempt} } || [] };

		violation('a claim in progress was made again', $owner, $claim) unless @releases;
	}
}

sub check_existence
{
	my $reply = shift;
	my $effect = $effect{ $reply->{effect} };

	return 1 if !$reply->{effect} || ($effect && $effect->{key} == $reply->{key});
	violation('a reply names work that is not there', $reply);
	return 0;
}

sub check_reply
{
	my ($life, $last, $reply) = @_;
	my $id = $reply->{effect};

	# An answer within the transaction itself may be undone.
	return if grep { $_->{key} == $reply->{key} } @{ $work{ $reply->{tx} } || [] };
	return unless check_existence($reply);

	# Of the life before, if this one was not known yet.
	my ($told) = grep { $_ && $_->{done} && (!$id || $_->{done}{effect} == $id) }
	  $life, $last && $known_at{ $life->{claim}{tx} } > $reply->{sent} ? $last : undef;

	if (!$told)
	{
		violation('a reply differs from the result', $life && ($life->{claim}, $life->{done}), $reply);
	}
	elsif ($reply->{outcome} eq 'replay' && removal_of($told, $reply))
	{
		violation('a reply tells what was purged or erased', $told->{done}, removal_of($told, $reply), $reply);
	}
	elsif ($reply->{outcome} eq 'erased' &&
		!removal_between($reply->{key}, $told->{claim}{sent}, $reply->{received}, qr/erase/))
	{
		violation('a key was erased that nobody meant', $told->{done}, $reply);
	}
}

sub check_commit
{
	my $claim = shift;

	violation('a claim without a lease was committed before its end', $claim)
	  if $claim->{lease} == 0 && $fate{ $claim->{tx} } eq 'committed' && !$done_by{ $claim->{tx} }{ $claim->{key} };
}

# Not by a transaction that began before there was a trigger.
sub check_triggers
{
	my $write = shift;

	violation("something was written in spite of somebody else's trigger", $write)
	  if grep { $began_at{ $write->{tx} } > $_->{put} && $write->{received} < $_->{ended} } @triggers;
}

my %lives;

for my $key (keys %answers)
{
	my ($life, $last);

	# An error has no turn.
	check_existence($_) for grep { $_->{effect} && !$_->{turn} } @{ $answers{$key} };

	for my $answer (sort { $a->{turn} <=> $b->{turn} || $a->{type} cmp $b->{type} } grep { $_->{turn} > 0 } @{ $answers{$key} })
	{
		my $type = $answer->{type};
		my $outcome = $answer->{outcome} || '';

		if ($type eq 'C' && $answer->{asked} ne 'right')
		{
			violation('another request got an answer', $answer)
			  if $answer->{asked} eq 'wrong' && $outcome =~ /replay|recovered/;
			violation('a request from before the ttl ran', $answer)
			  if $answer->{asked} eq 'late' && $outcome eq 'new' && $answer->{attempt} == 1;
		}
		elsif ($outcome =~ /mismatch|expired/)
		{
			violation('a request was not known again', $answer);
		}

		if ($outcome eq 'erased' || ($outcome eq 'replay' && $answer->{asked} ne 'wrong')) { check_reply($life, $last, $answer); }
		elsif ($outcome eq 'in_progress')
		{
			violation('a key was said to be in progress after its result was known', $life->{done}, $answer)
			  if $life && $life->{done} && $known_at{ $life->{done}{tx} } < snapshot_of($answer) &&
			  $fate{ $life->{done}{tx} } eq 'committed' && !may_have_ended($life, $answer);
		}

		next unless happened($answer);
		check_triggers($answer) if $type ne 'C' || $outcome =~ /^(new|recovered)$/;
		if ($outcome =~ /^(new|recovered)$/)
		{
			my $now = earliest($answer->{sent}, $answer->{received});

			check_commit($answer);
			check_claim($life, $answer) if $life && !may_have_ended($life, $answer);
			$last = $life if $life && $life->{done};
			$life = { claim => $answer, lease => $now + $answer->{lease},
				expires => $now + ($answer->{ttl} > $answer->{lease} ? $answer->{ttl} : $answer->{lease}) };
			push @{ $lives{$key} }, $life;
		}
		elsif ($type ne 'C')
		{
			my $now = earliest($answer->{sent}, $answer->{received});
			my $ended = !$life || may_have_ended($life, $answer);

			violation('something was accepted from an owner who had been superseded', $life->{claim}, $answer)
			  if !$ended && $life->{claim}{attempt} != $answer->{attempt};
			violation('a key was completed twice', $life->{done}, $answer)
			  if !$ended && $life->{done};
			next unless $life;
			if ($type eq 'B')
			{
				$life->{lease} = $now + $answer->{lease};
				$life->{expires} = $life->{lease} if $life->{expires} < $life->{lease};
			}
			else
			{
				my $same = $life->{claim}{tx} == $answer->{tx};
				my $claimed = earliest($life->{claim}{sent}, $life->{claim}{received});

				# An owner that has outlived its key completes, with the same attempt,
				# the claim that came after it; then the ttl of that claim holds.
				my $ttl = $answer->{ttl};
				$ttl = $life->{claim}{ttl}
				  if int($life->{claim}{tx} / 1e7) != int($answer->{tx} / 1e7) && $life->{claim}{ttl} < $ttl;

				$life->{done} = $answer;
				$life->{expires} = ($same && $claimed < $now ? $claimed : $now) + $ttl;
				$count{done}++;
			}
		}
	}
}

# ---- the stored keys ----

my %remembered;
my ($ended) = map { $_->[0] } lines_of('ended');

for my $line (lines_of('keys'))
{
	my ($key, $status, $effect) = @$line;
	my $row = { fields => $line };

	$count{keys}++;
	next unless $status =~ /completed|failed|erased/;
	# A row that has expired may still be there next to the live one.
	$remembered{$key} = $effect
	  if !defined $remembered{$key} || $effect eq '' || $effect > $remembered{$key};
	violation('a key is remembered without its effect', $row)
	  unless $effect eq '' ? $has_effect{$key} : $effect{$effect} && $effect{$effect}{key} == $key;
}

for my $key (keys %lives)
{
	my $life = $lives{$key}[-1];

	next if !$life->{done} || latest($ended) >= $life->{expires};
	next if removal_between($key, $life->{claim}{sent}, $ended, qr/purge/);
	violation('a key was forgotten', $life->{claim}, $life->{done})
	  unless defined $remembered{$key} &&
	  ($remembered{$key} eq '' || $remembered{$key} == $life->{done}{effect});
	$count{kept}++;
}

# ---- copies ----

for my $line (lines_of('restored'))
{
	my ($begun, $ended, $key, $outcome, $effect) = @$line;
	my $lives = $lives{$key} || [];
	my $copy = { fields => $line };

	# The life in which the key certainly was when it was dumped and asked for.
	my ($life) = grep { $_->{done} && $fate{ $_->{done}{tx} } eq 'committed' && $known_at{ $_->{done}{tx} } < $begun } reverse @$lives;
	next if !$life || latest($ended) >= $life->{expires} || removal_between($key, $life->{claim}{sent}, $ended) ||
	  grep { $_ != $life && $_->{claim}{sent} > $life->{claim}{sent} && $_->{claim}{sent} < $ended } @$lives;
	$count{compared}++;
	violation('a copy does not answer with the result', $life->{done}, $copy)
	  unless $outcome eq 'replay' && ($effect eq '' || $effect == $life->{done}{effect});
}

# ---- the servers' logs ----

for my $name (map { s{.*/}{}r } glob("$directory/server.*.log"))
{
	my %no_space;

	for my $line (lines_of($name))
	{
		my $text = $line->[0] // '';

		if ($text =~ /\[(\d+)\] \w+ PANIC: .*No space left on device/) { $no_space{$1} = 1; }
		# A backend that ends during a crash complains of its closed socket as
		# LOG XX000.
		elsif ($text =~ /PANIC: |TRAP: | XX\w{3} (?:ERROR|FATAL): /
			|| ($text =~ /\(PID (\d+)\) was terminated by signal (?!9\b)(\d+)/ && !($2 == 6 && $no_space{$1})))
		{
			violation('a server met with a defect', { fields => [$text] });
		}
	}
}

print join(', ', map { ($count{$_} || 0) . " $_" }
	  qw(transactions done effects new recovered replay erased in_progress mismatch expired takeovers removals refused errors
		keys kept compared)), "\n";
print "$violations violations\n";
exit($violations > 0);
