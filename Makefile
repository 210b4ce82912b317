EXTENSION = idempotency
MODULE_big = idempotency
DATA = src/idempotency--1.0.sql
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
# The fmgr interface hands every function an argument that some do not use.
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter
PGFILEDESC = "idempotency - run each request once, replay its result to every retry"

# Every file in sql/, specs/ and t/ is a test: none can be left out by mistake,
# but EXCEPT names those of sql/ that are.
REGRESS = $(filter-out $(EXCEPT),$(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql))))
REGRESS_OPTS = --load-extension=idempotency
ISOLATION = $(patsubst specs/%.spec,%,$(sort $(wildcard specs/*.spec)))
ISOLATION_OPTS = --load-extension=idempotency
TAP_TESTS = $(if $(wildcard t/*.pl),1)

# These find or install a PostgreSQL by themselves, and write nothing outside
# .build/.
.DEFAULT_GOAL = all
.PHONY: test test-all test-asan test-valgrind coverage demo
PREPARED = -c 'max_prepared_transactions = 20'
test:
	test/throwaway-server.sh -o .build/test $(PREPARED) test/run.sh

# The same on another major: in a chroot where it is not the distribution's.
test-all:
	test/matrix.sh 15 16 17 18 19

test-%:
	test/matrix.sh $*

# The worker, which is there with the preloaded library, is watched too.
PRELOADED = -c "shared_preload_libraries = 'idempotency'"
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=undefined
test-asan:
	COPT='$(SANITIZE) -O1 -g -Wno-clobbered' test/throwaway-server.sh -o .build/test-asan \
		$(PREPARED) $(PRELOADED) -p test/postgres-asan.sh test/run.sh regress isolation

# Without the tests that call a thing so often, or within so short a time, that
# an emulated processor is too slow for them.
test-valgrind: export EXCEPT = hundred_thousand% fingerprint_of_large_numbers
test-valgrind:
	COPT='-O1 -g' test/throwaway-server.sh -o .build/test-valgrind -i valgrind=valgrind \
		$(PREPARED) $(PRELOADED) -p test/postgres-valgrind.sh test/run.sh regress

coverage:
	COPT='--coverage -O0 -Wno-cpp' test/throwaway-server.sh -o .build/coverage \
		$(PREPARED) -i gcov=gcc test/coverage.sh 90

demo:
	test/throwaway-server.sh -c "log_line_prefix = '%m [%p] %e '" demo/run.sh

ifneq ($(filter-out test test-% coverage demo,$(or $(MAKECMDGOALS),all)),)
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# PGXS tracks no headers.
$(OBJS): $(wildcard src/*.h)

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
