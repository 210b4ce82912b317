# These find or install a PostgreSQL by themselves, and write nothing outside
# .build/.
STANDALONE = demo test test-% coverage model storm sqlsmith check-tree examples clients \
	bench bench-instructions bench-large dist
.PHONY: $(filter-out test-%,$(STANDALONE))
PREPARED = -c 'max_prepared_transactions = 20'
PRELOADED = -c "shared_preload_libraries = 'idempotency'"

demo:
	test/throwaway-server.sh -c "log_line_prefix = '%m [%p] %e '" examples/demo/run.sh

STORM_NEEDS = -i pgbouncer=pgbouncer -i patch=patch
test:
	test/throwaway-server.sh -o .build/test $(PREPARED) -e pg_cron=cron $(STORM_NEEDS) test/run.sh $(PARTS)

# The same on another major: in a chroot where it is not the distribution's.
test-all:
	test/matrix.sh 15 16 17 18 19

test-%:
	test/matrix.sh $*

# pg_upgrade between two majors, OLD and NEW, in a chroot.
test-upgrade:
	test/upgrade.sh $(NEW) $(OLD)

# The worker, which is there with the preloaded library, is watched too.
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=undefined
test-asan:
	COPT='$(SANITIZE) -O1 -g -Wno-clobbered' test/throwaway-server.sh -o .build/test-asan \
		$(PREPARED) $(PRELOADED) -p test/postgres-asan.sh test/run.sh regress isolation

# TAP's own servers inherit the sanitizers' run-time, as does all else there.
test-asan-tap:
	COPT='$(SANITIZE) -O1 -g -Wno-clobbered' test/throwaway-server.sh -o .build/test-asan-tap \
		$(PREPARED) -i pgbouncer=pgbouncer test/with-asan.sh test/run.sh TAP

# Without the tests that call a thing so often, or within so short a time, that
# an emulated processor is too slow for them.
test-valgrind: export EXCEPT = hundred_thousand% fingerprint_of_large_numbers
test-valgrind:
	COPT='-O1 -g' test/throwaway-server.sh -o .build/test-valgrind -i valgrind=valgrind \
		$(PREPARED) $(PRELOADED) -p test/postgres-valgrind.sh test/run.sh regress

# The contract over the distributed store.
test-distributed:
	test/throwaway-server.sh -o .build/distributed $(PREPARED) test/distributed.sh $(TESTS)

test-pgbouncer:
	test/throwaway-server.sh -o .build/pgbouncer $(PREPARED) -i pgbouncer=pgbouncer test/pgbouncer.sh

test-monitoring:
	test/monitoring.sh

test-dist:
	test/dist.sh

# In a chroot of the suite that has MAJOR, or 15.
test-debian:
	test/debian-package.sh $(MAJOR)

test-rpm:
	test/rpm.sh

test-images:
	test/images.sh

coverage:
	COPT='--coverage -O0 -Wno-cpp' test/throwaway-server.sh -o .build/coverage \
		$(PREPARED) -i gcov=gcc test/coverage.sh 90

# The protocol's model; SECONDS_EACH limits each of its searches.
model:
	test/model/check.sh

# Long; make storm DURATION=3600 SEED=1 CLIENTS=50 is longer, and the same again.
storm:
	test/throwaway-server.sh -o .build/storm $(STORM_NEEDS) \
		test/storm/run.sh $(DURATION:%=-d %) $(SEED:%=-s %) $(CLIENTS:%=-n %)

# Random statements, for as long as SMITH_SECONDS says; ten minutes.
sqlsmith:
	test/throwaway-server.sh -o .build/sqlsmith $(PREPARED) $(PRELOADED) -i sqlsmith=sqlsmith \
		-c "log_line_prefix = '%m [%p] %e '" -c 'log_error_verbosity = verbose' test/sqlsmith.sh

check-tree:
	test/check-tree.sh

# EXAMPLES="python-asyncpg ..": these alone.
examples:
	examples/run.sh $(EXAMPLES)
	@doc/include.sh --check

# The packages for applications, built into .build/clients and tested.
clients:
	examples/run.sh $(patsubst %/run,../%,$(wildcard clients/*/run))

bench:
	bench/run.sh all

bench-instructions:
	bench/run.sh instructions

bench-large:
	bench/run.sh large

# The committed tree.  Times are those of the commit, so that the same commit
# gives the same bytes.  PGXN takes the zip.
dist: version = $(shell sed -nE '/^   "version"/s/.*: "(.*)".*/\1/p' META.json)
dist:
	mkdir -p .build
	git archive --format=tar --prefix=idempotency-$(version)/ HEAD | gzip -n -9 >.build/idempotency-$(version).tar.gz
	TZ=UTC git archive --format=zip --prefix=idempotency-$(version)/ HEAD >.build/idempotency-$(version).zip
