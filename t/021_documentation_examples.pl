# Every SQL example of the README and of the pages in doc/ runs and prints what
# the page shows.
#
# The blocks of a page run one after another in one session, as a reader would
# paste them, in a database of the page's own.  It has the extension, except for
# the README and the pages of the stacks, which create it.  If a block of text
# directly follows a block of SQL, it is the output; without one, the SQL must
# succeed.  Each page is written to the log directory as it would have to be for
# its test to pass, so that it can be read and copied.

use strict;
use warnings;
use File::Basename qw(basename);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $written = "$PostgreSQL::Test::Utils::log_path/documentation";
mkdir $written;

$ENV{PGTZ} = 'UTC';
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'idempotency'
idempotency.worker = off
max_prepared_transactions = 2
});
$node->start;

# Trailing blanks, which psql writes to align columns, can't be seen on a page.
# The position of an error in a script is left out, too.
sub visible
{
	my ($text) = @_;

	$text =~ s/[ \t]+$//mg;
	$text =~ s/^psql:<stdin>:\d+: //mg;
	$text =~ s/\n+\z/\n/;
	return $text;
}

# What each of the blocks prints, in one session.
sub run_blocks
{
	my ($database, @blocks) = @_;
	my $end = '=== end of a block ===';
	my $sql = join '', map { "$_\n\\echo $end\n" } @blocks;
	my $output = '';

	IPC::Run::run(
		[ 'psql', '-X', '-q', '-d', $node->connstr($database), '-f', '-' ],
		'<', \$sql, '>', \$output, '2>&1');
	my @outputs = split /^\Q$end\E\n/m, $output, -1;
	is(@outputs, @blocks + 1, 'each block came to its end')
	  or diag($output);
	return @outputs;
}

# A page that needs two servers is run by a test of its own.
my @pages = ('README.md', grep { $_ ne 'doc/replicas.md' } sort glob 'doc/*.md doc/stacks/*.md');

my $examples = 0;
foreach my $page (@pages)
{
	my $text = slurp_file($page);
	my $actual = $text;
	my $number = 0;
	my @examples;
	# The programs that a page includes are tested with the examples.
	$text =~ s/^<!-- include .*? -->\n```.*?^```\n//msg;
	while ($text =~ /^```sql\n(.*?)^```\n(?:```text\n(.*?)^```\n)?/msg)
	{
		push @examples, [ $1, $2 ];
	}

	$node->safe_psql('postgres', 'CREATE DATABASE page');
	my $begins = $page =~ m{^README|^doc/stacks/};
	$node->safe_psql('page', 'CREATE EXTENSION idempotency') if !$begins;
	$node->safe_psql('page', 'CREATE ROLE app') if $begins && $text !~ /^CREATE ROLE app\b/m;
	my @outputs = @examples ? run_blocks('page', map { $_->[0] } @examples) : ();
	foreach my $example (@examples)
	{
		my ($sql, $shown) = @$example;
		my ($line) = $sql =~ /^(.*?)$/m;
		my $above = "```sql\n$sql```\n```text\n";
		my $output = visible($outputs[ $number++ ]);

		unlike($sql, qr/\bALTER (SYSTEM|DATABASE)\b|\bpg_reload_conf\b/i,
			"$page, example $number leaves the server's configuration: $line");
		if (defined $shown)
		{
			is($output, visible($shown), "$page, example $number prints what is shown: $line");
			$actual =~ s/^\Q$above\E.*?^```$/$above$output```/ms;
		}
		else
		{
			unlike($output, qr/ERROR|FATAL/, "$page, example $number runs: $line");
		}
	}
	$examples += $number;
	append_to_file("$written/" . basename($page), $actual) if @examples;

	# Each page has a database of its own.
	$node->safe_psql('postgres', "DROP DATABASE $_")
	  foreach split /\n/, $node->safe_psql('postgres',
		q{SELECT quote_ident(datname) FROM pg_database WHERE oid >= 16384});
	my $roles = $node->safe_psql('postgres',
		q{SELECT quote_ident(rolname) FROM pg_roles WHERE oid >= 16384});
	$node->safe_psql('postgres', "DROP ROLE $_") foreach split /\n/, $roles;
}
cmp_ok($examples, '>', 50, 'the documentation has examples');

$node->stop;
done_testing();
