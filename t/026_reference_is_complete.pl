# doc/reference.md documents every function, column, setting and SQLSTATE
# correctly, and no others, and has an example of each.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $reference = slurp_file('doc/reference.md');
my @examples = $reference =~ /^```sql\n(.*?)^```$/msg;
my @outputs = $reference =~ /^```text\n(.*?)^```$/msg;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION idempotency');

sub rows { return sort split /\n/, $node->safe_psql('postgres', $_[0]) }

# As the reference writes types and defaults.
sub plain
{
	my ($text) = @_;

	$text =~ s/timestamp with time zone/timestamptz/g;
	$text =~ s/::[a-z]+(\[\])?//g;
	$text =~ s/idempotency\.//g;
	$text =~ s/\s+/ /g;
	$text =~ s/^ | $//g;
	return $text;
}

sub section
{
	my ($level, $name) = @_;

	return $reference =~ /^#{$level} \Q$name\E\n(.*?)(?=^#{1,$level} |\z)/ms ? $1 : '';
}

my $members = q{SELECT objid FROM pg_depend
	WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = 'idempotency') AND deptype = 'e'};

# Functions: the signature under a heading is an indented block; an internal
# function has a row of a table.
my @functions = rows(
	qq{SELECT proname || '(' || pg_get_function_arguments(oid) || ') → ' || pg_get_function_result(oid)
	   FROM pg_proc WHERE oid IN ($members)});
my $text = section(2, 'Functions');
my @signatures = $text =~ /^### \w+\n\n((?: {4}.*\n)+)/mg;
push @signatures, section(3, 'Functions behind these') =~ /^\| `(.*?)` \|/mg;
is_deeply([ sort map { plain($_) } @signatures ],
	[ sort map { plain($_) } @functions ],
	'the functions, with their arguments and results');

foreach my $function ($text =~ /^### (\w+)$/mg)
{
	like(section(3, $function), qr/^\s+\Q$function\E\(/m, "$function stands under its heading");
	like(join('', section(3, $function) =~ /^```sql\n(.*?)^```$/msg),
		qr/idempotency\.(\Q$function\E|complete_many)\b/, "$function has an example");
}
foreach my $function (section(3, 'Functions behind these') =~ /^\| `(\w+)/mg)
{
	ok(scalar(grep { /idempotency\.$function\b/ } @examples), "$function has an example");
}

# Tables, views and the composite type.  The leaves of keys are like keys.
my @columns = rows(
	qq{SELECT relname || ' ' || attname || ' ' || format_type(atttypid, atttypmod)
	   FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
	   WHERE (pg_class.oid IN ($members) OR reltype IN ($members))
		AND attnum > 0 AND NOT attisdropped AND NOT relispartition});
my @shown;
foreach my $relation (section(2, 'Types, tables and views') =~ /^### (\w+)$/mg)
{
	my ($table) = section(3, $relation) =~ /^\| column \| type \| \|\n(.*?)^$/ms;

	push @shown, map { "$relation $_" } $table =~ /^\| `(\w+` \| [a-z\[\]]+) \|/mg;
	like(section(3, $relation), qr/^```sql\n/m, "$relation has an example");
}
s/`? \| | /\t/g foreach @shown;
is_deeply([ sort @shown ],
	[ sort map { join "\t", split / /, plain($_), 3 } @columns ],
	'the columns of tables and views, with their types');

# Settings: name, default and context.
$text = section(2, 'Settings');
is_deeply([ sort $text =~ /^(\| `idempotency\.\w+` \| (?:`.*?` )?\| \w+) \|/mg ],
	[ rows(
		q{LOAD 'idempotency';
		  SELECT '| `' || name || '` |' || coalesce(' `' || nullif(
			CASE unit WHEN 'kB' THEN (boot_val::integer / 1024) || 'MB' ELSE boot_val END, '') || '`', '')
			|| ' | ' || context
		  FROM pg_settings WHERE name LIKE 'idempotency.%'}) ],
	'the settings, with their defaults and contexts');
foreach my $setting ($text =~ /^\| `(idempotency\.\w+)`/mg)
{
	like($reference, qr/^(?:ALTER SYSTEM )?SET \Q$setting\E = /m, "$setting has an example");
}

# SQLSTATEs: those that the source raises.  The constants of error.h that
# nothing raises are statuses of outcomes.
my %status = slurp_file('src/error.h') =~ /^#define (HTTP_\w+)\s+(\d+)/mg;
my %raised;
foreach my $file (glob 'src/*.c src/*/*.c src/*/*/*.c')
{
	$raised{"IK$status{$_}"} = 1 foreach slurp_file($file) =~ /idempotency_sqlstate\((HTTP_\w+)\)/g;
}
my @listed = section(2, 'SQLSTATEs') =~ /^\| `(IK\d{3})`/mg;
is_deeply([@listed], [ sort keys %raised ], 'the SQLSTATEs');
foreach my $sqlstate (@listed)
{
	ok(scalar(grep { /^$sqlstate$/m } @outputs), "$sqlstate has an example");
}

$node->stop;
done_testing();
