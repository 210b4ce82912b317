#!/bin/bash
#
# pg_tle.sh: print the SQL that registers idempotency.sql with pg_tle, as an
# extension whose tables pg_dump carries.
#
#	portable/pg_tle.sh | psql -1 -v ON_ERROR_STOP=1

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

version=$(sed -nE "s/^default_version = '(.*)'/\1/p" ../idempotency.control)
printf "SELECT pgtle.install_extension('idempotency', '%s', 'run each request once, replay its result to every retry', \$pg_tle\$\n" "$version"
cat idempotency.sql
cat <<'END'
SELECT pg_catalog.pg_extension_config_dump('idempotency.keys', '');
SELECT pg_catalog.pg_extension_config_dump('idempotency.policy', '');
$pg_tle$);
END
