# shellcheck shell=bash
#
# python.sh: what the run scripts of Python examples have in common.
#
# To be sourced in the example's directory.

export PYTHONDONTWRITEBYTECODE=1

# have_python_packages: create a virtual environment, its python in $python, with
# exactly the packages that requirements.txt locks.  (The packages locked for 3.11
# also work with later versions.)
have_python_packages() {
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
		{ echo "there is no Python 3.11 or later"; exit 77; }
	python3 -c 'import venv, ensurepip' 2>/dev/null ||
		{ echo "this Python can't create virtual environments"; exit 77; }
	python=.build/bin/python
	cmp -s requirements.txt .build/installed && return
	rm -rf .build
	python3 -m venv .build
	"$python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	cp requirements.txt .build/installed
}

# have_pg_idempotency: install those, and clients/python from its wheel, which
# stays in the checkout's .build/clients.
have_pg_idempotency() {
	local wheels=../../.build/clients
	have_python_packages
	rm -f "$wheels"/pg_idempotency-*.whl
	"$python" -m pip wheel -q --disable-pip-version-check --no-deps -w "$wheels" ../../clients/python
	"$python" -m pip install -q --disable-pip-version-check --no-deps --force-reinstall "$wheels"/pg_idempotency-*.whl
}

# say_version PACKAGE...: print the version for the table.
say_version() {
	"$python" - "$@" <<-'END'
		import sys, importlib.metadata as metadata
		print("version:", ", ".join(f"{name} {metadata.version(name)}" for name in sys.argv[1:]))
	END
}
