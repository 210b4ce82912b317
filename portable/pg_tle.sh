#!/bin/bash
#
# pg_tle.sh: print the SQL that registers idempotency.sql with pg_tle, as an
# extension whose tables pg_dump carries. Its settings are those of CREATE EXTENSION
# alone, and not of the session.
#
#	portable/pg_tle.sh | psql -1 -v ON_ERROR_STOP=1

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

version=$(sed -nE "s/^default_version = '(.*)'/\1/p" ../idempotency.control)
printf "SELECT pgtle.install_extension('idempotency', '%s', 'run each request once, replay its result to every retry', \$pg_tle\$\n" "$version"
sed -E "/set_config\('search_path'/s/, false\)/, true)/" idempotency.sql
cat <<'END'
SELECT pg_catalog.pg_extension_config_dump('idempotency.keys', '');
SELECT pg_catalog.pg_extension_config_dump('idempotency.policy', '');
$pg_tle$);
END
