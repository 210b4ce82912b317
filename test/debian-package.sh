#!/bin/bash
#
# debian-package.sh: build the Debian packages, and check that they install, work
# and leave nothing behind.
#
#	test/debian-package.sh [MAJOR]
#
# in a chroot of the Debian suite that has this major, or 15, with the tools to
# build a package, about 1.5 gigabytes; see chroot.sh.  From the committed tree:
# builds the source package of "make dist" and a binary package for the suite's
# PostgreSQL, runs lintian, installs the package, runs debian/tests, as
# autopkgtest does, and purges the package.
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
	major=${1:-15}
	root=$chroots/debian-$major
	lock_chroots
	if [ ! -d "$root" ]; then
		echo "Making a chroot for it, $root"
		make_chroot "$root" "$major" "postgresql-$major" postgresql-server-dev-all build-essential debhelper lintian ||
			{ check "$reason" false; say_count; exit 1; }
	fi
	make -s dist
	version=$(sed -nE '1s/.*\((.*)-[^-]*\).*/\1/p' debian/changelog)
	rm -rf "$root/build"
	mkdir "$root/build"
	cp ".build/idempotency-$version.tar.gz" "$root/build/postgresql-idempotency_$version.orig.tar.gz"
	tar -C "$root/build" -xzf ".build/idempotency-$version.tar.gz"
	status=0
	in_chroot "$root" bash "/build/idempotency-$version/test/debian-package.sh" --inside "$major" || status=$?
	rm -rf "$root/build"
	exit "$status"
fi

major=$2
package=postgresql-$major-idempotency

# apt.postgresql.org has all majors at once, a distribution has one.
majors=(15 16 17 18 19)
check 'there is a package for each major that is supported' diff <(
	PG_SUPPORTED_VERSIONS=${majors[*]} pg_buildext updatecontrol
	sed -n 's/^Package: //p' debian/control
) <(printf 'postgresql-%s-idempotency\n' "${majors[@]}")
pg_buildext updatecontrol

check 'the package builds' dpkg-buildpackage -us -uc
[ "$failed" = 0 ] || { say_count; exit 1; }
file=$(echo ../"${package}"_*.deb)
contents=$(dpkg-deb -c "$file")
for wanted in "lib/postgresql/$major/lib/idempotency.so" "share/postgresql/$major/extension/idempotency.control" \
	"share/doc/$package/copyright" "share/doc/$package/doc/reference.md"; do
	check "the package has $wanted" grep -q " ./usr/$wanted" <<<"$contents"
done
check 'the package has all scripts' diff <(grep -o 'idempotency--.*\.sql$' <<<"$contents" | sort) <(cd src && ls idempotency--*.sql)
# There is no mail address of the maintainers yet, the suite may be older than the
# policy that the package obeys, and the tarball has debian/ too.
check 'lintian finds nothing else' lintian --fail-on error,warning --allow-root \
	--suppress-tags bogus-mail-host,initial-upload-closes-no-bugs,newer-standards-version,no-debian-changes ../*.changes

files_of_ours() { find / -xdev \( -path /proc -o -path /build -o -path /var/lib/dpkg \) -prune -o -name '*idempotency*' -print | sort; }
files_of_ours >../before
check 'the package installs' dpkg -i "$file"
while read -r test; do
	check "autopkgtest: $test" "debian/tests/$test"
done < <(sed -n 's/^Tests: //p' debian/tests/control)
check 'the package is purged' dpkg --purge "$package"
check 'and leaves nothing behind' diff ../before <(files_of_ours)

say_count
