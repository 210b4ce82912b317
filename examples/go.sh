# shellcheck shell=bash
#
# go.sh: what the run scripts of Go examples have in common.
#
# To be sourced in the example's directory.

# have_go: check that Go is not older than go.mod requires, and let it build and
# download into the .build that all examples in Go share.
have_go() {
	local wanted
	wanted=$(sed -nE 's/^go ([0-9]+\.[0-9]+).*/\1/p' go.mod)
	export GOPATH=$PWD/../.build/go GOFLAGS=-modcacherw GOTOOLCHAIN=local CGO_ENABLED=0
	export GOCACHE=$GOPATH/cache
	go version >/dev/null 2>&1 || { echo "there is no Go $wanted or later"; exit 77; }
	printf '%s\n' "$wanted" "$(go env GOVERSION | sed 's/^go//')" | sort -V -c 2>/dev/null ||
		{ echo "there is no Go $wanted or later, but $(go env GOVERSION)"; exit 77; }
}

# say_version MODULE...: print the version for the table.
say_version() {
	echo "version: $(go list -m -f '{{.Path}} {{.Version}}' "$@" | sed -E 's|^[^/]+/||; s|/v[0-9]+ | |' | paste -sd, | sed 's/,/, /g')"
}
