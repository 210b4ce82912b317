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
	$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer test/fuzz/parse_header.c src/http/header.c -o .build/fuzz/parse_header.bin
	.build/fuzz/parse_header.bin -runs=$(FUZZ_RUNS) -max_len=256 -dict=test/fuzz/parse_header.dict -print_final_stats=1 -artifact_prefix=.build/fuzz/ .build/fuzz/parse_header test/fuzz/parse_header.corpus

fuzz-replay:
	mkdir -p .build/fuzz
	$(CC) $(FUZZ_FLAGS) -DREPLAY test/fuzz/parse_header.c src/http/header.c -o .build/fuzz/parse_header.replay
	.build/fuzz/parse_header.replay test/fuzz/parse_header.corpus/*
