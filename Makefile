EXTENSION = idempotency
MODULE_big = idempotency
DATA = $(sort $(wildcard src/idempotency--*.sql))
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
# The fmgr interface hands every function an argument that some do not use.
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter
# 16 and later hide what is not marked; this has 15 do the same.
SHLIB_LINK = -Wl,--version-script=src/exports.map
PGFILEDESC = "idempotency - run each request once, replay its result to every retry"

# Every file in sql/, specs/ and t/ is a test: none can be left out by mistake.
REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
REGRESS_OPTS = --load-extension=idempotency
ISOLATION = $(patsubst specs/%.spec,%,$(sort $(wildcard specs/*.spec)))
ISOLATION_OPTS = --load-extension=idempotency
TAP_TESTS = $(if $(wildcard t/*.pl),1)

# These find or install a PostgreSQL by themselves, and write nothing outside
# .build/.
.DEFAULT_GOAL = all
STANDALONE = test upgrade-test demo bench-instructions check-tree test-monitoring test-dist test-debian dist examples storm bench bench-large model test-pgbouncer sqlsmith
.PHONY: $(STANDALONE)
# pg_upgrade between two majors, OLD and NEW, in a chroot.
upgrade-test:
	test/upgrade.sh $(NEW) $(OLD)
STORM_NEEDS = -i pgbouncer=pgbouncer -i patch=patch
test:
	test/throwaway-server.sh -o .build/test -c 'max_prepared_transactions = 20' -e pg_cron=cron $(STORM_NEEDS) test/run.sh

# Long; make storm DURATION=3600 SEED=1 CLIENTS=50 is longer, and the same again.
storm:
	test/throwaway-server.sh -o .build/storm $(STORM_NEEDS) \
		storm/run.sh $(DURATION:%=-d %) $(SEED:%=-s %) $(CLIENTS:%=-n %)

demo:
	test/throwaway-server.sh -c "log_line_prefix = '%m [%p] %e '" demo/run.sh

bench:
	bench/run.sh all

bench-large:
	bench/run.sh large

bench-instructions:
	bench/run.sh instructions

check-tree:
	test/check-tree.sh

test-monitoring:
	test/monitoring.sh

test-dist:
	test/dist.sh

test-debian:
	test/debian-package.sh

# The committed tree.  Times are those of the commit, so that the same commit
# gives the same bytes.  PGXN takes the zip.
dist: version = $(shell sed -nE '/^   "version"/s/.*: "(.*)".*/\1/p' META.json)
dist:
	mkdir -p .build
	git archive --format=tar --prefix=idempotency-$(version)/ HEAD | gzip -n -9 >.build/idempotency-$(version).tar.gz
	TZ=UTC git archive --format=zip --prefix=idempotency-$(version)/ HEAD >.build/idempotency-$(version).zip

# EXAMPLES="python-asyncpg ..": these alone.
examples:
	examples/run.sh $(EXAMPLES)
	@doc/include.sh --check

# The protocol's model; SECONDS_EACH limits each of its searches.
model:
	model/check.sh

test-pgbouncer:
	test/throwaway-server.sh -i pgbouncer=pgbouncer -o .build/pgbouncer -c 'max_prepared_transactions = 20' test/pgbouncer.sh

# Random statements, for as long as SMITH_SECONDS says; ten minutes.
sqlsmith:
	test/throwaway-server.sh -i sqlsmith=sqlsmith -o .build/sqlsmith -c "log_line_prefix = '%m [%p] %e '" -c 'log_error_verbosity = verbose' \
		-c 'max_prepared_transactions = 20' -c "shared_preload_libraries = 'idempotency'" test/sqlsmith.sh

ifneq ($(filter-out $(STANDALONE),$(or $(MAKECMDGOALS),all)),)
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(shlib): src/exports.map

# PGXS tracks no headers.
$(OBJS): $(wildcard src/*.h)

# The exported symbols, and static analysis by clang and cppcheck.
.PHONY: check-exports analyze
check-exports: $(shlib)
	test/exports.sh $(shlib)

analyze:
	test/analyze.sh

# Fuzzing, with clang and its libFuzzer.  New inputs go to .build; the corpus
# in the tree is only read.  "make fuzz-replay" needs no libFuzzer: it runs
# the corpus once.
FUZZ_CC ?= $(CLANG)
FUZZ_RUNS ?= 10000000
FUZZ_FLAGS = -g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -Wall -Wextra -Isrc

.PHONY: fuzz fuzz-replay
fuzz:
	mkdir -p .build/fuzz/parse_header
	$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer fuzz/parse_header.c src/header.c -o .build/fuzz/parse_header.bin
	.build/fuzz/parse_header.bin -runs=$(FUZZ_RUNS) -max_len=256 -dict=fuzz/parse_header.dict -print_final_stats=1 -artifact_prefix=.build/fuzz/ .build/fuzz/parse_header fuzz/parse_header.corpus

fuzz-replay:
	mkdir -p .build/fuzz
	$(CC) $(FUZZ_FLAGS) -DREPLAY fuzz/parse_header.c src/header.c -o .build/fuzz/parse_header.replay
	.build/fuzz/parse_header.replay fuzz/parse_header.corpus/*
endif
