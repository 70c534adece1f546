# SPDX-License-Identifier: Apache-2.0
#
# make                     build $(O)/postern with the configuration in $(O)/.config
# make NAME_defconfig      start from configs/NAME_defconfig
# make menuconfig          change the configuration
# make check-fast          unit, payload and conformance tests, fuzz corpora, with the present build
# make check               everything; sets this machine up first
# make check-long          the same, each test in its longest form (hours)
# make fuzz TARGET=name    fuzz one target until it is stopped
# make demo                boot a microVM with an assigned NVMe disk behind a vIOMMU
# make bench               benchmarks against peers
# make sizes               size, memory and start time of each profile
# make install             DESTDIR= and prefix= as usual
#
# O=DIR builds elsewhere; V=1 shows commands; SAN=address,undefined or SAN=thread instruments.

O      ?= build
prefix ?= /usr/local
CC     ?= cc
AR     ?= ar
VERSION := 0.1.0

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-7s %s\n'
endif

export O

components := common sandbox iommufd guest devices/legacy devices/virtio devices/vfio devices/amd_iommu devices/test vmm

.PHONY: all
all: $(O)/postern

# ---- configuration -------------------------------------------------------------------------

configless := %_defconfig clean distclean help install-packages tags format
goals := $(or $(MAKECMDGOALS),all)
ifneq ($(filter-out $(configless),$(goals)),)
include $(O)/.config
endif

# Not exported: a kernel that the tests build would take it for its own.
kconfig = KCONFIG_CONFIG=$(O)/.config

# What Kconfig has come to ask since the file was made gets its default.
$(O)/.config: Kconfig | $(O)/.packages
	$(Q)mkdir -p $(O)
	$(say) CONF $(if $(wildcard $@),$@,configs/default_defconfig)
	$(Q)$(kconfig) kconfig-conf $(if $(wildcard $@),--olddefconfig,--defconfig=configs/default_defconfig) \
		Kconfig >/dev/null
	$(Q)touch $@

%_defconfig: configs/%_defconfig $(O)/.packages
	$(Q)mkdir -p $(O)
	$(Q)$(kconfig) kconfig-conf --defconfig=$< Kconfig >/dev/null
	$(say) CONF $<

.PHONY: menuconfig oldconfig savedefconfig
menuconfig:
	$(Q)$(kconfig) kconfig-mconf Kconfig
oldconfig:
	$(Q)$(kconfig) kconfig-conf --oldconfig Kconfig
savedefconfig:
	$(Q)$(kconfig) kconfig-conf --savedefconfig=$(O)/defconfig Kconfig

# What the build and the tests need from Debian; installs it when run as root.
$(O)/.packages: packages.debian scripts/packages
	$(Q)mkdir -p $(O)
	$(Q)scripts/packages packages.debian
	$(Q)touch $@

.PHONY: install-packages
install-packages: $(O)/.packages

$(O)/include/config.h: $(O)/.config
	$(Q)mkdir -p $(@D)
	$(Q)sed -n -e 's/^\(CONFIG_[A-Z0-9_]*\)=y$$/#define \1 1/p' \
		-e 's/^\(CONFIG_[A-Z0-9_]*\)=\([^y].*\)$$/#define \1 \2/p' $< >$@.new
	$(Q)printf '#define POSTERN_VERSION "%s"\n' '$(VERSION)' >>$@.new
	$(Q)cmp -s $@.new $@ && rm $@.new || mv $@.new $@

# ---- flags ---------------------------------------------------------------------------------

WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	-Wimplicit-fallthrough -Wpointer-arith -Wcast-align -Wundef -Wwrite-strings -Wformat=2 \
	-Wsizeof-array-div
IS_CLANG := $(findstring clang,$(shell $(CC) --version 2>/dev/null))
ifeq ($(IS_CLANG),)
WARN += -Wmaybe-uninitialized -Wlogical-op -Wduplicated-cond
endif

# Unwinding tables are for exceptions; -g has its own for debuggers.
CFLAGS ?= $(if $(CONFIG_OPTIMIZE_SIZE),-Os -fno-asynchronous-unwind-tables -fno-unwind-tables,-O2) -g
POSTERN_CFLAGS := -std=gnu17 -D_GNU_SOURCE -I. -Iinclude -I$(O)/include $(WARN) -fno-strict-aliasing \
	-fstack-protector-strong -ffunction-sections -fdata-sections -pthread \
	-ffile-prefix-map=$(CURDIR)=. -ffile-prefix-map=$(O)=build
POSTERN_LDFLAGS := -pthread -Wl,--gc-sections
ifneq ($(SAN),)
POSTERN_CFLAGS += -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all
POSTERN_LDFLAGS += -fsanitize=$(SAN)
else ifeq ($(CONFIG_STATIC),y)
POSTERN_LDFLAGS += -static
endif
LIBS := -luring -lfdt
LIBS += $(if $(CONFIG_KERNEL_GZIP),-lz) $(if $(CONFIG_KERNEL_XZ),-llzma)
LIBS += $(if $(CONFIG_KERNEL_ZSTD),-lzstd) $(if $(CONFIG_KERNEL_LZ4),-llz4)

# musl's headers do not bring the kernel's, and the libraries' stand among the other C library's.
ifeq ($(CONFIG_MUSL),y)
CC := musl-gcc
# As they are named there: gcc would name the longer of a link and its target by the shorter.
POSTERN_CFLAGS += -isystem $(O)/include/musl -fno-canonical-system-headers
LIBS := /usr/lib/x86_64-linux-gnu/liburing.a /usr/lib/x86_64-linux-gnu/libfdt.a
POSTERN_LDFLAGS += -no-pie
libc_headers := $(O)/include/musl/.made
$(libc_headers):
	$(Q)mkdir -p $(@D)
	$(Q)for h in linux asm-generic video liburing liburing.h libfdt.h libfdt_env.h fdt.h; do \
		ln -sfn /usr/include/$$h $(@D)/$$h || exit 1; \
	done
	$(Q)ln -sfn /usr/include/x86_64-linux-gnu/asm $(@D)/asm
	$(Q)touch $@
endif

# ---- components: each a static library -----------------------------------------------------

all_objs :=
define component
obj-y :=
include $(1)/files.mk
objs_$(1) := $$(addprefix $(O)/$(1)/,$$(obj-y))
lib_$(1) := $(O)/lib/lib$$(subst /,_,$(1)).a
all_objs += $$(objs_$(1))
libs += $$(lib_$(1))
$$(lib_$(1)): $$(objs_$(1))
	$$(say) AR $$@
	$$(Q)mkdir -p $$(@D)
	$$(Q)rm -f $$@ && $$(AR) rcs $$@ $$(objs_$(1))
endef
libs :=
$(foreach c,$(components),$(eval $(call component,$(c))))

$(O)/%.o: %.c $(O)/include/config.h | $(libc_headers)
	$(say) CC $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(POSTERN_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

whole = -Wl,--whole-archive $(libs) -Wl,--no-whole-archive

$(O)/postern: $(O)/vmm/main.o $(libs)
	$(say) LD $@
	$(Q)$(CC) $(POSTERN_LDFLAGS) $(LDFLAGS) -o $@ $(O)/vmm/main.o $(whole) $(LIBS)

# ---- iommufd as a library by itself -----------------------------------------------------------
# One object in which only the names of the public headers are left, and these headers.

iommufd_headers := iommufd/iommufd.h iommufd/uapi.h iommufd/amd/engine.h \
	$(addprefix include/postern/,bits.h dma_space.h guest_memory.h log.h msi_sink.h)
iommufd_names := iommufd_* amd_iommu_* log_* dma_*

$(O)/lib/libpostern-iommufd.a: $(objs_iommufd) $(O)/common/log.o $(O)/common/dma_space.o
	$(say) AR $@
	$(Q)mkdir -p $(@D)
	$(Q)ld -r -o $(@:.a=.o) $^
	$(Q)objcopy -w $(patsubst %,--keep-global-symbol='%',$(iommufd_names)) $(@:.a=.o)
	$(Q)rm -f $@ && $(AR) rcs $@ $(@:.a=.o)

# ---- tests ---------------------------------------------------------------------------------
# tests/unit/test_*.c: Criterion programs, each linked with every component. Criterion finds its
# tests by their section, to which nothing refers: collecting it would leave no test to run.

unit_tests := $(patsubst tests/unit/%.c,$(O)/tests/unit/%,$(wildcard tests/unit/test_*.c))

$(O)/tests/unit/%: $(O)/tests/unit/%.o $(libs)
	$(say) LD $@
	$(Q)$(CC) $(filter-out -static,$(POSTERN_LDFLAGS)) -Wl,--no-gc-sections $(LDFLAGS) -o $@ $< -Wl,--start-group $(libs) -Wl,--end-group $(LIBS) -lcriterion

.PHONY: unit-tests
unit-tests: $(unit_tests)

# tests/NAME/*.mk add payloads, conformance suites, fuzz targets and benchmarks.
-include $(sort $(wildcard tests/*/files.mk))

.PHONY: check-fast check check-long demo bench sizes
check-fast: $(O)/.packages all unit-tests $(payload_tests) $(conformance_tests) $(fuzz_programs)
	$(Q)tests/check --fast
check: $(O)/.packages
	$(Q)tests/check
check-long: $(O)/.packages
	$(Q)tests/check --long
demo: $(O)/.packages all
	$(Q)tests/machine/demo
bench: $(O)/.packages all $(bench_programs)
	$(Q)tests/bench/run

sizes: $(O)/.packages
	$(Q)O=$(O) tests/bench/profiles

# ---- the rest ------------------------------------------------------------------------------

.PHONY: install clean distclean format help
install: all $(O)/lib/libpostern-iommufd.a
	install -Dm755 $(O)/postern $(DESTDIR)$(prefix)/bin/postern
	for page in docs/man/*.scd; do \
		base=$$(basename $$page .scd); section=$${base##*.}; \
		mkdir -p $(DESTDIR)$(prefix)/share/man/man$$section && \
		scdoc <$$page >$(DESTDIR)$(prefix)/share/man/man$$section/$$base || exit 1; \
	done
	mkdir -p $(addprefix $(DESTDIR)$(prefix)/share/,bash-completion/completions \
		zsh/site-functions fish/vendor_completions.d)
	scripts/completions bash $(O)/postern >$(DESTDIR)$(prefix)/share/bash-completion/completions/postern
	scripts/completions zsh $(O)/postern >$(DESTDIR)$(prefix)/share/zsh/site-functions/_postern
	scripts/completions fish $(O)/postern >$(DESTDIR)$(prefix)/share/fish/vendor_completions.d/postern.fish
	for f in configs/machines/*.dts; do \
		install -Dm644 $$f $(DESTDIR)$(prefix)/share/postern/machines/$$(basename $$f) || exit 1; \
	done
	install -Dm644 $(O)/lib/libpostern-iommufd.a $(DESTDIR)$(prefix)/lib/libpostern-iommufd.a
	for f in $(iommufd_headers); do \
		install -Dm644 $$f $(DESTDIR)$(prefix)/include/postern-iommufd/$${f#include/} || exit 1; \
	done
	mkdir -p $(DESTDIR)$(prefix)/lib/pkgconfig
	sed -e 's|@prefix@|$(prefix)|' -e 's|@version@|$(VERSION)|' iommufd/postern-iommufd.pc.in \
		>$(DESTDIR)$(prefix)/lib/pkgconfig/postern-iommufd.pc
	install -Dm644 docs/examples/iommufd-map.c \
		$(DESTDIR)$(prefix)/share/doc/postern/examples/iommufd-map.c
	for f in docs/examples/systemd/postern@.*; do \
		install -Dm644 $$f $(DESTDIR)$(prefix)/share/doc/postern/examples/systemd/$$(basename $$f) || exit 1; \
	done
	install -Dm644 LICENSE $(DESTDIR)$(prefix)/share/doc/postern/LICENSE

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf $(O)/common $(O)/iommufd $(O)/guest $(O)/devices $(O)/vmm $(O)/tests $(O)/lib $(O)/postern
distclean:
	rm -rf $(O)

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

-include $(all_objs:.o=.d) $(O)/vmm/main.d $(unit_tests:=.d)
