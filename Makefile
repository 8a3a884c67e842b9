# execd and execd-server: the whole build.
#
# `make help` lists the targets. A target's help line is the text behind its `##`.
#
# Knobs (command line or environment):
#   V=1                      show the commands
#   DEBUG=1                  -O0 -g3, no fortify; products in build/debug/
#   SAN=address,undefined    sanitizer build (dynamic); products in build/san-address-undefined/
#   CC, CXX, CLANG           compilers (gcc, g++; clang builds the fuzzers)
#   PREFIX, DESTDIR          where `make install` puts things (/usr/local)
#   BUILD, DEPS              product folder (build) and prepared dependencies ($(BUILD)/deps)
#   VERSION                  version text (default: from git)
#
# How it is put together: every .c below proto/, execd/ and server/ is found, compiled once per
# flavour into build/obj/<flavour>/, and archived as libproto.a, libexecd.a, libserver.a. The two
# programs, every unit test and every fuzzer link those archives. Adding a file needs no change here.

MAKEFLAGS += --no-builtin-rules --no-builtin-variables
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDEXPANSION:
.DEFAULT_GOAL := all
SHELL := /bin/sh

BUILD   ?= build
DEPS    ?= $(BUILD)/deps
PREFIX  ?= /usr/local
DESTDIR ?=
CC      := $(if $(filter undefined default,$(origin CC)),gcc,$(CC))
CXX     := $(if $(filter undefined default,$(origin CXX)),g++,$(CXX))
CLANG   ?= clang
AR      := $(if $(filter undefined default,$(origin AR)),ar,$(AR))
VERSION ?= $(or $(file <.version),$(shell git describe --tags --always --dirty 2>/dev/null),unknown)

# ---- how it looks ------------------------------------------------------------------------------

comma := ,
Q     := $(if $(V),,@)
ifeq ($(V)$(NO_COLOR),)
  say = @printf '  \033[34m%-6s\033[0m %s\n' '$(1)' '$(2)'
else ifeq ($(V),)
  say = @printf '  %-6s %s\n' '$(1)' '$(2)'
else
  say = @:
endif

# $(call persist,FILE,TEXT): recipe that rewrites FILE only when TEXT changed. What depends on FILE
# is rebuilt when flags, member lists or the version change, and only then.
persist = @printf '%s\n' '$(subst ','\'',$(2))' | cmp -s - $(1) || printf '%s\n' '$(subst ','\'',$(2))' >$(1)

# ---- flavours: the same sources under different flags ------------------------------------------

SAN   ?=
DEBUG ?=
FLAVOUR := $(if $(SAN),san-$(subst $(comma),-,$(SAN)),$(if $(DEBUG),debug,release))
# Unit tests always run under both sanitizers; fuzzers need clang.
TEST_FLAVOUR := san-address-undefined
FUZZ_FLAVOUR := fuzz
# Release products are build/execd and build/execd-server; other flavours never touch them.
OUT := $(BUILD)$(if $(filter-out release,$(FLAVOUR)),/$(FLAVOUR))

WARN := -Wall -Wextra -Werror -Wshadow -Wformat=2 -Wundef -Wvla -Wpointer-arith \
	-Wcast-align -Wwrite-strings \
	-Wimplicit-fallthrough -Wconversion
WARN_C := -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition
WARN_GCC := -Wlogical-op -Wduplicated-cond -Wno-missing-field-initializers
# Generated and foreign code: compiled as it is.
WARN_FOREIGN := -w

HARDEN := -D_FORTIFY_SOURCE=3 -fstack-protector-strong $(if $(findstring x86_64,$(shell uname -m)),-fcf-protection)
HARDEN_GCC := -ftrivial-auto-var-init=zero -fstack-clash-protection
HARDEN_LD := -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--gc-sections

BASE := -D_GNU_SOURCE -I. -isystem $(DEPS)/include -fPIE -g -fno-strict-aliasing -fvisibility=hidden \
	-ffunction-sections -fdata-sections -ffile-prefix-map=$(CURDIR)=.
STD_C   := -std=gnu17
STD_CXX := -std=c++17 -fno-rtti

# $(call sanitize,LIST): flags for one or more sanitizers.
sanitize = -O1 -fno-omit-frame-pointer -fsanitize=$(1) $(if $(findstring undefined,$(1)),-fno-sanitize-recover=undefined)

# Rooms that run once per request or message, or less often, are compiled for size (tests/lint/binary.py holds the budget).
SMALL_ROOMS := api code events exec files gateway harden init isolate metrics ports proc pty runcode sql worker

cc.release := $(CC)
opt.release := -O2 $(HARDEN) $(HARDEN_GCC) $(WARN_GCC)
ld.release := $(HARDEN_LD)
# Relative relocations packed (DT_RELR): 160 KB less; the C library inside reads them itself.
static.release := -static-pie -Wl,-z,pack-relative-relocs

cc.debug := $(CC)
opt.debug := -O0 -g3 -fstack-protector-strong $(WARN_GCC)
ld.debug := -Wl,--gc-sections
static.debug := -static-pie

cc.$(TEST_FLAVOUR) := $(CC)
opt.$(TEST_FLAVOUR) := $(call sanitize,address$(comma)undefined) $(WARN_GCC)
ld.$(TEST_FLAVOUR) := -fsanitize=address,undefined
static.$(TEST_FLAVOUR) := -pie

# The same sources passed gcc's warnings before; clang's differ from release to release.
cc.$(FUZZ_FLAVOUR) := $(CLANG)
opt.$(FUZZ_FLAVOUR) := $(call sanitize,address$(comma)undefined) -fsanitize=fuzzer-no-link -w
ld.$(FUZZ_FLAVOUR) := -fsanitize=fuzzer,address,undefined
static.$(FUZZ_FLAVOUR) := -pie

ifneq ($(SAN),)
cc.$(FLAVOUR) := $(CC)
opt.$(FLAVOUR) := $(call sanitize,$(SAN)) $(WARN_GCC)
ld.$(FLAVOUR) := -fsanitize=$(SAN)
static.$(FLAVOUR) := -pie
endif

FLAVOURS := $(sort $(FLAVOUR) $(TEST_FLAVOUR) $(FUZZ_FLAVOUR))

# ---- sources -----------------------------------------------------------------------------------

sources := $(shell find proto execd server \( -name '*.c' -o -name '*.cc' \) 2>/dev/null | LC_ALL=C sort)
mains   := execd/main.c server/main.c
members  = $(filter-out $(mains),$(filter $(1)/%,$(sources)))
headers := $(shell find proto execd server -name '*.h' 2>/dev/null)
llhttp  := api http llhttp

unit_sources := $(shell find tests/unit -name 'test_*.c' 2>/dev/null | LC_ALL=C sort)
unit_support := $(wildcard tests/unit/support/*.c)
unit_tests   := $(unit_sources:tests/%.c=$(BUILD)/%)
fuzz_sources := $(wildcard tests/fuzz/fuzz_*.c)
fuzzers      := $(fuzz_sources:tests/fuzz/%.c=$(BUILD)/fuzz/%)

# What a program needs beside our archives.
libs_proto  := -levent_core -levent_extra -ljansson -lnettle
libs_execd  := $(DEPS)/lib/libzmq.a $(libs_proto) -lseccomp -lcap -lpthread
libs_server := $(libs_proto) -levent_openssl -lssl -lcrypto -lsqlite3 -lseccomp -lcap -lcurl -lpthread

programs := $(if $(wildcard execd/main.c),$(OUT)/execd) $(if $(wildcard server/main.c),$(OUT)/execd-server)

# Built by `all` even where a program has no main.c.
archives := $(patsubst %,$(BUILD)/obj/$(FLAVOUR)/lib%.a,proto execd server)

.PHONY: all setup deps demo test check lint soak bench images install uninstall dist fmt fuzz unit fuzzers fault clean help FORCE

all: $(programs) $(archives) $(if $(filter release,$(FLAVOUR)),compile_commands.json) ## Build both programs (the default)

# ---- what must be there before compiling -------------------------------------------------------
#
# A stamp carries the checksum of the recipe that made it, so a changed recipe is a missing stamp,
# and checkouts that share one DEPS folder do not rebuild each other's.

setup_dir := deploy/setup
sum = $(firstword $(shell cat $(1) | cksum))
zmq_stamp      := $(DEPS)/.libzmq-$(call sum,$(setup_dir)/build-libzmq)
llhttp_stamp   := $(DEPS)/.llhttp-$(call sum,$(setup_dir)/fetch-llhttp)
prometheus_stamp := $(DEPS)/.prometheus-$(call sum,$(setup_dir)/fetch-prometheus)
mariadb_stamp  := $(DEPS)/.mariadb-$(call sum,$(setup_dir)/fetch-mariadb)
docker_stamp   := $(DEPS)/.docker-$(call sum,$(setup_dir)/fetch-docker)
ipykernel_stamp := $(DEPS)/.ipykernel-$(call sum,$(setup_dir)/fetch-debian-ipykernel)
packages_sum   := $(call sum,$(setup_dir)/packages)
venv_stamp     := $(BUILD)/venv/.requirements-$(call sum,tests/requirements.txt)
js_stamp       := $(BUILD)/js/.sdk-$(call sum,$(setup_dir)/fetch-js-sdk tests/conformance/js/package-lock.json)
java_stamp     := $(BUILD)/java/.sdk-$(call sum,$(setup_dir)/fetch-java-sdk tests/conformance/java/pom.xml tests/conformance/java/jars.sha256)
deps_stamps    := $(zmq_stamp) $(llhttp_stamp)

# Only the targets that promise to install do so; the others name what is missing.
installs := $(filter setup demo test soak bench images,$(MAKECMDGOALS))

$(BUILD)/.packages-%-$(packages_sum): | $(BUILD)/
	$(Q)$(setup_dir)/install-packages $(if $(installs),,--check) $*
	$(Q)touch $@
# apt serves one caller at a time.
$(BUILD)/.packages-test-$(packages_sum) $(BUILD)/.packages-image-$(packages_sum): | $(BUILD)/.packages-build-$(packages_sum)
$(BUILD)/.packages-test-$(packages_sum): | $(if $(installs),$(BUILD)/.packages-image-$(packages_sum))
$(BUILD)/.packages-java-$(packages_sum): | $(BUILD)/.packages-test-$(packages_sum)

$(deps_stamps) $(prometheus_stamp) $(mariadb_stamp) $(docker_stamp) $(ipykernel_stamp): | $(BUILD)/.packages-build-$(packages_sum) $(DEPS)/
$(zmq_stamp):
	$(call say,SETUP,libzmq)
	$(Q)$(setup_dir)/build-libzmq $(DEPS) >$(DEPS)/libzmq.log 2>&1 || { tail -30 $(DEPS)/libzmq.log; exit 1; }
	$(Q)touch $@
$(llhttp_stamp):
	$(call say,SETUP,llhttp)
	$(Q)$(setup_dir)/fetch-llhttp $(DEPS) >$(DEPS)/llhttp.log 2>&1 || { tail -30 $(DEPS)/llhttp.log; exit 1; }
	$(Q)touch $@
$(prometheus_stamp):
	$(call say,SETUP,prometheus)
	$(Q)$(setup_dir)/fetch-prometheus $(DEPS) >$(DEPS)/prometheus.log 2>&1 || { tail -30 $(DEPS)/prometheus.log; exit 1; }
	$(Q)touch $@
$(mariadb_stamp):
	$(call say,SETUP,mariadb)
	$(Q)$(setup_dir)/fetch-mariadb $(DEPS) >$(DEPS)/mariadb.log 2>&1 || { tail -30 $(DEPS)/mariadb.log; exit 1; }
	$(Q)touch $@
$(docker_stamp):
	$(call say,SETUP,docker)
	$(Q)$(setup_dir)/fetch-docker $(DEPS) >$(DEPS)/docker.log 2>&1 || { tail -30 $(DEPS)/docker.log; exit 1; }
	$(Q)touch $@
$(ipykernel_stamp):
	$(call say,SETUP,ipykernel of Debian)
	$(Q)$(setup_dir)/fetch-debian-ipykernel $(DEPS) >$(DEPS)/ipykernel.log 2>&1 || { tail -30 $(DEPS)/ipykernel.log; exit 1; }
	$(Q)touch $@
$(venv_stamp): | $(BUILD)/.packages-test-$(packages_sum)
	$(call say,SETUP,$(BUILD)/venv)
	$(Q)rm -rf $(BUILD)/venv && python3 -m venv $(BUILD)/venv
	$(Q)$(BUILD)/venv/bin/pip install -q --disable-pip-version-check -r tests/requirements.txt
	$(Q)touch $@

$(js_stamp): | $(BUILD)/js/
	$(call say,SETUP,$(BUILD)/js)
	$(Q)$(setup_dir)/fetch-js-sdk $(BUILD)/js >$(BUILD)/js/log 2>&1 || { tail -30 $(BUILD)/js/log; exit 1; }
	$(Q)touch $@

$(java_stamp): | $(BUILD)/java/ $(BUILD)/.packages-java-$(packages_sum)
	$(call say,SETUP,$(BUILD)/java)
	$(Q)$(setup_dir)/fetch-java-sdk $(BUILD)/java >$(BUILD)/java/log 2>&1 || { tail -30 $(BUILD)/java/log; exit 1; }
	$(Q)touch $@

deps: $(deps_stamps) ## Prepare libzmq and llhttp below build/deps
setup: $(foreach g,build image test java,$(BUILD)/.packages-$(g)-$(packages_sum)) $(deps_stamps) $(prometheus_stamp) $(mariadb_stamp) $(docker_stamp) $(ipykernel_stamp) $(venv_stamp) $(js_stamp) $(java_stamp) ## Install missing Debian packages, prepare dependencies and the test environment

# ---- rules of one flavour ----------------------------------------------------------------------

define flavour_rules
obj.$(1) := $(BUILD)/obj/$(1)
cflags.$(1) := $$(STD_C) $$(BASE) $$(WARN) $$(WARN_C) $$(opt.$(1))
cxxflags.$(1) := $$(STD_CXX) $$(BASE) $$(filter-out -Wpedantic,$$(WARN)) $$(filter-out -Wformat-signedness,$$(opt.$(1)))
cxx.$(1) := $$(if $$(findstring clang,$$(cc.$(1))),$$(CLANG)++,$$(CXX))
objects.$(1) := $$(patsubst %,$$(obj.$(1))/%.o,$$(basename $$(sources) $$(unit_support) $$(unit_sources) $$(fuzz_sources))) \
	$$(llhttp:%=$$(obj.$(1))/llhttp/%.o)

$$(obj.$(1))/.flags: FORCE | $$(obj.$(1))/
	$$(call persist,$$@,$$(cc.$(1)) $$(cflags.$(1)) $$(cxx.$(1)) $$(cxxflags.$(1)) small: $$(SMALL_ROOMS))

$$(objects.$(1)): $$(obj.$(1))/.flags $$(deps_stamps) | $$$$(@D)/

$$(obj.$(1))/%.o: %.c
	$$(call say,CC,$$<)
	$$(Q)$$(cc.$(1)) $$(cflags.$(1)) $$(extra_cflags) -MMD -MP -c -o $$@ $$<

$$(filter $$(addsuffix /%,$$(SMALL_ROOMS:%=$$(obj.$(1))/execd/%)),$$(objects.$(1))): extra_cflags := $$(if $$(filter release,$(1)),-Os)
$$(obj.$(1))/execd/sql/process.o: execd/sql/sqlite.py # taken in whole
$$(obj.$(1))/execd/code/zygote.o: execd/code/control.py execd/code/checkpoint.py execd/code/zygote.py # taken in whole

$$(obj.$(1))/%.o: %.cc
	$$(call say,CXX,$$<)
	$$(Q)$$(cxx.$(1)) $$(cxxflags.$(1)) -MMD -MP -c -o $$@ $$<

$$(obj.$(1))/llhttp/%.o:
	$$(call say,CC,llhttp/$$*.c)
	$$(Q)$$(cc.$(1)) $$(filter-out -W% -Wl%,$$(cflags.$(1))) $$(WARN_FOREIGN) -DLLHTTP_STRICT_MODE=1 -c -o $$@ $(DEPS)/llhttp/$$*.c

$$(obj.$(1))/proto/base/version.o: extra_cflags := -DEXECD_VERSION='"$$(VERSION)"'
$$(obj.$(1))/proto/base/version.o: $(BUILD)/.version

$(foreach lib,proto execd server support,
$$(obj.$(1))/lib$(lib).a: $$(call archive_members,$(lib),$(1)) $$(obj.$(1))/.members-$(lib)
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && $$(AR) rcsD $$@ $$(call archive_members,$(lib),$(1))
$$(obj.$(1))/.members-$(lib): FORCE | $$(obj.$(1))/
	$$(call persist,$$@,$$(call archive_members,$(lib),$(1)))
)
-include $$(wildcard $$(objects.$(1):.o=.d))
endef

archive_members = $(patsubst %,$(obj.$(2))/%.o,$(basename $(if $(filter support,$(1)),$(unit_support),$(call members,$(1))))) \
	$(if $(filter proto,$(1)),$(llhttp:%=$(obj.$(2))/llhttp/%.o))

$(foreach f,$(FLAVOURS),$(eval $(call flavour_rules,$(f))))

$(BUILD)/.version: FORCE | $(BUILD)/
	$(call persist,$@,$(VERSION))

%/:
	$(Q)mkdir -p $@

# ---- programs ----------------------------------------------------------------------------------
#
# The group lets archives refer to each other and makes execd's own definitions win over libc's
# (execd/harden/no_nss.c). Release binaries are stripped; build/<program>.debug has the symbols.

obj := $(obj.$(FLAVOUR))
link = $(cxx.$(1)) $(filter -f% -O% -g%,$(cflags.$(1))) $(ld.$(1))
group = -Wl,--start-group $(1) -Wl,--end-group

$(obj)/execd.bin: $(obj)/execd/main.o $(obj)/libexecd.a $(obj)/libproto.a $(zmq_stamp)
	$(call say,LINK,$@)
	$(Q)$(call link,$(FLAVOUR)) $(static.$(FLAVOUR)) -o $@ $(filter %.o,$^) $(call group,$(filter %.a,$^) $(libs_execd))

$(obj)/execd-server.bin: $(obj)/server/main.o $(obj)/libserver.a $(obj)/libproto.a
	$(call say,LINK,$@)
	$(Q)$(call link,$(FLAVOUR)) -pie -o $@ $(filter %.o,$^) $(call group,$(filter %.a,$^)) -Wl,--as-needed $(libs_server)

$(OUT)/execd $(OUT)/execd-server: $(OUT)/%: $(obj)/%.bin | $(OUT)/
ifeq ($(FLAVOUR),release)
	$(call say,STRIP,$@)
	$(Q)objcopy --only-keep-debug $< $@.debug
	$(Q)objcopy --strip-all --add-gnu-debuglink=$@.debug $< $@
else
	$(Q)ln -f $< $@
endif

# One entry per source; flags that only gcc knows are left out for clang's tools.
compile_commands.json: $(obj.release)/.flags $(obj.release)/.members-proto $(obj.release)/.members-execd $(obj.release)/.members-server
	$(call say,GEN,$@)
	$(Q){ printf '['; sep=; for file in $(sources) $(unit_sources); do \
		case $$file in *.cc) flags='$(filter-out $(WARN_GCC) $(HARDEN_GCC),$(cxxflags.release))';; \
		*) flags='$(filter-out $(WARN_GCC) $(HARDEN_GCC),$(cflags.release))';; esac; \
		printf '%s\n{"directory": "%s", "file": "%s", "command": "cc %s -c %s"}' "$$sep" '$(CURDIR)' "$$file" "$$flags" "$$file"; \
		sep=,; done; printf '\n]\n'; } >$@

# ---- tests -------------------------------------------------------------------------------------
#
# tests/unit/<component>/.../test_x.c links that component's archive and libproto. A test may include
# the .c it tests, and may ask for linker flags in a line `/* link: -Wl,--wrap=write */`.

test_obj := $(obj.$(TEST_FLAVOUR))
unit_libs.proto  := $(test_obj)/libproto.a
unit_libs.execd  := $(test_obj)/libexecd.a $(test_obj)/libproto.a
unit_libs.server := $(test_obj)/libserver.a $(test_obj)/libproto.a
component = $(word 2,$(subst /, ,$(patsubst $(BUILD)/%,%,$(1))))
wants = $$(sed -n 's,^/\* link: \(.*\) \*/$$,\1,p' $(1))

$(unit_tests): $(BUILD)/%: $(test_obj)/tests/%.o $$(unit_libs.$$(call component,$$@)) $(test_obj)/libsupport.a \
		| $$(@D)/ $(BUILD)/.packages-test-$(packages_sum)
	$(call say,LINK,$@)
	$(Q)$(call link,$(TEST_FLAVOUR)) -pie -o $@ $< $(call wants,tests/$*.c) \
		$(call group,$(filter %.a,$^)) -lcmocka $(libs_$(call component,$@))

fuzz_obj := $(obj.$(FUZZ_FLAVOUR))
$(fuzzers): $(BUILD)/fuzz/%: $(fuzz_obj)/tests/fuzz/%.o $(fuzz_obj)/libexecd.a $(fuzz_obj)/libserver.a $(fuzz_obj)/libproto.a \
		| $$(@D)/ $(BUILD)/.packages-test-$(packages_sum)
	$(call say,LINK,$@)
	$(Q)$(call link,$(FUZZ_FLAVOUR)) -pie -o $@ $< $(call group,$(filter %.a,$^)) -Wl,--as-needed $(libs_execd) $(libs_server)

# execd under the sanitizers, with the calls of tests/fault/wrap.c between it and the C library. libevent and
# jansson are linked statically so that their calls are caught too.
fault_execd := $(BUILD)/fault/execd
$(test_obj)/tests/fault/wrap.o: tests/fault/wrap.c $(test_obj)/.flags | $(test_obj)/tests/fault/
	$(call say,CC,$<)
	$(Q)$(cc.$(TEST_FLAVOUR)) $(cflags.$(TEST_FLAVOUR)) -MMD -MP -c -o $@ $<

$(fault_execd): $(test_obj)/tests/fault/wrap.o $(test_obj)/execd/main.o $(test_obj)/libexecd.a $(test_obj)/libproto.a | $(BUILD)/fault/
	$(call say,LINK,$@)
	$(Q)$(call link,$(TEST_FLAVOUR)) -pie $$(nm $< | sed -n 's/.* T __wrap_/-Wl,--wrap=/p') -o $@ $(filter %.o,$^) \
		-Wl,-Bstatic $(call group,$(filter %.a,$^) $(filter-out -lseccomp -lcap -lpthread,$(libs_execd))) \
		-Wl,-Bdynamic -lseccomp -lcap -lpthread

unit: $(unit_tests)
fuzzers: $(fuzzers)
fault: $(fault_execd)

check: $(programs) $(unit_tests) compile_commands.json ## Unit tests and the quick lint: no root, no network
	$(Q)tests/run --build $(BUILD) unit lint

lint: $(programs) compile_commands.json ## Every static check, the slow ones too (clang-tidy, cppcheck, gcc -fanalyzer)
	$(Q)tests/run --build $(BUILD) lint lint-slow

test: setup $(programs) $(unit_tests) $(fuzzers) $(fault_execd) compile_commands.json $(if $(wildcard images/build-all),images) ## Everything: set-up, build, images, unit, lint, fuzz corpora, process, integration and security tests
	$(Q)tests/run --build $(BUILD)

T ?=
S ?= 60
fuzz: $(if $(T),$(BUILD)/fuzz/fuzz_$(T),$(fuzzers)) ## Fuzz one parser: make fuzz T=name S=seconds
	$(Q)test -n '$(T)' || { echo 'usage: make fuzz T=name S=seconds; names: $(patsubst fuzz_%,%,$(notdir $(fuzzers)))'; exit 2; }
	$(Q)mkdir -p $(BUILD)/fuzz/corpus/$(T) tests/fuzz/corpus/$(T)
	$(Q)cd $(BUILD)/fuzz && ./fuzz_$(T) -max_total_time=$(S) -print_final_stats=1 corpus/$(T) $(CURDIR)/tests/fuzz/corpus/$(T)

soak: setup $(programs) $(fault_execd) ## Long runs of what `make test` does briefly: a million requests without a credential, every fault
	$(Q)SOAK=1 tests/run --build $(BUILD) fault
	$(Q)BUILD=$(abspath $(BUILD)) UNAUTHENTICATED_REQUESTS=1000000 $(BUILD)/venv/bin/python -m pytest -c tests/pytest.ini \
		--rootdir=. -q --timeout=3600 tests/integration/test_unauthenticated.py

bench: setup $(programs) images ## Measure both programs beside the physical floor of this machine
	$(Q)tests/bench/run

# ---- using it ----------------------------------------------------------------------------------

demo: setup $(programs) images ## From nothing to a sandbox that runs commands and code, narrated
	$(Q)deploy/demo

images: $(BUILD)/.packages-image-$(packages_sum) ## Build the sandbox root filesystems
	$(Q)images/build-all $(BUILD)/images

install: $(programs) ## Install both programs and an example configuration (PREFIX, DESTDIR)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/execd $(DESTDIR)$(PREFIX)/share/execd
	install -m 755 $(OUT)/execd $(DESTDIR)$(PREFIX)/libexec/execd/execd
	install -m 755 $(OUT)/execd-server $(DESTDIR)$(PREFIX)/bin/execd-server
	install -m 644 LICENSE $(wildcard deploy/config.example.toml) $(DESTDIR)$(PREFIX)/share/execd/

uninstall: ## Remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/execd-server
	rm -rf $(DESTDIR)$(PREFIX)/libexec/execd $(DESTDIR)$(PREFIX)/share/execd

dist: | $(BUILD)/ ## Pack the committed sources as build/execd-VERSION.tar.gz
	$(call say,DIST,$(BUILD)/execd-$(VERSION).tar.gz)
	$(Q)git archive --prefix=execd-$(VERSION)/ --add-virtual-file=execd-$(VERSION)/.version:$(VERSION) \
		-o $(BUILD)/execd-$(VERSION).tar.gz HEAD

fmt: ## Format every C file in place
	$(Q)git ls-files "*.[ch]" "*.cc" | xargs clang-format -i

clean: ## Remove build products, keep the prepared dependencies
	rm -rf $(BUILD)/obj $(BUILD)/unit $(BUILD)/fuzz $(BUILD)/debug $(BUILD)/san-* \
		$(BUILD)/execd $(BUILD)/execd.debug $(BUILD)/execd-server $(BUILD)/execd-server.debug compile_commands.json

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='|' read -r target text; do printf '  \033[36m%-10s\033[0m %s\n' "$$target" "$$text"; done
	@printf '\nKnobs:\n'; sed -n 's/^#   /  /p' $(firstword $(MAKEFILE_LIST))
