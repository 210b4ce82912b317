EXTENSION = idempotency
MODULE_big = idempotency
DATA = $(sort $(wildcard src/idempotency--*.sql))
# The rooms of the source: each folder of src/.  Includes are relative to src/.
ROOMS = src $(wildcard src/*/ src/*/*/)
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard $(addsuffix /*.c,$(ROOMS:/=)))))
PG_CPPFLAGS = -I$(srcdir)/src
# The fmgr interface hands every function an argument that some do not use.
# Nobody replaces the library's own functions: they may be inlined.
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -fno-semantic-interposition
# 16 and later hide what is not marked; this has 15 do the same.
SHLIB_LINK = -Wl,--version-script=src/exports.map
PGFILEDESC = "idempotency - run each request once, replay its result to every retry"

# Every file in sql/, specs/ and t/ is a test: none can be left out by mistake,
# but EXCEPT names those of sql/ that are.
REGRESS = $(filter-out $(EXCEPT),$(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql))))
REGRESS_OPTS = --load-extension=idempotency
ISOLATION = $(patsubst specs/%.spec,%,$(sort $(wildcard specs/*.spec)))
ISOLATION_OPTS = --load-extension=idempotency
TAP_TESTS = $(if $(wildcard t/*.pl),1)
# They make servers of their own, and a server does not run as root.
ifeq ($(shell id -u),0)
TAP_TESTS =
installcheck: without-TAP
.PHONY: without-TAP
without-TAP:
	@echo "Not run as root: t/, whose tests start servers."
endif

# What needs no PGXS: these targets find or install a PostgreSQL by themselves.
.DEFAULT_GOAL = all
include test/targets.mk

ifneq ($(filter-out $(STANDALONE),$(or $(MAKECMDGOALS),all)),)
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(shlib): src/exports.map

# PGXS tracks no headers.
$(OBJS): $(wildcard $(addsuffix /*.h,$(ROOMS:/=)))

include test/programs.mk
endif
