# These find or install a PostgreSQL by themselves, and write nothing outside
# .build/.
STANDALONE = help demo test test-% coverage model storm sqlsmith check-tree examples clients \
	bench bench-instructions bench-large bench-kinds bench-churn dist
.PHONY: $(filter-out test-%,$(STANDALONE))
PREPARED = -c 'max_prepared_transactions = 20'
PRELOADED = -c "shared_preload_libraries = 'idempotency'" -c 'idempotency.worker = off'

#: all install installcheck	build; install; test what is installed, on a running server
#: check-exports analyze fuzz	exported symbols; static analysis; fuzz the header parser
help:	#: this list
	@sed -nE 's/^#: ([^\t]*)\t+(.*)/  make \1\t\2/p; s/^([a-z%-]+):[^#]*#: (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 38

demo:	#: a payments service in a storm of retries, with keys and without
	test/throwaway-server.sh -c "log_line_prefix = '%m [%p] %e '" examples/demo/run.sh

STORM_NEEDS = -i pgbouncer=pgbouncer -i patch=patch
test:	#: every test, on a server of its own; PARTS="regress TAP": these alone
	test/throwaway-server.sh -o .build/test $(PREPARED) -e pg_cron=cron $(STORM_NEEDS) test/run.sh $(PARTS)

# The same on another major: in a chroot where it is not the distribution's.
test-all:	#: the same on PostgreSQL 15 to 19
	test/matrix.sh 15 16 17 18 19

test-%:	#: the same on one major: test-18
	test/matrix.sh $*

# pg_upgrade between two majors, OLD and NEW, in a chroot.
test-upgrade:	#: pg_upgrade from OLD to NEW
	test/upgrade.sh "$(NEW)" "$(OLD)"

# The worker, which is there with the preloaded library, is watched too.
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=undefined
test-asan:	#: regress and isolation with sanitizers
	COPT='$(SANITIZE) -O1 -g -Wno-clobbered' test/throwaway-server.sh -o .build/test-asan \
		$(PREPARED) $(PRELOADED) -p test/postgres-asan.sh test/run.sh regress isolation

# TAP's own servers inherit the sanitizers' run-time, as does all else there.
test-asan-tap:	#: t/ with sanitizers
	COPT='$(SANITIZE) -O1 -g -Wno-clobbered' test/throwaway-server.sh -o .build/test-asan-tap \
		$(PREPARED) -i pgbouncer=pgbouncer test/with-asan.sh test/run.sh TAP

# Without the tests that call a thing so often, or within so short a time, that
# an emulated processor is too slow for them.
test-valgrind: export EXCEPT = hundred_thousand% fingerprint_of_large_numbers
test-valgrind:	#: regress under valgrind
	COPT='-O1 -g' test/throwaway-server.sh -o .build/test-valgrind -i valgrind=valgrind \
		$(PREPARED) $(PRELOADED) -p test/postgres-valgrind.sh test/run.sh regress

# The contract over the distributed store.
test-distributed:	#: the contract over the distributed store
	test/throwaway-server.sh -o .build/distributed $(PREPARED) test/distributed.sh $(TESTS)

# The contract over portable/idempotency.sql.
test-portable:	#: the contract over portable/idempotency.sql
	test/throwaway-server.sh -o .build/portable $(PREPARED) -i patch=patch test/portable.sh $(TESTS)

# Nothing is built: Citus and the extension are installed on the servers.
test-citus:	#: on Citus; CITUS_PGHOST, CITUS_PGPORT, CITUS_WORKER_PORTS
	: $${CITUS_PGHOST:?} $${CITUS_PGPORT:?} $${CITUS_WORKER_PORTS:?}
	mkdir -p .build
	TESTDATADIR=.build/citus prove -I "$$($(or $(PG_CONFIG),pg_config) --pkglibdir)/pgxs/src/test/perl" t/*_citus*.pl

test-mutants:	#: builds that were broken on purpose; PATCHES=..
	test/mutants.sh $(PATCHES)

test-pgbouncer:	#: regress through PgBouncer
	test/throwaway-server.sh -o .build/pgbouncer $(PREPARED) -i pgbouncer=pgbouncer test/pgbouncer.sh

test-monitoring:	#: the files of doc/monitoring, with an exporter and Prometheus
	test/monitoring.sh

test-dist:	#: the source tarball
	test/dist.sh

# In a chroot of the suite that has MAJOR, or 15.
test-debian:	#: the Debian packages; MAJOR=18
	test/debian-package.sh $(MAJOR)

test-rpm:	#: the RPM packages
	test/rpm.sh

test-images:	#: the images of doc/packages
	test/images.sh

coverage:	#: which lines no test runs
	COPT='--coverage -O0 -Wno-cpp' test/throwaway-server.sh -o .build/coverage \
		$(PREPARED) -i gcov=gcc test/coverage.sh 90

# The protocol's model; SECONDS_EACH limits each of its searches.
model:	#: the model of the protocol
	test/model/check.sh

# Long; make storm DURATION=3600 SEED=1 CLIENTS=50 is longer, and the same again.
storm:	#: randomized clients and faults; DURATION=600 SEED=1 CLIENTS=50 EDITION=portable
	test/throwaway-server.sh -o .build/storm $(STORM_NEEDS) \
		test/storm/run.sh $(DURATION:%=-d %) $(SEED:%=-s %) $(CLIENTS:%=-n %) $(EDITION:portable=-p)

# Random statements, for as long as SMITH_SECONDS says; ten minutes.
sqlsmith:	#: random statements
	test/throwaway-server.sh -o .build/sqlsmith $(PREPARED) $(PRELOADED) -i sqlsmith=sqlsmith \
		-c "log_line_prefix = '%m [%p] %e '" -c 'log_error_verbosity = verbose' test/sqlsmith.sh

check-tree:	#: what can be checked without building
	test/check-tree.sh

# EXAMPLES="python-asyncpg ..": these alone.
examples:	#: the examples; EXAMPLES="go-pgx": these alone
	examples/run.sh $(EXAMPLES)
	@doc/include.sh --check

# The packages for applications, built into .build/clients and tested.
clients:	#: the packages for applications; CLIENTS=node: this alone
	examples/run.sh $(addprefix ../clients/,$(or $(CLIENTS),node python))

bench:	#: every measurement
	bench/run.sh all

bench-instructions:	#: instructions only
	bench/run.sh instructions

bench-large:	#: times among 20 million keys
	bench/run.sh large

bench-kinds:	#: WAL and instructions among 20 million keys
	bench/run.sh kinds

bench-churn:	#: size on disk, for an hour
	bench/run.sh churn

# The committed tree.  Times are those of the commit, so that the same commit
# gives the same bytes.  PGXN takes the zip.
dist: version = $(shell sed -nE '/^   "version"/s/.*: "(.*)".*/\1/p' META.json)
dist:	#: a source tarball of the committed tree
	mkdir -p .build
	git archive --format=tar --prefix=idempotency-$(version)/ HEAD | gzip -n -9 >.build/idempotency-$(version).tar.gz
	TZ=UTC git archive --format=zip --prefix=idempotency-$(version)/ HEAD >.build/idempotency-$(version).zip
