# shellcheck shell=bash
#
# node.sh: what the run scripts of JavaScript and TypeScript examples have in
# common.
#
# To be sourced in the example's directory.

# have_node_packages MAJOR: check that Node is of this major version or a later
# one, and copy the example into .build, with exactly the packages that
# package-lock.json locks.
have_node_packages() {
	local major
	major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null) || major=0
	[ "$major" -ge "$1" ] && npm --version >/dev/null 2>&1 ||
		{ echo "there is no Node.js $1 or later with npm"; exit 77; }
	mkdir -p .build
	if ! cmp -s package-lock.json .build/installed; then
		cp package.json package-lock.json .build/
		(cd .build && npm ci --silent --ignore-scripts --no-audit --no-fund --no-update-notifier)
		cp package-lock.json .build/installed
	fi
	find . -maxdepth 1 -type f -exec cp {} .build/ \;
}

# say_version PACKAGE...: print the version for the table.
say_version() {
	local name version=
	for name in "$@"; do
		version+=", $name $(node -p "require('./.build/node_modules/$name/package.json').version")"
	done
	echo "version: ${version#, }"
}

# have_client: compile clients/node in its own .build, and pack it into the
# checkout's .build/clients.  To be called in clients/node.
have_client() {
	have_node_packages 20
	rm -rf .build/src .build/dist ../../.build/clients/pg-idempotency-*.tgz
	cp -R src ../../LICENSE .build/
	mkdir -p ../../.build/clients
	(cd .build && npm pack --silent --pack-destination ../../../.build/clients)
}

# have_pg_idempotency: put clients/node among the example's packages, as an "npm
# install" of the tarball would.
have_pg_idempotency() {
	(cd ../../clients/node && have_client) >/dev/null
	mkdir -p .build/node_modules/pg-idempotency
	tar -xzf ../../.build/clients/pg-idempotency-*.tgz -C .build/node_modules/pg-idempotency --strip-components=1
}
