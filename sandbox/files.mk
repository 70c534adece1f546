# SPDX-License-Identifier: Apache-2.0
# The filters are made from the table by a program that runs where postern is built.
HOSTCC ?= cc

ifeq ($(CONFIG_SANDBOX),y)
obj-y += sandbox.o filter.o filters.o landlock.o privileges.o
else
obj-y += absent.o
endif

$(O)/sandbox/generate: sandbox/generate.c sandbox/table.h sandbox/internal.h $(O)/include/config.h
	$(say) HOSTCC $<
	$(Q)mkdir -p $(@D)
	$(Q)$(HOSTCC) -std=gnu17 -D_GNU_SOURCE -I. -Iinclude -I$(O)/include -Wall -Wextra -Werror -O1 -o $@ $< -lseccomp

$(O)/sandbox/filters.c: $(O)/sandbox/generate
	$(say) GEN $@
	$(Q)$< >$@.new && mv $@.new $@

$(O)/sandbox/filters.o: $(O)/sandbox/filters.c
	$(say) CC $<
	$(Q)$(CC) $(POSTERN_CFLAGS) $(CFLAGS) -c -o $@ $<
