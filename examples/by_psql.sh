#!/bin/bash
#
# by_psql.sh SCRIPT: answer the requests of promises.pl with a psql script.
#
# Runs SCRIPT for each request, with the variables key, customer and amount.  It
# writes a status and a body.  The status of an extension's error is the end of
# its SQLSTATE.

set -euo pipefail

while read -r key customer amount; do
	if ! answer=$(psql -XAtq -F ' ' -v ON_ERROR_STOP=1 -v VERBOSITY=sqlstate \
		-v key="$key" -v customer="$customer" -v amount="$amount" -f "$1" 2>&1); then
		[[ $answer =~ ERROR:\ +(IK|PT)([0-9]{3}) ]] && status=${BASH_REMATCH[2]} || status=500
		answer="$status {\"title\": \"${answer##*: }\"}"
	fi
	echo "$answer"
done
