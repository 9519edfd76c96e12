# Rushes: one non-recursive Makefile. `make help` lists the targets.
#   CC=clang            builds with clang
#   SAN=address,undefined | SAN=thread   instruments everything, into its own build folder
#   V=1                 shows the commands

CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
SAN ?=
comma := ,
BUILD ?= build/$(notdir $(CC))$(if $(SAN),-$(subst $(comma),-,$(SAN)))
prefix ?= /usr/local
bindir ?= $(prefix)/bin
datadir ?= $(prefix)/share/rushes
DESTDIR ?=
Q := $(if $(V),,@)

PKGS := libevent_core libevent_pthreads openssl libpq hiredis libcurl jansson libsodium libisal libseccomp expat zlib
AVPKGS := libavformat libavcodec libavfilter libswscale libswresample libavutil
CPPFLAGS += -D_GNU_SOURCE -Ilibcommon -DRUSHES_DATADIR='"$(datadir)"' $(shell pkg-config --cflags $(PKGS) $(AVPKGS))
# hidden symbols: a function of ours never takes the place of a library's function of the same name
HARDEN := -fPIE -fvisibility=hidden -fstack-protector-strong -fstack-clash-protection -fcf-protection $(if $(SAN),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wundef \
	-Wformat=2 -Wwrite-strings -Wimplicit-fallthrough
OPT ?= $(if $(SAN),-O1,-O2)
CFLAGS += -std=gnu17 $(OPT) -g $(WARN) $(HARDEN) $(if $(SAN),-fsanitize=$(SAN) -DRUSHES_SANITIZED -fno-omit-frame-pointer -fno-sanitize-recover=all)
LDFLAGS += -pie -Wl,-z,relro,-z,now,-z,noexecstack $(if $(SAN),-fsanitize=$(SAN))
LIBS := $(shell pkg-config --libs $(PKGS)) -lnats -lhttp_parser -lpthread
AVLIBS := $(shell pkg-config --libs $(AVPKGS)) -lm

COMMON_SRC := $(sort $(wildcard libcommon/*/*.c))
COMMON_OBJ := $(COMMON_SRC:%.c=$(BUILD)/%.o)
COMMON_LIB := $(BUILD)/libcommon.a

# service folder → binary; the operator's tool is rushesctl
SERVICES := ingest linkgen transcoder storage-pusher janitor ctl
bin_of = $(if $(filter ctl,$(1)),rushesctl,rushes-$(1))
BINARIES := $(foreach s,$(SERVICES),$(if $(wildcard services/$(s)/main.c),$(BUILD)/bin/$(call bin_of,$(s))))

UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
UNIT_BIN := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/tests/%)
INTEGRATION_SRC := $(sort $(wildcard tests/integration/test_*.c tests/integration/*_probe.c))
INTEGRATION_BIN := $(INTEGRATION_SRC:tests/integration/%.c=$(BUILD)/tests/integration/%)

.PHONY: outage-ingest chaos-deletion fuzz fuzz-build fuzz-replay print-cppflags kill9 chaos chaos-ingest simulation all test unit integration-build lint format install clean help bench-build bench-ingest bench-janitor bench-soak
.DEFAULT_GOAL := all
.SECONDARY:

all: $(BINARIES) ## build every service and rushesctl

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC  $<")
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(COMMON_LIB): $(COMMON_OBJ)
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)ar rcs $@ $^

define service_rules
$(BUILD)/bin/$(call bin_of,$(1)): $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard services/$(1)/*.c))) $(COMMON_LIB)
	@mkdir -p $$(@D)
	$$(if $$(Q),@echo "  LD  $$@")
	$$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $$@ $$^ $(if $(filter transcoder,$(1)),$(AVLIBS)) $(LIBS)
endef
$(foreach s,$(SERVICES),$(eval $(call service_rules,$(s))))

# A unit test may name further sources it needs in a first-line comment: /* with: services/transcoder/timeline.c */
# (patterns too; main.c is never meant)
test_extra = $(patsubst %.c,$(BUILD)/%.o,$(filter-out %/main.c,$(wildcard $(shell sed -n '1s|^/\* with: \(.*\) \*/.*|\1|p' $(1)))))

define test_rules
$(2): $(patsubst %.c,$(BUILD)/%.o,$(1)) $(call test_extra,$(1)) $(COMMON_LIB)
	@mkdir -p $$(@D)
	$$(if $$(Q),@echo "  LD  $$@")
	$$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $$@ $$^ $(AVLIBS) $(LIBS) -lcmocka
endef
$(foreach t,$(UNIT_SRC),$(eval $(call test_rules,$(t),$(t:tests/unit/%.c=$(BUILD)/tests/%))))
$(foreach t,$(INTEGRATION_SRC),$(eval $(call test_rules,$(t),$(t:tests/integration/%.c=$(BUILD)/tests/integration/%))))

unit: $(UNIT_BIN) ## build and run the unit tests
	@scripts/run-unit $(UNIT_BIN)

# preloaded into services by tests
DISK_SHIM := $(BUILD)/tests/lib/disk_shim.so
$(DISK_SHIM): tests/lib/disk_shim.c
	@mkdir -p $(@D)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) -std=gnu17 -O2 -g $(WARN) -D_GNU_SOURCE -fPIC -shared -fvisibility=hidden -o $@ $< -ldl -lpthread

integration-build: $(INTEGRATION_BIN) $(DISK_SHIM) all ## build what the integration tests start

# libFuzzer needs clang and its own instrumentation of everything, so the objects lie apart
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BIN := $(FUZZ_SRC:tests/fuzz/%.c=build/fuzz/%)
FUZZ_FLAGS := -std=gnu17 -O1 -g $(WARN) -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all

build/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC  $<")
	$(Q)clang $(CPPFLAGS) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

build/fuzz/libcommon.a: $(COMMON_SRC:%.c=build/fuzz/obj/%.o)
	@rm -f $@
	$(Q)ar rcs $@ $^

fuzz_extra = $(patsubst $(BUILD)/%,build/fuzz/obj/%,$(call test_extra,$(1)))

define fuzz_rules
$(2): $(patsubst %.c,build/fuzz/obj/%.o,$(1)) $(call fuzz_extra,$(1)) build/fuzz/libcommon.a
	$$(if $$(Q),@echo "  LD  $$@")
	$$(Q)clang $(FUZZ_FLAGS) -fsanitize=fuzzer -o $$@ $$^ $(LIBS)
endef
$(foreach t,$(FUZZ_SRC),$(eval $(call fuzz_rules,$(t),$(t:tests/fuzz/%.c=build/fuzz/%))))

fuzz-build: $(FUZZ_BIN) ## build the fuzz targets into build/fuzz

FUZZ_SECONDS ?= 60
JOBS ?= 1
fuzz: fuzz-build ## fuzz each parser of hostile bytes, FUZZ_SECONDS=60 [FUZZ="NAME..."] [JOBS=1]
	@scripts/fuzz --seconds $(FUZZ_SECONDS) --jobs $(JOBS) --only "$(FUZZ)" $(FUZZ_BIN)

# The seeds alone need no coverage: the objects of CC=clang SAN=address,undefined serve, linked with libFuzzer's driver.
REPLAY_BIN := $(FUZZ_SRC:tests/fuzz/%.c=$(BUILD)/replay/%)

define replay_rules
$(2): $(patsubst %.c,$(BUILD)/%.o,$(1)) $(call test_extra,$(1)) $(COMMON_LIB)
	@mkdir -p $$(@D)
	$$(if $$(Q),@echo "  LD  $$@")
	$$(Q)clang $(CFLAGS) $(LDFLAGS) -fsanitize=fuzzer -o $$@ $$^ $(LIBS)
endef
$(foreach t,$(FUZZ_SRC),$(eval $(call replay_rules,$(t),$(t:tests/fuzz/%.c=$(BUILD)/replay/%))))

fuzz-replay: $(REPLAY_BIN) ## run the seeds of the fuzz targets once; with CC=clang SAN=address,undefined
	@scripts/fuzz --replay $(REPLAY_BIN)

# The programs of the benchmarks share nothing with what they measure.
BENCH_BIN := build/bench/load build/bench/floor

build/bench/load: $(wildcard tests/bench/load/*.c tests/bench/load/*.h)
	@mkdir -p $(@D)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu17 -O2 -g $(WARN) -o $@ $(filter %.c,$^) -lssl -lcrypto -lz

build/bench/floor: tests/bench/floor.c
	@mkdir -p $(@D)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu17 -O2 -g $(WARN) -o $@ $^ -lcrypto -lisal

bench-build: $(BENCH_BIN) ## build the load program and the floor of the benchmarks into build/bench

bench-ingest: ## cost of receiving beside nginx, @tus/server and the floor; BENCH="OPTIONS", BENCH=--help
	@scripts/bench ingest $(BENCH)

bench-janitor: all ## cost of deletion in tables of SMALL=1000000 and ROWS=10000000 recordings, STEP=load|measure|remove; 40 GB of disk
	@SMALL=$(SMALL) ROWS=$(ROWS) CONNECTIONS=$(CONNECTIONS) node tests/bench/janitor.mjs $(STEP)

bench-soak: ## memory of ingest under a mixed load, 10 minutes; BENCH="--minutes N"
	@scripts/bench soak $(BENCH)

test: ## run every suite, as CI does
	@scripts/test

TIMES ?= 20
kill9: all ## kill every service in mid-recording, TIMES=20 times
	@KILL9_TIMES=$(TIMES) node --test --test-reporter=spec tests/e2e/kill9.test.mjs

chaos: all ## kill services and servers at random under load, CHAOS_RECORDINGS=30 CHAOS_KILLS=20 CHAOS_SEED=1
	@node tests/chaos/pipeline.mjs

chaos-deletion: all ## kill services in the middle of deletions, KILLS=200 RECORDINGS=60 SEED=1
	@node tests/chaos/deletion.mjs

chaos-ingest: all ## kill ingest nodes under many recordings, RECORDINGS=1000 KILLS=100 SEED=1 PARALLEL=24 NODES=2
	@node tests/chaos/ingest.mjs

outage-ingest: all ## let PostgreSQL, NATS and Redis stand still under takes that run, end and begin, OUTAGE_S=120 TAKES=24 SEED=1
	@node tests/chaos/outage.mjs

simulation: all ## years of retention against a model of its rules, SEED=1 YEARS=10 RECORDINGS=2000 WORKERS=1
	@SEED=$(SEED) YEARS=$(YEARS) RECORDINGS=$(RECORDINGS) WORKERS=$(WORKERS) node tests/simulation/retention.mjs

lint: ## formatting, layers, cppcheck, clang-tidy, shellcheck
	@scripts/lint

format: ## apply clang-format
	@clang-format-14 -i $$(git ls-files '*.c' '*.h')

install: all ## install under DESTDIR/prefix
	install -d $(DESTDIR)$(bindir) $(DESTDIR)$(datadir)/schema $(DESTDIR)$(datadir)/recorder
	install -m 755 $(BINARIES) $(DESTDIR)$(bindir)
	install -m 644 deploy/schema/*.sql $(DESTDIR)$(datadir)/schema
	install -m 644 services/linkgen/recorder/* $(DESTDIR)$(datadir)/recorder

print-cppflags:
	$(info $(CPPFLAGS))
	@:

clean: ## remove what was built
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

-include $(COMMON_OBJ:.o=.d) $(patsubst %.c,$(BUILD)/%.d,$(wildcard services/*/*.c tests/unit/*.c tests/integration/*.c tests/fuzz/*.c))
-include $(COMMON_SRC:%.c=build/fuzz/obj/%.d) $(FUZZ_SRC:%.c=build/fuzz/obj/%.d)
