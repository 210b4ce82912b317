# shellcheck shell=bash
#
# check.sh: run checks, and count them.
#
# To be sourced by a bash script, which then calls "check NAME COMMAND..." for
# each check, and finally "say_count", whose status is the script's.

passed=0
failed=0

# check NAME COMMAND...: the output of the command is shown if it fails.
check() {
	local name=$1 said
	shift
	if said=$("$@" 2>&1); then
		passed=$((passed + 1))
		echo "ok: $name"
	else
		failed=$((failed + 1))
		printf 'FAILED: %s\n%s\n' "$name" "$(tail -n 60 <<<"$said")"
	fi
}

say_count() {
	echo "$passed passed, $failed failed"
	[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}
