# Every SQL example of the README runs, one after another in one database, and
# prints what the README shows.  A block of SQL that is followed by a block of
# text has that text as its output; one that isn't succeeds.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $readme = slurp_file('README.md');
my @blocks = $readme =~ /^```sql\n(.*?)^```\n(?:```text\n(.*?)^```\n)?/msg;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE readme');

# Trailing blanks can't be seen in the README; psql writes them to align.
# Command tags and what psql says of a script's line are left out of it.
sub visible
{
	my ($text) = @_;

	$text =~ s/[ \t]+$//mg;
	$text =~ s/^psql:<stdin>:\d+: //mg;
	$text =~ s/\s+\z/\n/;
	return $text;
}

my $number = 0;
while (my ($sql, $shown) = splice(@blocks, 0, 2))
{
	my ($heading) = $sql =~ /^(.*?)$/m;
	my $output = '';

	$number++;
	IPC::Run::run(
		[ 'psql', '-X', '-q', '-d', $node->connstr('readme'), '-f', '-' ],
		'<', \$sql, '>', \$output, '2>&1');
	if (defined $shown)
	{
		is(visible($output), visible($shown), "example $number prints what is shown: $heading");
	}
	else
	{
		unlike($output, qr/ERROR|FATAL/, "example $number runs: $heading");
	}
}
cmp_ok($number, '>', 5, 'the README has examples');

$node->stop;
done_testing();
