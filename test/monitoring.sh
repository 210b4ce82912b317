#!/bin/bash
#
# monitoring.sh: scrape a server with the configuration of doc/monitoring.
#
# Runs Debian's postgres_exporter and Prometheus against a server of its own with
# some traffic, and checks that
#
#	- the exporter, connected as the role of doc/monitoring.md, exports the
#	  counters of the server;
#	- every expression of the dashboard and of the alerting rules finds its
#	  metrics, and a rule fires only for its reason;
#	- each rule fires when alerts.yaml says so, and not before;
#	- the dashboard conforms to Grafana's schema (dashboard/).
#
# The programs of Prometheus are taken from PATH, or from their packages, which
# are downloaded and unpacked below the scratch directory: no service is started.
# The last line is the count of checks.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# First, outside the server: the programs.
if [ "${1:-}" != inside ]; then
	# shellcheck source-path=SCRIPTDIR source=packages.sh
	. "$here/packages.sh"
	ensure_packages curl=curl node=nodejs npm=npm
	programs=$(mktemp -d)
	trap 'rm -rf "$programs"' EXIT
	for wanted in prometheus-postgres-exporter prometheus; do
		if ! command -v "$wanted" >/dev/null; then
			echo "$wanted is missing; unpacking its package for this test"
			apt_update
			(cd "$programs" && apt-get download -qq "$wanted" 2>/dev/null && dpkg -x "$wanted"_*.deb . && rm "$wanted"_*.deb)
		fi
	done
	cp -R "$here/dashboard" "$programs/"
	{
		echo "import type { CheckedDashboard } from './types.js';"
		echo 'export const dashboard: CheckedDashboard ='
		cat "$here/../doc/monitoring/grafana-dashboard.json"
	} >"$programs/dashboard/dashboard.ts"
	(cd "$programs/dashboard" && npm ci --silent --ignore-scripts --no-audit --no-fund --no-update-notifier)
	chmod -R a+rX "$programs"
	PATH=$PATH:$programs/usr/bin DASHBOARD=$programs/dashboard "$here/throwaway-server.sh" -c "shared_preload_libraries = 'idempotency'" \
		-c "idempotency.worker = off" test/monitoring.sh inside
	exit
fi

# shellcheck source-path=SCRIPTDIR source=check.sh
. "$here/check.sh"

sql() { psql -XAtq -v ON_ERROR_STOP=1 "$@"; }

sql -c 'CREATE EXTENSION idempotency'
# The role of the page.
awk '/^```sql$/ { sql = 1; next } /^```$/ { sql = 0 } sql && /^(CREATE ROLE|GRANT) /' "$here/../doc/monitoring.md" >grants.sql
sql -f grants.sql
sql <<'SQL'
SELECT idempotency.set_policy('payments');
SELECT idempotency.claim('k' || n, 'payments/42', '1', lease => '1 minute') FROM generate_series(1, 7) AS n \g /dev/null
SELECT idempotency.claim('k1', 'payments/42', '2') \g /dev/null
SELECT idempotency.complete('k' || n, 'payments/42', attempt => 1) FROM generate_series(1, 3) AS n \g /dev/null
SELECT idempotency.claim('k' || n, 'payments/42', '1') FROM generate_series(1, 3) AS n \g /dev/null
SELECT idempotency.claim('o' || n, 'orders', lease => '1 ms') FROM generate_series(1, 9) AS n \g /dev/null
SELECT pg_sleep(0.01) \g /dev/null
SELECT idempotency.fail('o1', 'orders', attempt => 1) \g /dev/null
SELECT idempotency.sweep() \g /dev/null
SQL

# A port that is free now.
free_port() {
	perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport'
}
# wait_for SECONDS COMMAND...
wait_for() {
	local tenths=$(($1 * 10))
	shift
	until "$@" >/dev/null 2>&1; do
		tenths=$((tenths - 1))
		[ "$tenths" -gt 0 ] || return 1
		sleep 0.1
	done
}

exporter_port=$(free_port)
prometheus_port=$(free_port)
started=()
trap 'kill "${started[@]}" 2>/dev/null || true; wait' EXIT

DATA_SOURCE_NAME="host=$PGHOST port=$PGPORT user=monitoring dbname=$PGDATABASE sslmode=disable" \
	prometheus-postgres-exporter --web.listen-address="127.0.0.1:$exporter_port" \
	--extend.query-path=doc/monitoring/postgres_exporter.yaml >exporter.log 2>&1 &
started+=($!)
scrape() { curl -sSf "http://127.0.0.1:$exporter_port/metrics" | grep '^idempotency' >metrics; }
if ! wait_for 30 scrape; then
	cat exporter.log
	exit 1
fi

# has METRIC LABELS VALUE: labels in the order of their names.
has() {
	awk -v metric="$1" -v labels="$2" -v value="$3" '
		index($0, metric "{") == 1 && index($0, labels) { found = $NF == value } END { exit !found }' metrics
}
check 'claims are counted by scope and outcome: new' has idempotency_claims_total 'outcome="new",scope="payments"' 7
check 'mismatch' has idempotency_claims_total 'outcome="mismatch",scope="payments"' 1
check 'replay' has idempotency_claims_total 'outcome="replay",scope="payments"' 3
check 'scopes without a policy count for the empty one' has idempotency_claims_total 'outcome="new",scope=""' 9
check 'completions are counted' has idempotency_completions_total 'scope="payments"' 3
check 'failures are counted' has idempotency_failures_total 'scope=""' 1
check 'sweeps are counted' has idempotency_sweep_rounds_total '' 2
check 'the wheel reaches no further than it should' awk '/^idempotency_wheel_reach_ticks/ { ok = $NF <= 8 && $NF > 6 } END { exit !ok }' metrics
check 'the sweep succeeded' has idempotency_sweep_failing '' 0
check 'nine tables hold keys' test "$(grep -c '^idempotency_storage_bytes' metrics)" = 9
check 'no query failed' test -z "$(grep -E 'level=error|Error running query' exporter.log)"

check "the dashboard is what Grafana's schema says" "$DASHBOARD/node_modules/.bin/tsc" -p "$DASHBOARD"

# Prometheus, with the rules.
cp doc/monitoring/alerts.yaml rules.yaml
sed -E '/^ +(annotations|summary|description):/d' rules.yaml >bare_rules.yaml
cp test/alerts.yaml .
check 'the rules are well-formed' promtool check rules rules.yaml
check 'the rules fire when they should' promtool test rules alerts.yaml
cat >prometheus.yaml <<END
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [ rules.yaml ]
scrape_configs:
  - job_name: idempotency
    static_configs: [ { targets: [ "127.0.0.1:$exporter_port" ] } ]
END
prometheus --config.file=prometheus.yaml --storage.tsdb.path=tsdb \
	--web.listen-address="127.0.0.1:$prometheus_port" >prometheus.log 2>&1 &
started+=($!)
# query EXPRESSION: the number of series that it gives
query() {
	curl -sSf "http://127.0.0.1:$prometheus_port/api/v1/query" --data-urlencode "query=$1" |
		perl -MJSON::PP -0ne 'print scalar @{decode_json($_)->{data}{result}}'
}
two_scrapes() { [ "$(query 'count_over_time(idempotency_sweep_failing[1m]) > 1')" = 1 ]; }
if ! wait_for 60 two_scrapes; then
	tail -n 30 prometheus.log
	exit 1
fi

finds() { [ "$(query "$1")" -gt 0 ]; }
while IFS= read -r expression; do
	check "dashboard: $expression" finds "$expression"
done < <(perl -MJSON::PP -0ne 'print map { s/\$database/.*/gr . "\n" } map { $_->{expr} } map { @{$_->{targets}} } @{decode_json($_)->{panels}}' \
	doc/monitoring/grafana-dashboard.json)

# A rule is normally empty; the metric that it compares must exist.
while IFS= read -r expression; do
	compared=$(sed -E 's/ (>|==) .*//' <<<"$expression")
	check "rule: $compared" finds "$compared"
done < <(sed -nE 's/^ +expr: //p' rules.yaml)
rules_evaluate() {
	curl -sSf "http://127.0.0.1:$prometheus_port/api/v1/rules" |
		perl -MJSON::PP -0ne 'exit grep { $_->{health} ne "ok" } map { @{$_->{rules}} } @{decode_json($_)->{data}{groups}}'
}
check 'the rules can be evaluated' wait_for 30 rules_evaluate
nothing_fires() { [ "$(query 'ALERTS{alertstate="firing"}')" = 0 ]; }
check 'nothing fires' nothing_fires
sql -c "SELECT idempotency.claim('o' || n, 'orders', lease => '1 minute') FROM generate_series(2, 9) AS n" >/dev/null
takeover_fires() { [ "$(query 'ALERTS{alertname="IdempotencyTakeovers", alertstate="firing"}')" = 1 ]; }
check 'leases that are taken over raise an alert' wait_for 30 takeover_fires
sql -c "SELECT idempotency.claim('u', 'orders')" >/dev/null 2>&1 || true
refusal_fires() { [ "$(query 'ALERTS{alertname="IdempotencyUnfinishedCommits", alertstate="firing"}')" = 1 ]; }
check 'so does a refused commit' wait_for 30 refusal_fires

# Nothing sweeps, and nothing is counted.
pg_ctl -D "$SERVER_DATA" -l "$SERVER_LOG" -o '-c shared_preload_libraries=' -w -s restart </dev/null
sql -c "UPDATE idempotency.wheel SET until = until - interval '10 days'"
past() { scrape && awk '/^idempotency_wheel_past_seconds/ { past = $NF > 7200 } END { exit !past }' metrics; }
check 'without the library preloaded, the wheel tells that nothing sweeps' wait_for 30 past

say_count
