#!/bin/bash
#
# rpm.sh: build the RPM packages, and check that they install, work and leave
# nothing behind.
#
# In a chroot of the Debian suite that has PostgreSQL 18, with Debian's rpmbuild;
# see chroot.sh.  From the tarball of "make dist".  The packages of
# yum.postgresql.org can't be installed there: a pg_config that returns their
# directories replaces postgresql18-devel, Debian's server replaces
# postgresql18-server, and rpm runs with --nodeps, as it would find neither.
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
	root=$chroots/rpm-18
	lock_chroots
	if [ ! -d "$root" ]; then
		echo "Making a chroot for it, $root"
		make_chroot "$root" 18 postgresql-18 postgresql-server-dev-all gcc make elfutils file rpm debugedit rpmlint ||
			{ check "$reason" false; say_count; exit 1; }
	fi
	make -s dist
	rm -rf "$root/build" "$root/usr/pgsql-18"
	mkdir "$root/build"
	mkdir "$root/build/test"
	cp .build/idempotency-*.tar.gz doc/packages/idempotency.spec "$root/build/"
	cp test/rpm.sh test/check.sh test/smoke.sql "$root/build/test/"
	status=0
	in_chroot "$root" bash /build/test/rpm.sh --inside || status=$?
	rm -rf "$root/build" "$root/usr/pgsql-18"
	exit "$status"
fi

mkdir -p /usr/pgsql-18/bin
cat >/usr/pgsql-18/bin/pg_config <<'END'
#!/bin/sh
/usr/lib/postgresql/18/bin/pg_config "$@" | sed -E 's,^/usr/lib/postgresql/18/lib$,/usr/pgsql-18/lib,; s,^/usr/share/postgresql/18$,/usr/pgsql-18/share,'
END
chmod +x /usr/pgsql-18/bin/pg_config
build=(rpmbuild -ba --nodeps --define 'pgmajorversion 18' --define 'pginstdir /usr/pgsql-18' --define '_sourcedir /build')

check 'the packages build' "${build[@]}" --define '_topdir /build/rpm' idempotency.spec
[ "$failed" = 0 ] || { say_count; exit 1; }
check 'without bitcode, too' "${build[@]}" --define 'llvm 0' --define '_topdir /build/rpm-without-llvm' idempotency.spec
check 'and then there is one package' test "$(find rpm-without-llvm/RPMS -name '*.rpm' ! -name '*debug*' | wc -l)" = 1

package=$(echo rpm/RPMS/*/idempotency_18-1*.rpm)
bitcode=$(echo rpm/RPMS/*/idempotency_18-llvmjit-1*.rpm)
check 'the package holds the extension' diff <(rpm -qpl "$package" | grep '^/usr/pgsql') <(
	echo /usr/pgsql-18/lib/idempotency.so
	tar -tzf idempotency-*.tar.gz | sed -nE 's,^[^/]*/(src/)?(idempotency[^/]*\.(control|sql))$,/usr/pgsql-18/share/extension/\2,p' | sort
)
check 'the package has the license and the pages' test "$(rpm -qpl "$package" | grep -cE '/(LICENSE|doc/reference\.md)$')" = 2
check 'the package depends on the server' test "$(rpm -qpR "$package" | grep '^postgresql')" = postgresql18-server
check 'the bitcode is in a package of its own' test "$(rpm -qpl "$bitcode" | grep -vc '^/usr/pgsql-18/lib/bitcode/idempotency')" = 0
# These are added when packages are signed and published, follow the names of
# yum.postgresql.org's packages, or come from Debian's compiler.
cat >rpmlint.toml <<'END'
Filters = ["no-signature", "no-packager-tag", "no-group-tag", "no-url-tag", "no-%check-section",
  "invalid-license PostgreSQL", "invalid-spec-name", "llvmjit.* no-binary", "/usr/lib/.build-id", "missing-hash-section"]
END
check 'rpmlint finds no error' rpmlint -c rpmlint.toml rpm/SRPMS "$package" "$bitcode"

files_of_ours() { find / -xdev \( -path /proc -o -path /build -o -path /usr/lib/sysimage -o -path /var/lib/rpm \) -prune -o -name '*idempotency*' -print | sort; }
files_of_ours >before
check 'the packages install' rpm -i --nodeps "$package" "$bitcode"
# works LINE...: a new server, with these lines in its configuration.
works() {
	# shellcheck disable=SC2016 # for the shell that runs as postgres
	setpriv --reuid=postgres --regid=postgres --clear-groups env HOME=/tmp PATH="/usr/lib/postgresql/18/bin:$PATH" sh -euc '
		initdb -D /tmp/data -A trust -N >/dev/null
		printf "%s\n" "$@" >>/tmp/data/postgresql.conf
		pg_ctl -D /tmp/data -o "-k /tmp -h \"\"" -l /tmp/log -w start >/dev/null || { cat /tmp/log; exit 1; }
		psql -h /tmp -XAtq -d postgres -f test/smoke.sql
		pg_ctl -D /tmp/data -w stop >/dev/null' sh "$@"
}
check 'the extension works' works "shared_preload_libraries = 'idempotency'" \
	"extension_control_path = '/usr/pgsql-18/share:\$system'" "dynamic_library_path = '/usr/pgsql-18/lib:\$libdir'"
rm -rf /tmp/data /tmp/log
check 'the packages are removed' rpm -e idempotency_18 idempotency_18-llvmjit
check 'and leave nothing behind' diff before <(files_of_ours)

say_count
