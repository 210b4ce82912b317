EXTENSION = idempotency
MODULE_big = idempotency
DATA = $(sort $(wildcard src/idempotency--*.sql))
# The rooms of the source: each folder of src/.  Includes are relative to src/.
ROOMS = src $(wildcard src/*/ src/*/*/)
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard $(addsuffix /*.c,$(ROOMS:/=)))))
PG_CPPFLAGS = -I$(srcdir)/src
# The fmgr interface passes every function an argument that some do not use.
# No other library replaces the library's own functions: they may be inlined.
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -fno-semantic-interposition
# PostgreSQL 16 and later hide symbols that are not marked; this does it on 15.
SHLIB_LINK = -Wl,--version-script=src/exports.map
PGFILEDESC = "idempotency - run each request once, replay its result to every retry"

# Every file in sql/, specs/ and t/ is a test, so that none can be forgotten;
# EXCEPT names those of sql/ that are not run.
REGRESS = $(filter-out $(EXCEPT),$(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql))))
REGRESS_OPTS = --load-extension=idempotency
ISOLATION = $(patsubst specs/%.spec,%,$(sort $(wildcard specs/*.spec)))
ISOLATION_OPTS = --load-extension=idempotency
TAP_TESTS = $(if $(wildcard t/*.pl),1)
# They start their own servers, and a server does not run as root.
ifeq ($(shell id -u),0)
TAP_TESTS =
installcheck: without-TAP
.PHONY: without-TAP
without-TAP:
	@echo "Not run as root: t/, whose tests start servers."
endif

# Targets that need no PGXS: they find or install a PostgreSQL themselves.
.DEFAULT_GOAL = all
include test/targets.mk

ifneq ($(filter-out $(STANDALONE),$(or $(MAKECMDGOALS),all)),)
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(shlib): src/exports.map

# PGXS does not track headers.
$(OBJS): $(wildcard $(addsuffix /*.h,$(ROOMS:/=)))

include test/programs.mk
endif
