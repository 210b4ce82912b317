#!/bin/bash
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here"
gcc -std=gnu11 -O2 -Wall -Wextra -Werror -I"$("$PG_CONFIG" --includedir)" clients.c -o clients \
	-L"$("$PG_CONFIG" --libdir)" -Wl,-rpath,"$("$PG_CONFIG" --libdir)" -lpq
gcc -std=gnu11 -O2 -Wall -Wextra -Werror -shared -fPIC weather.c -o weather.so
dir=$(dirname "$PGHOST")/$(basename "$PGHOST")/storm
mkdir "$dir"
perl storm.pl "$@" "$dir" || status=$?
perl check.pl "$dir" || status=$?
cp -r "$dir" "$RESULTS"/ || true
exit ${status:-0}
