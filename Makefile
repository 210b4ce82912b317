EXTENSION = idempotency
MODULE_big = idempotency
DATA = src/idempotency--1.0.sql
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
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
.PHONY: test demo
test:
	test/throwaway-server.sh -o .build/test -c 'max_prepared_transactions = 20' test/run.sh

demo:
	test/throwaway-server.sh -c "log_line_prefix = '%m [%p] %e '" demo/run.sh

ifneq ($(filter-out test demo,$(or $(MAKECMDGOALS),all)),)
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# PGXS tracks no headers.
$(OBJS): $(wildcard src/*.h)
endif
