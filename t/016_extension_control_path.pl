# The extension works from a directory outside the server's own, as in an image
# that is mounted next to the server: share/extension and lib, read-only.

use strict;
use warnings;
use File::Copy;
use File::Path qw(make_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
plan skip_all => 'extension_control_path is new in PostgreSQL 18' if $node->pg_version < 18;
$node->init;
$node->start;

# files(SETTING, SYSTEM, NAME): the installed files, in the first directory of the
# path that has any.
sub files
{
	my ($setting, $system, $name) = @_;
	chomp(my $directory = qx($ENV{PG_CONFIG} --$system));
	my @path = split /:/, $node->safe_psql('postgres', "SHOW $setting");
	s/^\$(system|libdir)$/$directory/ foreach @path;
	return (grep { @$_ } map { [ glob "$_/$name" ] } @path)[0]->@*;
}

my $image = PostgreSQL::Test::Utils::tempdir() . '/extensions/idempotency';
make_path("$image/share/extension", "$image/lib");
foreach my $file (files('extension_control_path', 'sharedir', 'extension/idempotency*'))
{
	my $copy = "$image/share/extension/" . ($file =~ s/.*\///r);
	my $text = slurp_file($file);
	# The comment distinguishes this copy from the one installed in the system.
	$text =~ s/^comment = '/comment = 'mounted: /m if $file =~ /control$/;
	append_to_file($copy, $text);
	chmod 0444, $copy;
}
copy($_, "$image/lib") foreach files('dynamic_library_path', 'pkglibdir', 'idempotency.so');
chmod 0555, "$image/lib/idempotency.so", "$image/lib", "$image/share/extension";

$node->append_conf(
	'postgresql.conf', qq{
extension_control_path = '$image/share:\$system'
dynamic_library_path = '$image/lib:\$libdir'
shared_preload_libraries = 'idempotency'
});
$node->restart;

sub loaded_from
{
	my $pid = shift;
	my %file = map { $_ => 1 } slurp_file("/proc/$pid/maps") =~ m{(\S*/idempotency\.so)$}mg;
	return join ' ', keys %file;
}

sub claim
{
	return $node->safe_psql('postgres', q{
		BEGIN;
		SELECT outcome FROM idempotency.claim('k', 'shop', '{"amount": 5}');
		SELECT idempotency.complete('k', 'shop', '{"id": 1}') \g /dev/null
		COMMIT;
		SELECT outcome, response FROM idempotency.claim('k', 'shop', '{"amount": 5}')});
}

like(
	$node->safe_psql('postgres', "SELECT comment FROM pg_available_extensions WHERE name = 'idempotency'"),
	qr/^mounted: /, 'the server finds the mounted extension');
$node->safe_psql('postgres', 'CREATE EXTENSION idempotency');
is(claim(), qq{new\nreplay|{"id": 1}}, 'and the extension works');
my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
is(loaded_from($postmaster), "$image/lib/idempotency.so", 'the server has preloaded the mounted library');
ok( $node->poll_query_until(
		'postgres', q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type LIKE 'idempotency%')}),
	'the worker runs from the mounted library');

$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', undef);
$node->restart;
my $session = $node->background_psql('postgres');
is($session->query(q{SELECT outcome FROM idempotency.claim('k', 'shop', '{"amount": 5}')}),
	'replay', 'a session finds the stored key, without preloading');
is(loaded_from($session->query('SELECT pg_backend_pid()')), "$image/lib/idempotency.so", 'and loads the mounted library');
$session->quit;

done_testing();
