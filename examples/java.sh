# shellcheck shell=bash
#
# java.sh: what the run scripts of Java examples have in common.
#
# To be sourced in the example's directory.

# have_java MAJOR: check that Java is of this major version or a later one, put
# the libraries that pom.xml names into .build/lib, and compile the program into
# .build/classes.  Maven downloads into the .build that all examples in Java share.
have_java() {
	local major
	major=$(javac -version 2>/dev/null | sed -nE 's/^javac ([0-9]+).*/\1/p') || major=0
	[ "${major:-0}" -ge "$1" ] && mvn -v >/dev/null 2>&1 ||
		{ echo "there is no Java $1 or later with javac and Maven"; exit 77; }
	mkdir -p .build
	if ! cmp -s pom.xml .build/installed; then
		rm -rf .build/lib
		mvn -B -q -Dmaven.repo.local="$PWD/../.build/maven" \
			org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory=.build/lib
		cp pom.xml .build/installed
	fi
	javac -parameters -Xlint:all,-processing -Werror -d .build/classes -cp '.build/lib/*' src/*.java
}

# say_version ARTIFACT...: print the version for the table.
say_version() {
	local name version=
	for name in "$@"; do
		version+=", $(basename -s .jar ".build/lib/$name"-[0-9]*.jar | sed -E 's/-([0-9])/ \1/')"
	done
	echo "version: ${version#, }"
}
