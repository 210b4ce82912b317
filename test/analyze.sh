#!/bin/bash
#
# analyze.sh: static analysis of the C files, by clang and by cppcheck.
#
# Prints findings only.  A finding fails the run, unless test/cppcheck.accepted
# has it, with the reason.  cppcheck reads the output of the preprocessor: it
# can't read the server's headers with all their variants, and without them it
# skips half of the code.
#
# Needs clang and cppcheck, and installs them if they are missing.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source-path=SCRIPTDIR source=packages.sh
. test/packages.sh

# Debian's clang may be installed under the name of its version alone.
clang=$(compgen -c clang | grep -xE 'clang(-[0-9]+)?' | sort -V | head -n 1 || true)
ensure_packages "${clang:-clang}=clang" cppcheck=cppcheck
clang=${clang:-clang}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
flags=(-D_GNU_SOURCE -Isrc "-I$("$PG_CONFIG" --includedir-server)")
findings=0

# found TOOL FILE FINDINGS
found() {
	[ -z "$3" ] && return
	printf '%s\n' "$3"
	findings=$((findings + 1))
}

mapfile -t files < <(find src -name '*.c' | sort)
for file in "${files[@]}"; do
	found clang "$file" "$("$clang" --analyze --analyzer-output text -o /dev/null "${flags[@]}" "$file" 2>&1 || true)"
	gcc -E "${flags[@]}" "$file" -o "$scratch/$(basename "$file")"
	found cppcheck "$file" "$(cppcheck --quiet --std=c11 --enable=warning,performance,portability \
		--suppress='*:/usr/*' --suppressions-list=<(sed '/^#/d; /^$/d' test/cppcheck.accepted) \
		--template='{file}:{line}: {severity}: {message} [{id}]' "$scratch/$(basename "$file")" 2>&1)"
done

echo "${#files[@]} files analyzed by $("$clang" --version | head -n 1) and $(cppcheck --version): $findings with findings"
[ "$findings" = 0 ]
