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

# Finds or installs a PostgreSQL by itself, and writes nothing outside .build/.
.DEFAULT_GOAL = all
.PHONY: test
test:
	test/throwaway-server.sh -o .build/test -c 'max_prepared_transactions = 20' test/run.sh

ifneq ($(filter-out test,$(or $(MAKECMDGOALS),all)),)
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
endif
