# ALTER EXTENSION .. UPDATE leads to the same objects as CREATE EXTENSION, and
# keeps the stored keys; a library serves versions before its own, and refuses
# later ones with a clear error.
#
# Every script src/idempotency--A--B.sql is run from a fresh A and compared
# with a fresh B. The test makes a next version itself.

use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(basename);
use File::Copy qw(copy);
use File::Path qw(make_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($current) = slurp_file('idempotency.control') =~ /^default_version = '(.*)'$/m;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

# The server must find this test's scripts in place of the installed ones.
my $major = int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);
my $setting = $major >= 18 ? 'extension_control_path' : 'extension_destdir';
if ($node->safe_psql('postgres', "SELECT count(*) FROM pg_settings WHERE name = '$setting'") eq '0')
{
	$node->stop;
	plan skip_all => "this server can't be given extensions of another directory";
}
my $root = abs_path(PostgreSQL::Test::Utils::tempdir);
my ($libdir, $share, $library_path) = split /\n/,
  $node->safe_psql('postgres', q{
	SELECT setting FROM pg_config WHERE name IN ('PKGLIBDIR', 'SHAREDIR') ORDER BY name;
	SHOW dynamic_library_path});
my ($library) = grep { -e } map { "$_/idempotency.so" } split /:/, $library_path =~ s/\$libdir/$libdir/r;
my $scripts = "$root$share/extension";
make_path($scripts, "$root$libdir");
copy($library, "$root$libdir/idempotency.so") or die "$library: $!";
copy($_, $scripts) or die "$_: $!" foreach 'idempotency.control', glob 'src/idempotency--*.sql';
$node->append_conf('postgresql.conf', $major >= 18
	? "extension_control_path = '$root$share:\$system'"
	: "extension_destdir = '$root'");
$node->append_conf('postgresql.conf', "dynamic_library_path = '$root$libdir:\$libdir'");
$node->restart;

sub write_script
{
	my ($name, $text) = @_;

	unlink "$scripts/$name";
	append_to_file("$scripts/$name", $text);
}

# The extension's members, each with its entries in the catalogs.
my $describe = q{
WITH member AS (
	SELECT classid, objid
	FROM pg_depend
	WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
		AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'idempotency')
), object AS (
	SELECT classid, objid FROM member
	UNION
	SELECT d.classid, d.objid FROM pg_depend AS d
	JOIN member ON d.refclassid = member.classid AND d.refobjid = member.objid
	WHERE d.deptype IN ('a', 'i') AND d.objid >= 16384
)
SELECT kind || ' ' || name || ': ' || what
FROM object, LATERAL pg_identify_object(classid, objid, 0) AS i (kind, schema, short_name, name),
LATERAL (
	SELECT 'exists' AS what
	UNION ALL
	SELECT coalesce(obj_description(objid, classid::regclass::name), 'no comment')
	UNION ALL
	SELECT pg_get_functiondef(objid) FROM pg_proc WHERE classid = 'pg_proc'::regclass AND oid = objid
	UNION ALL
	SELECT coalesce(proacl::text, 'default privileges') FROM pg_proc WHERE classid = 'pg_proc'::regclass AND oid = objid
	UNION ALL
	SELECT concat_ws(', ', relkind, relpersistence, reloptions, relacl, relreplident, pg_get_expr(relpartbound, oid),
		CASE relkind WHEN 'v' THEN pg_get_viewdef(oid) END, CASE WHEN relkind IN ('i', 'I') THEN pg_get_indexdef(oid) END)
	FROM pg_class WHERE classid = 'pg_class'::regclass AND oid = objid
	UNION ALL
	SELECT concat_ws(', ', 'column', attnum, attname, format_type(atttypid, atttypmod), attnotnull, attstorage, attacl,
		coalesce(col_description(attrelid, attnum), 'no comment'))
	FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
	WHERE (classid = 'pg_class'::regclass AND attrelid = objid OR classid = 'pg_type'::regclass AND reltype = objid)
		AND attnum > 0 AND NOT attisdropped
	UNION ALL
	SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE classid = 'pg_constraint'::regclass AND oid = objid
	UNION ALL
	SELECT pg_get_triggerdef(oid) || ' ' || tgenabled::text FROM pg_trigger WHERE classid = 'pg_trigger'::regclass AND oid = objid
	UNION ALL
	SELECT 'dumped where ' || quote_literal(condition)
	FROM pg_extension, unnest(extconfig, extcondition) AS dumped (relation, condition)
	WHERE extname = 'idempotency' AND classid = 'pg_class'::regclass AND relation = objid
) AS description
WHERE schema IS DISTINCT FROM 'pg_toast'
ORDER BY 1
};

# The stored rows, which must be the same afterwards.
my $store = q{
	SELECT outcome FROM idempotency.claim('done', 'upgrade', '{"amount": 5}', lease => '1 minute');
	SELECT idempotency.complete('done', 'upgrade', '{"id": 17}', '17', 201, 1);
	SELECT outcome FROM idempotency.claim('long', 'upgrade', ttl => '1 year', lease => '1 minute');
	SELECT idempotency.checkpoint('long', 'upgrade', 'charged', '{"charge": 1}', 1, lease => '1 hour');
	SELECT idempotency.set_policy('upgrade', ttl => '2 days');
};
my $stored = q{
	SELECT format('SELECT %s FROM %s ORDER BY 1, 2', string_agg(quote_ident(attname), ', ' ORDER BY attnum), attrelid::regclass)
	FROM pg_attribute
	WHERE attrelid IN ('idempotency.keys'::regclass, 'idempotency.policy'::regclass, 'idempotency.wheel'::regclass)
		AND attnum > 0 AND NOT attisdropped
	GROUP BY attrelid
};

# Check the update from one version to another.  Returns the differences from a
# fresh installation.
sub update
{
	my ($from, $to) = @_;
	my ($columns, $before, @made);

	$node->safe_psql('postgres', 'CREATE DATABASE updated');
	$node->safe_psql('postgres', 'CREATE DATABASE fresh');
	$node->safe_psql('updated', "CREATE EXTENSION idempotency VERSION '$from'");
	$node->safe_psql('updated', $store);
	$columns = join ';', split /\n/, $node->safe_psql('updated', $stored);
	$before = $node->safe_psql('updated', $columns);
	$node->safe_psql('updated', "ALTER EXTENSION idempotency UPDATE TO '$to'");
	is($node->safe_psql('updated', $columns), $before, "$from to $to keeps keys, policies and the wheel");
	is($node->safe_psql('updated',
			q{SELECT outcome, status_code, resource_id, response FROM idempotency.claim('done', 'upgrade', '{"amount": 5.0}', lease => '1 minute')}),
		'replay|201|17|{"id": 17}', "after $from to $to a retry replays the stored result");
	$node->safe_psql('updated', q{SELECT idempotency.complete('long', 'upgrade', attempt => 1)});

	$node->safe_psql('fresh', "CREATE EXTENSION idempotency VERSION '$to'");
	@made = map { $node->safe_psql($_, $describe) } 'updated', 'fresh';
	$node->safe_psql('postgres', "DROP DATABASE $_") foreach 'updated', 'fresh';

	my %fresh = map { $_ => 1 } split /\n/, $made[1];
	my %updated = map { $_ => 1 } split /\n/, $made[0];
	return join "\n", (map { "lacks $_" } grep { !$updated{$_} } sort keys %fresh),
	  (map { "has $_" } grep { !$fresh{$_} } sort keys %updated);
}

# The real scripts.
foreach my $script (sort map { basename($_) } glob 'src/idempotency--*--*.sql')
{
	my ($from, $to) = $script =~ /^idempotency--(.+)--(.+)\.sql$/;

	ok(-e "src/idempotency--$from.sql" && -e "src/idempotency--$to.sql", "$from and $to can be installed");
	is(update($from, $to), '', "$from updated to $to is as a fresh $to");
}

# A script that changes something of each kind.
my $changes = q{
ALTER TABLE idempotency.policy ALTER COLUMN cache_errors SET STORAGE EXTERNAL;
COMMENT ON COLUMN idempotency.policy.cache_errors IS 'SQLSTATEs that are results';
CREATE FUNCTION idempotency.count_policies() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM idempotency.policy';
COMMENT ON FUNCTION idempotency.count_policies() IS 'number of policies';
REVOKE ALL ON FUNCTION idempotency.count_policies() FROM PUBLIC;
CREATE TABLE idempotency.event (id integer PRIMARY KEY);
COMMENT ON TABLE idempotency.event IS 'what has happened';
SELECT pg_catalog.pg_extension_config_dump('idempotency.event', '');
};
my $announce = q{
DELETE FROM idempotency.policy WHERE false;
SELECT FROM idempotency.lookup('any key');
};
my $next = "$current.1-test";
my $install = slurp_file("src/idempotency--$current.sql");
write_script("idempotency--$next.sql", $install . $changes);
write_script("idempotency--$current--$next.sql", $changes . $announce);
is(update($current, $next), '', "$current updated to the next version is as a fresh one");

# The comparison sees what an upgrade script forgets.
foreach my $forgotten (grep { /\S/ } split /;\n/, $changes)
{
	# The comment on an object can't be there without the object.
	next if $forgotten =~ /^\s*(CREATE|ALTER)/;
	my $short = $changes =~ s/\Q$forgotten;\E\n//r;

	write_script("idempotency--$current--$next.sql", $short . $announce);
	isnt(update($current, $next), '', "noticed where it is missing:" . $forgotten =~ s/\s+/ /gr);
}

# A later library serves earlier versions.
write_script('idempotency--0.9.sql', $install);
$node->safe_psql('postgres', 'CREATE DATABASE earlier');
$node->safe_psql('earlier', q{CREATE EXTENSION idempotency VERSION '0.9'});
is($node->safe_psql('earlier', q{SELECT outcome FROM idempotency.claim('k', lease => '1 minute')}),
	'new', 'a library later than the extension works');

# An earlier library says so, and the update that needs a later library fails.
my ($major_number, $minor_number) = split /\./, $current;
my $later = "$major_number." . ($minor_number + 1);
# (A library of its version would lay the wheel.)
write_script("idempotency--$later.sql", $install =~ s/^DO .*idempotency\.sweep\(0\).*$//mr);
write_script("idempotency--$current--$later.sql", $announce);
$node->safe_psql('postgres', 'CREATE DATABASE later');
$node->safe_psql('later', "CREATE EXTENSION idempotency VERSION '$later'");
my ($status, $out, $err) = $node->psql('later', q{SELECT outcome FROM idempotency.claim('k', lease => '1 minute')});
like($err, qr/library of extension "idempotency" is older than the extension/, 'a library earlier than the extension refuses to work');
like($err, qr/The library has version \Q$current\E, and the extension in this database has version \Q$later\E\./, 'and says which versions these are');
my ($versions) = slurp_file('doc/runbook.md') =~ /^(SELECT extversion AS extension, .*)$/m;
is($node->safe_psql('later', $versions), "$later|$current", 'the runbook shows both in such a database');
$node->safe_psql('postgres', 'CREATE DATABASE updated');
$node->safe_psql('updated', 'CREATE EXTENSION idempotency');
$node->safe_psql('updated', $store);
($status, $out, $err) = $node->psql('updated',
	"SELECT outcome FROM idempotency.claim('k', lease => '1 minute'); ALTER EXTENSION idempotency UPDATE TO '$later'");
like($err, qr/older than the extension/, 'an update that the library is too old for fails');
is($node->safe_psql('updated',
		q{SELECT extversion, (SELECT outcome FROM idempotency.claim('done', 'upgrade', '{"amount": 5}', lease => '1 minute')) FROM pg_extension WHERE extname = 'idempotency'}),
	"$current|replay", 'and changes nothing');

# A session that has used the tables notices it, too.
write_script("idempotency--$current--$later.sql", 'DELETE FROM idempotency.policy WHERE false;');
my $connstr = $node->connstr('updated');
($status, $out, $err) = $node->psql('updated', qq{
	SELECT outcome FROM idempotency.claim('mine', wait => '0', lease => '1 minute');
	\\! psql -X -q -d "$connstr" -c "ALTER EXTENSION idempotency UPDATE TO '$later'"
	SELECT outcome FROM idempotency.claim('yours', lease => '1 minute')});
is($out, 'new', 'before an update a session works');
like($err, qr/older than the extension/, 'and is refused after it');

$node->stop;
done_testing();
