# check.pl: judge what the clients of a storm were told, and what is there.
#
#	check.pl DIRECTORY
#
# Reads history.* (clients.c says what the lines are), clock (the steps of the
# servers' clock), effects and keys (the tables in the end) and server.*.log,
# and knows nothing of the extension but its contract.  What has to hold:
#
#	effects	An effect is there if and only if its transaction committed.
#	keys	A key that is remembered has its effect, and an effect its key.
#	lives	A key's work is done once in a life.  A life ends no earlier than
#			its ttl after it began.
#	owners	An unfinished claim is taken over only when its lease is past, with
#			a higher attempt; or claimed again when it was released, likewise.
#	fences	Nothing is accepted from an owner who has been superseded.
#	replies	Every reply is the result of the present life, and is there.  Once a
#			result is known, nobody is told "in progress".
#	requests	Another request never gets an answer; one first sent before the
#			ttl is never run.
#	errors	No client met an error, and no server wrote one, that faults and
#			contract don't explain.
#
# The answers for a key are gone through in the order in which the server gave
# them.  Times are bounds: what the server's clock said at the earliest when it
# judged a request, and at the latest, between sending and receiving.
# Whatever may have been right is taken to be right.

use strict;
use warnings;

my $directory = shift or die "usage: check.pl DIRECTORY\n";
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

# What the server's clock said at the earliest in a time that may be open.
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

# The latest that it had said by then.  What has expired once may be gone, even
# if the clock was set back since.
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

my (%fate, %known_at, %answers, %work, %released, %lost);

my %fields = (
	C => [qw(tx key turn sent received style outcome attempt effect ttl lease asked)],
	D => [qw(tx key turn sent received attempt effect ttl)],
	B => [qw(tx key turn sent received attempt lease)],
	R => [qw(tx key sent attempt)],
	L => [qw(tx key sent ttl lease)],
	W => [qw(tx key effect)]);

# What a client may be told, beside the contract's own codes: the connection or
# the server is going or gone, the disk is full, or a prepared transaction was
# ended by somebody else.  Not a deadlock: a client that has a key waits for
# another one only within a batch.
my $explained = qr/^(57P0[123]|08...|53[13]00|42704|55000)$/;
my %contract = (
	lease => qr/^IK4(04|23)$/,
	batch => qr/^IK4(04|23)$/,
	once => qr/^IK409$/);

for my $name (map { s{.*/}{}r } glob("$directory/history.*"))
{
	for my $line (lines_of($name))
	{
		my ($type, @values) = @$line;

		if ($type eq 'T')
		{
			$fate{ $values[0] } = $values[1];
			$known_at{ $values[0] } = $values[2];
			$count{transactions}++;
		}
		elsif ($type eq 'E')
		{
			my ($tx, $sqlstate, $style, $message) = @values;
			my $contract = $contract{$style};

			$count{errors}++;
			violation("unexpected error", { fields => $line })
			  unless $sqlstate =~ $explained || ($contract && $sqlstate =~ $contract);
		}
		else
		{
			my %answer = (type => $type, fields => $line);

			@answer{ @{ $fields{$type} } } = @values;
			$answer{$_} and $answer{$_} *= 1000 for qw(ttl lease);
			if ($type eq 'W') { push @{ $work{ $answer{tx} } }, \%answer; }
			elsif ($type eq 'R') { push @{ $released{ $answer{key} }{ $answer{attempt} } }, \%answer; }
			elsif ($type eq 'L') { push @{ $lost{ $answer{key} } }, \%answer; }
			else { push @{ $answers{ $answer{key} } }, \%answer; }
			$count{ $answer{outcome} }++ if $type eq 'C';
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

# ---- the lives of a key ----

# A life: {claim, lease, expires, done}, all times the earliest possible.  It has
# also ended if somebody who never heard of it has taken it over, for a time that
# has ended.
sub may_have_ended
{
	my ($life, $answer) = @_;
	my $now = latest($answer->{received});

	return 1 if $now >= $life->{expires};
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

		violation('a claim in progress was made anew', $owner, $claim) unless @releases;
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

	# What a transaction tells itself may be undone.
	return if grep { $_->{key} == $reply->{key} } @{ $work{ $reply->{tx} } || [] };
	return unless check_existence($reply);

	return if $life && $life->{done} && (!$id || $life->{done}{effect} == $id);

	# Or of the life before: this one was not known yet.
	return if $last && (!$id || $last->{done}{effect} == $id) &&
	  $known_at{ $life->{claim}{tx} } > $reply->{sent};
	violation('a reply differs from the result', $life && ($life->{claim}, $life->{done}), $reply);
}

my %last_life;

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

		if ($outcome eq 'replay' && $answer->{asked} ne 'wrong') { check_reply($life, $last, $answer); }
		elsif ($outcome eq 'in_progress')
		{
			violation('a key was said to be in progress after its result was known', $life->{done}, $answer)
			  if $life && $life->{done} && $known_at{ $life->{done}{tx} } < $answer->{sent} &&
			  $fate{ $life->{done}{tx} } eq 'committed' && !may_have_ended($life, $answer);
		}

		next unless happened($answer);
		if ($outcome =~ /^(new|recovered)$/)
		{
			my $now = earliest($answer->{sent}, $answer->{received});

			check_claim($life, $answer) if $life && !may_have_ended($life, $answer);
			$last = $life if $life && $life->{done};
			$life = { claim => $answer, lease => $now + $answer->{lease},
				expires => $now + ($answer->{ttl} > $answer->{lease} ? $answer->{ttl} : $answer->{lease}) };
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

				$life->{done} = $answer;
				$life->{expires} = ($same && $claimed < $now ? $claimed : $now) + $answer->{ttl};
				$count{done}++;
			}
		}
	}
	$last_life{$key} = $life if $life;
}

# ---- what is remembered ----

my %remembered;
my ($ended) = map { $_->[0] } lines_of('ended');

for my $line (lines_of('keys'))
{
	my ($key, $status, $effect) = @$line;
	my $row = { fields => $line };

	$count{keys}++;
	next unless $status =~ /completed|failed/;
	# A row that has expired may still be there beside the live one.
	$remembered{$key} = $effect
	  if !defined $remembered{$key} || $effect eq '' || $effect > $remembered{$key};
	violation('a key is remembered without its effect', $row)
	  unless $effect eq '' ? $has_effect{$key} : $effect{$effect} && $effect{$effect}{key} == $key;
}

for my $key (keys %last_life)
{
	my $life = $last_life{$key};

	next if !$life->{done} || latest($ended) >= $life->{expires};
	violation('a key was forgotten', $life->{claim}, $life->{done})
	  unless defined $remembered{$key} &&
	  ($remembered{$key} eq '' || $remembered{$key} == $life->{done}{effect});
	$count{kept}++;
}

# ---- the servers' own words ----

for my $name (map { s{.*/}{}r } glob("$directory/server.*.log"))
{
	my %no_space;

	for my $line (lines_of($name))
	{
		my $text = $line->[0] // '';

		if ($text =~ /\[(\d+)\] \w+ PANIC: .*No space left on device/) { $no_space{$1} = 1; }
		# A backend that a crash meets on its way out complains of its closed
		# socket as LOG XX000.
		elsif ($text =~ /PANIC: |TRAP: | XX\w{3} (?:ERROR|FATAL): /
			|| ($text =~ /\(PID (\d+)\) was terminated by signal (?!9\b)(\d+)/ && !($2 == 6 && $no_space{$1})))
		{
			violation('a server met with a defect', { fields => [$text] });
		}
	}
}

print join(', ', map { ($count{$_} || 0) . " $_" }
	  qw(transactions done effects new recovered replay in_progress mismatch expired takeovers errors keys kept)), "\n";
print "$violations violations\n";
exit($violations > 0);
