EXTENSION = idempotency
MODULE_big = idempotency
DATA = src/idempotency--1.0.sql
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
.PHONY: test demo model test-pgbouncer sqlsmith
test:
	test/throwaway-server.sh -o .build/test -c 'max_prepared_transactions = 20' test/run.sh

demo:
	test/throwaway-server.sh -c "log_line_prefix = '%m [%p] %e '" demo/run.sh

# The protocol's model; SECONDS_EACH limits each of its searches.
model:
	model/check.sh

test-pgbouncer:
	test/throwaway-server.sh -p pgbouncer=pgbouncer -o .build/pgbouncer -c 'max_prepared_transactions = 20' test/pgbouncer.sh

# Random statements, for as long as SMITH_SECONDS says; ten minutes.
sqlsmith:
	test/throwaway-server.sh -p sqlsmith=sqlsmith -o .build/sqlsmith -c "log_line_prefix = '%m [%p] %e '" -c 'log_error_verbosity = verbose' \
		-c 'max_prepared_transactions = 20' -c "shared_preload_libraries = 'idempotency'" test/sqlsmith.sh

ifneq ($(filter-out test demo model test-pgbouncer sqlsmith,$(or $(MAKECMDGOALS),all)),)
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
