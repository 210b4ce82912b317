#!/bin/bash
#
# run.sh [STACK]...: run the examples, and say which keep their promises.
#
# A STACK is a directory with a program "run"; "make clients" names those of
# ../clients.
#
# All use one throwaway server, with PgBouncer in transaction mode in front of it.
# Each example runs twice, directly and through PgBouncer, each time with a new
# database.  The output of each is kept in .build/examples.  Debian's packages
# that the chosen examples and PgBouncer need are installed; everything else an
# example installs into its own .build.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source-path=SCRIPTDIR source=../test/packages.sh
. ../test/packages.sh

longest_run=600

stacks=("$@")
if [ $# = 0 ]; then
	stacks=(*/run)
	stacks=("${stacks[@]%/run}")
fi
for stack in "${stacks[@]}"; do
	[ -x "$stack/run" ] || { echo "There is no example \"$stack\"." >&2; exit 2; }
done

# missing_of LINE: the package that the line names, if it is not installed; see
# README.md for the form of a line.
missing_of() {
	local package=${1%%:*} test=${1#*:}
	[ "$test" != "$1" ] || test="dpkg-query -W -f '\${Status}' $package | grep -q ' installed\$'"
	bash -c "$test" >/dev/null 2>&1 </dev/null || echo "$package"
}

PATH=$PATH:/usr/sbin
ensure_packages
wanted=("pgbouncer: pgbouncer --version" "curl: curl --version")
for stack in "${stacks[@]}"; do
	[ ! -e "$stack/packages" ] || mapfile -t -O "${#wanted[@]}" wanted <"$stack/packages"
done
packages=()
for line in "${wanted[@]}"; do
	mapfile -t -O "${#packages[@]}" packages < <(missing_of "$line")
done
if [ "${#packages[@]}" -gt 0 ]; then
	apt_update
	# One that can't be installed must not keep the others from being installed.
	install_packages "${packages[@]}" ||
		for package in "${packages[@]}"; do
			install_packages "$package" || true
		done
fi

results=$(realpath ..)/.build/examples
rm -rf "$results"
mkdir -p "$results"

coproc SERVER { exec ../test/throwaway-server.sh examples/server.sh; }
server=$SERVER_PID
exec {from_server}<&"${SERVER[0]}" {to_server}>&"${SERVER[1]}"
exec {SERVER[0]}<&- {SERVER[1]}>&-
trap 'exec {to_server}>&-; wait "$server" || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
until [[ ${line:-} == ready\ * ]]; do
	IFS= read -r line <&"$from_server" || { echo "The server did not start." >&2; exit 1; }
	[[ $line == ready\ * ]] || echo "$line"
done
read -r _ host port pooled_port <<<"$line"
[ "$pooled_port" = - ] || pgbouncer --version | head -n 1

passed=0
failed=0
skipped=0
failures=()

# try STACK PATH PORT: run it, and set $cell, $reason and $version.
try() {
	local stack=$1 path=$2 database=${1##*/}_$2 log=$results/${1##*/}.$2.log status=0
	reason=
	if [ "$3" = - ]; then
		cell=skipped
		reason="PgBouncer is not installed"
		skipped=$((skipped + 1))
		return
	fi
	psql -X -q -h "$host" -p "$port" -U postgres -d postgres \
		-c "CREATE DATABASE \"$database\" TEMPLATE example"
	PGHOST=127.0.0.1 PGPORT=$3 PGUSER=app PGDATABASE=$database \
		DATABASE_URL=postgresql://app@127.0.0.1:$3/$database \
		timeout -k 10 "$longest_run" "$stack/run" >"$log" 2>&1 </dev/null {from_server}<&- {to_server}>&- ||
		status=$?
	version=$(sed -nE 's/^version: //p' "$log" | head -n 1)
	case $status in
		0)
			cell=passed
			passed=$((passed + 1))
			;;
		77)
			cell=skipped
			reason=$(tail -n 1 "$log")
			skipped=$((skipped + 1))
			;;
		*)
			cell=FAILED
			failed=$((failed + 1))
			failures+=("$log")
			reason=$(grep . "$log" | tail -n 1)
			;;
	esac
}

form='%-20s | %-34s | %-7s | %-17s | %s\n'
echo
# shellcheck disable=SC2059
printf "$form" stack version direct "through PgBouncer" reason
for stack in "${stacks[@]}"; do
	version=
	try "$stack" direct "$port"
	direct=$cell reasons=$reason
	try "$stack" pooled "$pooled_port"
	[ "$reason" = "$reasons" ] || reasons+=${reasons:+; }$reason
	# shellcheck disable=SC2059
	printf "$form" "${stack##*/}" "$version" "$direct" "$cell" "$reasons"
done

for log in "${failures[@]}"; do
	printf '\n== the end of %s\n' ".build/examples/$(basename "$log")"
	tail -n 40 "$log"
done

echo
echo "$passed passed, $failed failed$([ "$skipped" = 0 ] || echo ", $skipped skipped")"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
