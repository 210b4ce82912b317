# shellcheck shell=bash
#
# packages.sh: find or install a PostgreSQL to build and test against.
#
# To be sourced by a bash script, which then calls
#
#	ensure_packages [COMMAND=PACKAGE]...
#
# which exports PG_CONFIG, the pg_config of the chosen server, and puts that
# server's programs in front of PATH.  Each COMMAND=PACKAGE asks for one more
# command and names the package that has it (psql, make, prove and a compiler are
# always ensured).
#
# Which server:
#
#	- the one that PG_CONFIG names, if it is set;
#	- else the newest installed major that is complete;
#	- else the distribution's own, which its package "postgresql" depends on.
#
# The script looks for files, not for packages: a server built from source is as
# good as a packaged one.  If nothing is missing, apt is not called.  If something
# is, the script says what, asks, and installs it as root or through sudo; with CI
# or ASSUME_YES set it does not ask, and without a terminal it fails.  Only packages
# are left behind: Debian's server package creates and starts a cluster when it is
# first installed, which is disabled here, and no package starts a service (but a
# service that is enabled starts at the next boot).
# Packages that are installed already are left as they are, unless a new one
# depends on a later version.
#
#	want_extensions [EXTENSION=SUFFIX]...
#
# adds other extensions to the server, if they are available.

OLDEST_MAJOR=15

# packages_say SENTENCE...
packages_say() { printf '%s\n' "$*" >&2; }

# missing_server_packages PG_CONFIG: name the packages that a server lacks.
missing_server_packages() {
	local pg_config=$1 major bin pgxs perl=
	major=$(major_of "$pg_config")
	bin=$("$pg_config" --bindir)
	pgxs=$(dirname "$("$pg_config" --pgxs)")/..
	# A server built without --enable-tap-tests has no Perl modules.
	if grep -qE '^enable_tap_tests[[:space:]]*= *no' "$pgxs/Makefile.global" 2>/dev/null; then
		perl=absent
	fi
	if [ ! -x "$bin/postgres" ] || [ ! -x "$bin/initdb" ]; then
		echo "postgresql-$major"
	fi
	if [ ! -e "$("$pg_config" --includedir-server)/postgres.h" ] ||
		[ ! -e "$("$pg_config" --pgxs)" ] ||
		[ ! -x "$pgxs/test/isolation/pg_isolation_regress" ] ||
		{ [ -z "$perl" ] && [ ! -e "$pgxs/test/perl/PostgreSQL/Test/Cluster.pm" ]; }; then
		echo "postgresql-server-dev-$major"
	fi
}

# major_of PG_CONFIG: 15, 16, ...
major_of() { "$1" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/'; }

# missing_packages [COMMAND=PACKAGE]...: what is needed in addition to the
# server.
missing_packages() {
	local wanted
	for wanted in gcc=gcc make=make prove=perl "$@"; do
		command -v "${wanted%%=*}" >/dev/null || echo "${wanted#*=}"
	done
	[ -e /usr/include/stdio.h ] || echo libc6-dev
	perl -MIPC::Run -MTest::More -e 1 2>/dev/null || echo libipc-run-perl
}

# newest_complete_server: the pg_config of the newest major that is complete.
newest_complete_server() {
	local pg_config major newest=0 found=
	for pg_config in /usr/lib/postgresql/*/bin/pg_config; do
		[ -x "$pg_config" ] || continue
		major=$(major_of "$pg_config")
		if [ "$major" -ge "$OLDEST_MAJOR" ] && [ "$major" -gt "$newest" ] &&
			[ -z "$(missing_server_packages "$pg_config")" ]; then
			newest=$major
			found=$pg_config
		fi
	done
	echo "$found"
}

# distribution_major: the major that the package "postgresql" installs.
distribution_major() {
	apt-cache show --no-all-versions postgresql 2>/dev/null |
		sed -nE 's/^Depends:.*\bpostgresql-([0-9]+)\b.*/\1/p' | head -n 1
}

# as_root COMMAND...
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		packages_say "This needs root, and there is no sudo. As root: $*"
		return 1
	fi
}

# apt_get ARGUMENT...: waits for another apt to end, asks nothing.
apt_get() {
	as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
		apt-get -o DPkg::Lock::Timeout=600 "$@"
}

# somebody_agrees QUESTION: a terminal is asked even if input and output lead
# elsewhere.
somebody_agrees() {
	local answer terminal
	[ -z "${CI:-}${ASSUME_YES:-}" ] || return 0
	if ! { exec {terminal}<>/dev/tty; } 2>/dev/null; then
		packages_say "There is no terminal to ask on. ASSUME_YES=1 stands for the answer yes."
		return 1
	fi
	printf '%s [y/N] ' "$1" >&"$terminal"
	read -r answer <&"$terminal" || answer=
	exec {terminal}>&-
	[[ $answer == [yY] || $answer == [yY][eE][sS] ]]
}

apt_update() {
	[ -z "${apt_updated:-}" ] || return 0
	apt_updated=yes
	packages_say "Something is missing here; reading apt's package lists first."
	apt_get update -qq || packages_say "apt-get update failed; going on with the lists that are there."
}

# install_packages PACKAGE...: in a subshell, because of its trap.
install_packages() (
	local no_cluster directory existed policy own_policy simulated log
	no_cluster=/etc/postgresql-common/createcluster.d/no-main-cluster-for-tests.conf
	directory=$(dirname "$no_cluster")
	existed=$([ ! -d "$directory" ] || echo yes)
	policy=/usr/sbin/policy-rc.d
	own_policy=$([ -e "$policy" ] || echo yes)

	simulated=$(apt-get install -s -qq --no-install-recommends "$@") ||
		{ packages_say "apt cannot install: $*"; exit 1; }
	packages_say "Missing here: $*"
	packages_say "apt is going to install:" \
		"$(sed -nE 's/^Inst ([^ ]+).*/\1/p' <<<"$simulated" | sort | tr '\n' ' ')"
	somebody_agrees "Install them?" || exit 1
	log=$(mktemp)

	clean_up() {
		rm -f "$log"
		as_root rm -f "$no_cluster"
		[ -n "$existed" ] || as_root rmdir --ignore-fail-on-non-empty "$directory"
		[ -z "$own_policy" ] || as_root rm -f "$policy"
	}
	trap clean_up EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	as_root mkdir -p "$directory" || exit
	as_root tee "$no_cluster" <<<"create_main_cluster = false" >/dev/null || exit
	if [ -n "$own_policy" ]; then
		# Debian asks this before it starts a service; 101 forbids it.
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null || exit
		as_root chmod 755 "$policy" || exit
	fi
	if ! apt_get install -y -qq --no-install-recommends "$@" >"$log" 2>&1 </dev/null; then
		cat "$log" >&2
		exit 1
	fi
)

ensure_packages() {
	local pg_config=${PG_CONFIG:-} major packages
	if [ -n "$pg_config" ]; then
		pg_config=$(command -v "$pg_config") ||
			{ packages_say "PG_CONFIG=$PG_CONFIG: there is no such program."; return 1; }
		major=$(major_of "$pg_config")
	else
		pg_config=$(newest_complete_server)
		if [ -z "$pg_config" ]; then
			apt_update || return
			major=$(distribution_major)
			[ -n "$major" ] ||
				{ packages_say "apt knows no package postgresql. Set PG_CONFIG to an installed server's pg_config."; return 1; }
			pg_config=/usr/lib/postgresql/$major/bin/pg_config
		else
			major=$(major_of "$pg_config")
		fi
	fi
	if [ "$major" -lt "$OLDEST_MAJOR" ]; then
		packages_say "PostgreSQL $major is too old: $OLDEST_MAJOR or later is needed."
		return 1
	fi

	if [ -x "$pg_config" ]; then
		packages=$(missing_server_packages "$pg_config")
	else
		packages="postgresql-$major postgresql-server-dev-$major"
	fi
	packages="$packages $(missing_packages "$@")"
	if [ -n "${packages//[[:space:]]/}" ]; then
		apt_update || return
		# shellcheck disable=SC2086 # one word a package
		install_packages $packages || return
		hash -r
	fi

	PG_CONFIG=$(realpath "$pg_config")
	PATH=$("$PG_CONFIG" --bindir):$PATH
	export PG_CONFIG PATH
}

# want_extensions EXTENSION=SUFFIX...: install extensions for the chosen server that
# some tests use, each from Debian's package postgresql-MAJOR-SUFFIX.  To be called
# after ensure_packages.  If one can't be installed, this says so and succeeds: the
# tests that use it skip themselves.
want_extensions() {
	local major wanted
	major=$(major_of "$PG_CONFIG")
	for wanted in "$@"; do
		[ ! -e "$("$PG_CONFIG" --sharedir)/extension/${wanted%%=*}.control" ] || continue
		if [ "$PG_CONFIG" != "/usr/lib/postgresql/$major/bin/pg_config" ]; then
			packages_say "Going on without ${wanted%%=*}: $PG_CONFIG is not of a Debian package."
		elif ! { apt_update && install_packages "postgresql-$major-${wanted#*=}"; }; then
			packages_say "Going on without ${wanted%%=*}."
		fi
	done
}
