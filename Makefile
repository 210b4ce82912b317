EXTENSION = idempotency
MODULE_big = idempotency
DATA = src/idempotency--1.0.sql
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
# The fmgr interface hands every function an argument that some do not use.
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter
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
.PHONY: test demo bench bench-large bench-instructions
test:
	test/throwaway-server.sh -o .build/test -c 'max_prepared_transactions = 20' test/run.sh

demo:
	test/throwaway-server.sh -c "log_line_prefix = '%m [%p] %e '" demo/run.sh

bench:
	bench/run.sh all

bench-large:
	bench/run.sh large

bench-instructions:
	bench/run.sh instructions

ifneq ($(filter-out test demo bench bench-large bench-instructions,$(or $(MAKECMDGOALS),all)),)
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
