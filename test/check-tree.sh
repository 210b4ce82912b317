#!/bin/bash
#
# check-tree.sh: checks that need no build.
#
# The same version everywhere, tests and expected files that belong together,
# PG_VERSION_NUM in one file, a META.json that PGXN accepts, links to existing
# files.  The last line is the count of checks.

set -euo pipefail
shopt -s lastpipe
cd "$(dirname "${BASH_SOURCE[0]}")/.."

passed=0
failed=0
# none NAME: passes if its input is empty, else shows it.
none() {
	local found
	found=$(cat)
	if [ -z "$found" ]; then
		passed=$((passed + 1))
		echo "ok: $1"
	else
		failed=$((failed + 1))
		printf 'FAILED: %s\n' "$1"
		printf '    %s\n' "${found//$'\n'/$'\n'    }"
	fi
}

# The version: two numbers in the extension's catalogs, three for releases.
short=$(sed -nE "s/^default_version = '(.*)'$/\1/p" idempotency.control)
full=$(sed -nE '/^   "version"/s/.*: "(.*)".*/\1/p' META.json)
{
	[ "${full%.*}" = "$short" ] || echo "META.json has $full, idempotency.control $short"
	[ -e "src/idempotency--$short.sql" ] || echo "there is no src/idempotency--$short.sql"
	grep -q "\"src/idempotency--$short.sql\"" META.json || echo "META.json provides another file than src/idempotency--$short.sql"
	[ "$(grep -c "\"version\": \"$full\"" META.json)" -ge 2 ] || echo "META.json does not provide $full"
	grep -q "^#define LIBRARY_VERSION[[:space:]]*\"$short\"$" src/version.h || echo "src/version.h has another version than $short"
	grep -qE "^## \[$full\]|^To be released as $full\.$" CHANGELOG.md || echo "CHANGELOG.md does not mention $full"
	grep -qF "  \"version\": \"$full\"," clients/node/package.json || echo "clients/node/package.json has another version than $full"
	cmp LICENSE clients/python/LICENSE 2>&1 || true
	grep -qFx "version = \"$full\"" clients/python/pyproject.toml || echo "clients/python/pyproject.toml has another version than $full"
	sed -n 1p debian/changelog | grep -qF "($full-" || echo "debian/changelog begins with another version than $full"
	grep -q "^Version:[[:space:]]*$full$" doc/packages/idempotency.spec || echo "doc/packages/idempotency.spec is of another version than $full"
	grep -q "idempotency:$full-" doc/packages/Dockerfile.cloudnative-pg || echo "doc/packages/Dockerfile.cloudnative-pg names another version than $full"
} | none 'the version is the same everywhere'

# Every file in a directory of tests is a test.
{
	find sql -type f ! -name '*.sql'
	find specs -type f ! -name '*.spec'
	find t -type f ! -name '[0-9][0-9][0-9]_*.pl'
	for test in sql/*.sql specs/*.spec; do
		name=$(basename "${test%.*}")
		[ -e "expected/$name.out" ] || echo "$test has no expected/$name.out"
	done
	for expected in expected/*; do
		name=$(basename "$expected" .out)
		found=
		# A test may have several expected files, the second being _1.
		for test in "$name" "${name%_[0-9]}"; do
			if [ -e "sql/$test.sql" ] || [ -e "specs/$test.spec" ]; then
				found=yes
			fi
		done
		[ -n "$found" ] || echo "$expected belongs to no test"
	done
	comm -12 <(basename -s .sql -a sql/*.sql | sort) <(basename -s .spec -a specs/*.spec | sort) |
		sed 's/$/ is the name of two tests/'
} | none 'each test has its expected output, and each expected output its test'

{ grep -rln PG_VERSION_NUM src --include='*.[ch]' | grep -vx src/compat.h || true; } |
	none 'PG_VERSION_NUM is in src/compat.h alone'

while IFS= read -r file; do
	sed -n '3p' "$file" | grep -qF " $(basename "$file")" || echo "$file does not begin with its name"
	grep -qF "$(basename "$file" | sed 's/\.h$/.c/')" src/README.md || [ -e "${file%.h}.c" ] || case $file in
		src/error.h | src/compat.h | src/store/store.h) ;;
		*) echo "src/README.md does not mention $file" ;;
	esac
done < <(git ls-files 'src/*.[ch]') | none 'each source file has its header, and its place in the map'

# Rooms: key/ and http/ are below store/, which is below claim/ and sweep/.  The
# tables of a store are known only to its own room and to the seam, store/store.h.
includes() { git grep -nE "#include \"($1)/" -- "${@:2}" || true; }
{
	includes 'http|store|claim|sweep' src/key
	includes 'store|claim|sweep' src/http
	includes 'claim|sweep' src/store
	includes 'sweep' src/claim
	includes 'key|http|store|claim|sweep' ':(glob)src/*.[ch]' ':!src/idempotency.c'
	includes 'store/(local|distributed)' src ':!src/store/local' ':!src/store/distributed' ':!src/store/store.h'
	includes 'store/distributed' src/store/local src/store/store.h
	includes 'store/local' src/store/distributed
} | none 'includes go downward only'

# What a header declares is defined in its room, only the functions of a store
# below the seam, and is used by another file.  A .c file declares only what is
# its own.  So a call goes the way of an include.
git ls-files 'src/*.[ch]' | perl -MFile::Basename -ne '
	use strict; use warnings;
	our %text;
	chomp;
	open my $file, "<", $_ or die "$_: $!";
	$text{$_} = do { local $/; <$file> };
	$text{$_} =~ s{/\*.*?\*/}{}gs;
	END {
		foreach my $header (grep { /\.h$/ } sort keys %text) {
			foreach my $name ($text{$header} =~ /^extern\s[^;]*?(\w+)\s*(?:\([^;]*|\[\w*\])?;/mg) {
				my @defined = grep { /\.c$/ && $text{$_} =~ /^(?:\w[\w \t*]*\s\**)?$name(?:\(|\[|;| =)/m && $text{$_} =~ /#include "(?:[a-z\/]*\/)?@{[basename($header)]}"/ } keys %text;
				my @used = grep { $_ ne $header && $text{$_} =~ /\b$name\b/ } keys %text;
				print "$header: $name is defined in ", (join ", ", @defined) || "no file", "\n"
					unless @defined == 1 && (dirname($defined[0]) eq dirname($header) || $name =~ /^(?:local|distributed)_store$/);
				print "$header: $name is used nowhere else\n"
					unless @used > 1 || $text{$header} =~ /^(?!extern).*\b$name\b/m;
			}
		}
		foreach my $source (grep { /\.c$/ } sort keys %text) {
			print "$source: declares $1\n" while $text{$source} =~ /^(?!static|PG_|PGDLLEXPORT)(extern .*|\w[\w \t*]*\b(?!_PG_init)\w+\([^(){}]*\));$/mg;
		}
	}' | none 'calls go downward only, and each extern is used'

git ls-files 't/*.pl' | cut -c3-5 | sort | uniq -d | none 'no two TAP files have one number'

git ls-files -z 'src/*.c' |
	xargs -0 awk '/^\{/ { start = FNR } /^\}/ && FNR - start > 90 { print FILENAME ":" start ": " FNR - start " lines" }' |
	none 'no function is longer than 90 lines'

git ls-files '*.[ch]' | sed 's|.*/||' | sort | uniq -d | none 'no two source files have one name'

{ git ls-files | sed -n 's,/.*,,p' | sort -u |
	grep -vxE '\.ci|bench|clients|debian|doc|examples|expected|portable|specs|sql|src|t|test' || true; } |
	none 'there is no other folder at the top'

while IFS= read -r script; do
	[ -x "$script" ] || [ "$script" = test/packages.sh ] || grep -q '^# To be sourced' "$script" || echo "$script is not executable"
	bash -n "$script" 2>&1
	sed -n '3p' "$script" | grep -q '^# ' || echo "$script does not say what it does"
done < <(git ls-files '*.sh' .ci/run) | none 'each script says what it does, and bash can read it'

{ git grep -nIE '[[:blank:]]+$' -- . ':!expected' ':!test/distributed/expected' ':!test/portable/*.diff' ':!test/portable/expected' ':!*.corpus/*' ':!*.patch' || true; } | none 'no line ends with a blank'

# META.json has the addresses for issues and security reports, which README
# repeats.  Until a publisher has put them there, they are of the domain "invalid",
# and no release is tagged.
address() { sed -nE "s/^ *\"$1\": \"(.*)\".*/\1/p" META.json | head -n 1; }
{
	grep -qF "Issues: <$(address web)>. Security reports: <$(address mailto)>" README.md || echo "README.md has other addresses than META.json"
	if [ -n "$(git tag --points-at HEAD 2>/dev/null)" ]; then grep -nF .invalid META.json README.md debian/copyright || true; fi
} | none 'issues and security reports have an address'

# PGXN: https://pgxn.org/spec/
perl -MJSON::PP -e '
	use strict; use warnings;
	local $/; open my $file, "<", "META.json" or die; my $meta = eval { decode_json(<$file>) } or print "not JSON: $@";
	my $semver = qr/^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[a-z][-0-9A-Za-z]*)?$/;
	my $range = qr/^((==|!=|>=|<=|>|<)?\s*\d+(\.\d+){0,2}[-0-9A-Za-z]*\s*,?\s*)+$/;
	my %license = map { $_ => 1 } qw(agpl_3 apache_1_1 apache_2_0 artistic_1 artistic_2 bsd freebsd gfdl_1_2 gfdl_1_3 gpl_1 gpl_2
		gpl_3 lgpl_2_1 lgpl_3_0 mit mozilla_1_0 mozilla_1_1 openssl perl_5 postgresql qpl_1_0 ssleay sun zlib open_source
		restricted unrestricted unknown);
	my %known = map { $_ => 1 } qw(name version abstract maintainer license provides meta-spec description generated_by tags
		no_index prereqs release_status resources);
	sub text { defined $_[0] && !ref $_[0] && length $_[0] }
	text($meta->{$_}) or print "$_ is missing\n" foreach qw(name abstract);
	$known{$_} || /^[xX]_/ or print "$_ is not a key of the specification\n" foreach keys %$meta;
	$meta->{name} =~ m{^[^\s/\\]{2,}$} or print "name has blanks or slashes, or is too short\n";
	($meta->{version} // "") =~ $semver or print "version is not that of a semantic versioning\n";
	my @maintainers = ref $meta->{maintainer} ? @{$meta->{maintainer}} : $meta->{maintainer};
	@maintainers && !grep { !text($_) } @maintainers or print "maintainer is missing\n";
	my @licenses = ref $meta->{license} eq "ARRAY" ? @{$meta->{license}} : ref $meta->{license} ? () : $meta->{license};
	ref $meta->{license} eq "HASH" || @licenses && !grep { !$license{$_ // ""} } @licenses or print "license is unknown\n";
	($meta->{"meta-spec"}{version} // "") eq "1.0.0" or print "meta-spec is missing, or of another version\n";
	my $provides = $meta->{provides};
	ref $provides eq "HASH" && %$provides or print "provides is missing\n";
	foreach my $name (keys %{$provides // {}}) {
		my $extension = $provides->{$name};
		text($extension->{file}) && -e $extension->{file} or print "$name: there is no such file\n";
		($extension->{version} // "") =~ $semver or print "$name: version is missing\n";
		!defined $extension->{docfile} || -e $extension->{docfile} or print "$name: there is no such docfile\n";
	}
	foreach my $phase (keys %{$meta->{prereqs} // {}}) {
		$phase =~ /^(configure|build|test|runtime|develop)$/ or print "prereqs: no such phase: $phase\n";
		foreach my $relation (keys %{$meta->{prereqs}{$phase}}) {
			$relation =~ /^(requires|recommends|suggests|conflicts)$/ or print "prereqs: no such relation: $relation\n";
			$_ =~ $range or print "prereqs: not a version range: $_\n" foreach values %{$meta->{prereqs}{$phase}{$relation}};
		}
	}
	foreach my $tag (@{$meta->{tags} // []}) {
		text($tag) && length $tag <= 256 && $tag !~ m{[/\\[:cntrl:]]} or print "tags: not a tag: $tag\n";
	}
	' | none 'PGXN accepts META.json'

{
	for file in doc/monitoring/*.json; do
		perl -MJSON::PP -0ne 'eval { decode_json($_) } or print "$ARGV: $@"' "$file"
	done
} | none 'the JSON files are valid'

# Links within the repository, with their anchors.
git ls-files '*.md' | perl -MFile::Basename -ne '
	use strict; use warnings;
	chomp(my $page = $_);
	sub slurp { local $/; open my $file, "<", $_[0] or die "$_[0]: $!"; my $text = <$file>; $text =~ s/^(```|~~~).*?^\1$//msg; return $text }
	sub anchors { my %seen; map { my $a = lc; $a =~ s/[^\w\- ]//g; $a =~ tr/ /-/; $a . ($seen{$a}++ ? "-" . ($seen{$a} - 1) : "") } slurp($_[0]) =~ /^#+ +(.*?)\s*$/mg }
	my $text = slurp($page);
	foreach my $link ($text =~ /\]\(([^)\s]+)\)/g) {
		next if $link =~ m{^[a-z]+:};
		my ($path, $anchor) = split /#/, $link, 2;
		my $target = $path eq "" ? $page : dirname($page) . "/$path";
		if (!-e $target) { print "$page: $link: there is no such file\n" }
		elsif (defined $anchor && !grep { $_ eq $anchor } anchors($target)) { print "$page: $link: there is no such heading\n" }
	}' | none 'links within the repository have a target'

doc/include.sh --check 2>&1 | none 'pages show the examples as they are'

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
