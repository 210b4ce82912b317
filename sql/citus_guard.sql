-- Claims are refused in a Citus cluster of several nodes unless the store is
-- distributed, or the setting selects the local one. Citus is not installed
-- here: the test creates tables like those of Citus.
SELECT current_database() AS tested \gset
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_idempotency_citus_guard;
CREATE DATABASE regress_idempotency_citus_guard;
\c regress_idempotency_citus_guard
SET client_min_messages = warning;
CREATE EXTENSION idempotency;
SELECT outcome FROM idempotency.claim('before', 'citus_guard', lease => '1 minute');

SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_node (groupid integer, isactive boolean, shouldhaveshards boolean, noderole text);
CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod "char", partkey text);
CREATE TABLE pg_catalog.pg_dist_local_group (groupid integer);
CREATE TABLE pg_catalog.pg_dist_placement (shardid bigint, groupid integer);
CREATE FUNCTION pg_catalog.column_to_column_name(regclass, text) RETURNS text LANGUAGE sql AS $$ SELECT $2 $$;
CREATE FUNCTION pg_catalog.get_shard_id_for_distribution_column(regclass, integer) RETURNS bigint LANGUAGE sql AS $$ SELECT 1::bigint $$;
CREATE FUNCTION pg_catalog.lock_shard_metadata(integer, bigint[]) RETURNS void LANGUAGE sql AS $$ $$;
RESET allow_system_table_mods;
GRANT SELECT ON pg_catalog.pg_dist_node, pg_catalog.pg_dist_partition, pg_catalog.pg_dist_local_group, pg_catalog.pg_dist_placement TO PUBLIC;

-- Sessions learn of a change of the nodes by a relcache message of this table.
CREATE FUNCTION announce() RETURNS void LANGUAGE sql SET allow_system_table_mods = on AS $$
	ALTER TABLE pg_catalog.pg_dist_node ALTER groupid SET STATISTICS 10;
$$;

-- The coordinator alone: its secondary and an inactive worker do not count.
INSERT INTO pg_dist_local_group VALUES (0);
INSERT INTO pg_dist_node VALUES (0, true, true, 'primary'), (0, true, true, 'secondary'), (2, false, true, 'primary');
INSERT INTO pg_dist_placement VALUES (1, 0);
SELECT announce();
SELECT outcome FROM idempotency.claim('one', 'citus_guard', '1', lease => '1 minute');
SELECT idempotency.once('done', 'citus_guard');
-- A worker, whose shards are being drained, and one that is disabled and holds a shard.
BEGIN;
INSERT INTO pg_dist_node VALUES (1, true, false, 'primary');
SELECT announce();
SELECT outcome FROM idempotency.claim('two', 'citus_guard');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
SELECT outcome FROM idempotency.claim('back', 'citus_guard', lease => '1 minute');
INSERT INTO pg_dist_placement VALUES (2, 2);
SELECT announce();
SELECT outcome FROM idempotency.claim('two', 'citus_guard');
SELECT idempotency.once('done', 'citus_guard');
SELECT outcome FROM idempotency.claim_many('{two}', 'citus_guard');
SELECT outcome FROM idempotency.execute('two', 'citus_guard', 'to_jsonb');
SELECT idempotency.issue('citus_guard', 'cart');
-- Stored keys can be read, ended and removed.
SELECT status FROM idempotency.lookup('one', 'citus_guard');
SELECT idempotency.complete('one', 'citus_guard', attempt => 1);
SELECT idempotency.erase('one', 'citus_guard'), idempotency.erase_scope('citus_guard');
SELECT idempotency.forget('one', 'citus_guard'), idempotency.purge('citus_guard');
SELECT rows_deleted FROM idempotency.sweep();
SET idempotency.store = 'local';
SELECT outcome FROM idempotency.claim('two', 'citus_guard', lease => '1 minute');
DELETE FROM idempotency.keys WHERE scope = 'citus_guard';
RESET idempotency.store;

-- Tables with which keys can't be colocated.
CREATE TABLE undistributed (id integer);
CREATE TABLE referenced (id integer);
CREATE TABLE by_date (id integer, day date);
CREATE TABLE by_id (id integer);
INSERT INTO pg_dist_partition VALUES ('referenced', 'n', NULL), ('by_date', 'h', 'day'), ('by_id', 'h', 'id');
SELECT idempotency.distribute('undistributed');
SELECT idempotency.distribute('undistributed', tenant_from => 'none');
SELECT idempotency.distribute('referenced');
SELECT idempotency.distribute('by_date');
SELECT idempotency.distribute('by_id', tenant_from => 'none');
-- A table with which they can: tenants have the type of its column.  The trigger
-- that Citus creates on a distributed table does not prevent claims.
SET allow_system_table_mods = on;
CREATE FUNCTION pg_catalog.citus_truncate_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE FUNCTION pg_catalog.create_distributed_table(table_name regclass, distribution_column text, colocate_with text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	RAISE WARNING 'distribute % by % with %', table_name, distribution_column, colocate_with;
	EXECUTE format('CREATE TRIGGER truncate_trigger AFTER TRUNCATE ON %s EXECUTE FUNCTION pg_catalog.citus_truncate_trigger()', table_name);
END $$;
CREATE FUNCTION pg_catalog.run_command_on_workers(command text, OUT nodename text, OUT nodeport integer, OUT success boolean, OUT result text) RETURNS SETOF record
LANGUAGE sql AS $$ SELECT 'worker', 5432, true, '0' $$;
CREATE FUNCTION pg_catalog.truncate_local_data_after_distributing_table(regclass) RETURNS void LANGUAGE sql AS $$ $$;
SELECT idempotency.distribute('by_id');
INSERT INTO pg_dist_partition VALUES ('idempotency.distributed_keys', 'h', 'tenant');
ALTER TABLE idempotency.distributed_keys ALTER scope SET STATISTICS 10;
SELECT outcome FROM idempotency.claim('triggered', 'citus_guard/1');
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
SELECT 4711, 'citus', 10, 'pg_catalog'::regnamespace, false, '13';
INSERT INTO pg_depend (classid, objid, objsubid, refclassid, refobjid, refobjsubid, deptype)
SELECT 'pg_proc'::regclass, 'pg_catalog.citus_truncate_trigger'::regproc, 0, 'pg_extension'::regclass, 4711, 0, 'e';
ALTER TABLE idempotency.distributed_keys ALTER scope SET STATISTICS 10;
SELECT outcome FROM idempotency.claim('triggered', 'citus_guard/1', lease => '1 minute');
-- Policies are now a function, which Citus creates on all nodes: it includes the
-- changes by set_policy() and drop_policy(), also in a transaction that can't see
-- those of others, and only its owner may call it.
SELECT idempotency.set_policy('citus_guard', ttl => '30 days -02:00', lease => '1 hour', cache_errors => '{23}');
SELECT idempotency.set_policy('a quote '' and a backslash \', require_request => true);
SELECT * FROM idempotency.distributed_policy(NULL);
-- (19 has no other strings.)
DO $$ BEGIN
	PERFORM set_config('standard_conforming_strings', 'off', false);
EXCEPTION WHEN OTHERS THEN
END $$;
SET IntervalStyle = sql_standard;
SELECT outcome FROM idempotency.claim('policy', 'citus_guard/1');
SELECT lease_until - claimed_at < '1 hour 1 minute' AS leased, expires_at - claimed_at - '29 days 22:00' < '1 minute' AS remembered
FROM idempotency.lookup('policy', 'citus_guard/1');
RESET standard_conforming_strings;
RESET IntervalStyle;
BEGIN;
ALTER SCHEMA idempotency RENAME TO renamed;
ALTER TABLE renamed.distributed_keys ALTER scope SET STATISTICS 10;
SELECT outcome FROM renamed.claim('renamed', 'citus_guard/1');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM idempotency.policy;
\! psql -XqAtc "SELECT idempotency.set_policy('other', wait => '0')" regress_idempotency_citus_guard
SELECT idempotency.drop_policy('citus_guard');
COMMIT;
SELECT * FROM idempotency.distributed_policy(NULL);
SELECT outcome FROM idempotency.claim('no policy', 'citus_guard/1');
\echo :LAST_ERROR_SQLSTATE
SELECT idempotency.drop_policy('a quote '' and a backslash \');
SELECT idempotency.drop_policy('other');
SELECT count(*) FROM idempotency.distributed_policy(NULL);
CREATE ROLE regress_citus_guard_app;
SELECT idempotency.grant_usage('regress_citus_guard_app');
SET ROLE regress_citus_guard_app;
SELECT idempotency.distributed_policy(NULL);
SELECT outcome FROM idempotency.claim('app', 'citus_guard/1', lease => '1 minute');
RESET ROLE;
-- A function of another owner does not count.
ALTER FUNCTION idempotency.distributed_policy OWNER TO regress_citus_guard_app;
SELECT idempotency.set_policy('citus_guard', lease => '1 hour');
SELECT count(*) FROM idempotency.distributed_policy(NULL);
SELECT idempotency.drop_policy('citus_guard');
ALTER FUNCTION idempotency.distributed_policy OWNER TO CURRENT_USER;
DELETE FROM idempotency.distributed_keys WHERE key <> 'triggered';
-- A table that was restored from a dump, or made an ordinary table again.
DELETE FROM pg_dist_partition WHERE logicalrelid = 'idempotency.distributed_keys'::regclass;
ALTER TABLE idempotency.distributed_keys ALTER scope SET STATISTICS 10;
SELECT outcome FROM idempotency.claim('restored', 'citus_guard/1');
SET idempotency.store = 'distributed';
SELECT outcome FROM idempotency.claim('restored', 'citus_guard/1');
SELECT key FROM idempotency.lookup('triggered', 'citus_guard/1');
SELECT idempotency.forget('triggered', 'citus_guard/1'), idempotency.purge('citus_guard/1');
RESET idempotency.store;
DELETE FROM idempotency.distributed_keys;
DELETE FROM pg_extension WHERE oid = 4711;
DELETE FROM pg_depend WHERE refobjid = 4711 AND refclassid = 'pg_extension'::regclass;
DROP TRIGGER truncate_trigger ON idempotency.distributed_keys;
RESET allow_system_table_mods;
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = 'idempotency.distributed_keys'::regclass AND attname = 'tenant';

-- The coordinator sweeps, and no other node.
INSERT INTO idempotency.distributed_keys (tenant, scope, key, status, attempt, expires_at, hash, row_version)
VALUES (42, 'payments/42', 'old', 'completed', 1, '-infinity', idempotency.key_hash('old', 'payments/42'), gen_random_uuid());
UPDATE pg_dist_local_group SET groupid = 3;
SELECT rows_deleted FROM idempotency.sweep();
UPDATE pg_dist_local_group SET groupid = 0;
SET citus.propagate_set_commands = 'none';
SELECT rows_deleted FROM idempotency.sweep();

\c :tested
SET client_min_messages = warning;
DROP DATABASE regress_idempotency_citus_guard WITH (FORCE);
DROP ROLE regress_citus_guard_app;
