# SPDX-License-Identifier: Apache-2.0
bench_programs := $(O)/tests/bench/startup $(O)/tests/bench/viommu $(O)/tests/bench/iommufd $(O)/tests/bench/irq \
	$(O)/tests/bench/first.elf

$(O)/tests/bench/startup: tests/bench/startup.c
	$(say) CC $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE $(WARN) -O2 -o $@ $<

$(O)/tests/bench/viommu $(O)/tests/bench/iommufd $(O)/tests/bench/irq: %: %.o $(libs)
	$(say) LD $@
	$(Q)$(CC) $(filter-out -static,$(POSTERN_LDFLAGS)) $(LDFLAGS) -o $@ $< -Wl,--start-group $(libs) -Wl,--end-group $(LIBS)

-include $(O)/tests/bench/viommu.d $(O)/tests/bench/iommufd.d $(O)/tests/bench/irq.d

$(O)/tests/bench/first.elf: tests/bench/first.S tests/bench/first.ld
	$(say) LD $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -m32 -nostdlib -static -Wl,--build-id=none -Wl,-melf_i386 -c -o $(@:.elf=.o) $<
	$(Q)objcopy -I elf32-i386 -O elf64-x86-64 $(@:.elf=.o) $(@:.elf=.o64)
	$(Q)ld -melf_x86_64 -nostdlib --build-id=none -T tests/bench/first.ld -o $@ $(@:.elf=.o64)
