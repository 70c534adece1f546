# SPDX-License-Identifier: Apache-2.0
# Guest programs on the local /dev/kvm. Each program prints TAP; its guest is agent.S.

comma := ,
payload_dir := $(O)/tests/payload
payload_programs := $(addprefix $(payload_dir)/,test_access test_interrupts test_run)
# One a line: lists that are merged must stay whole.
payload_tests := $(payload_programs)
payload_tests += $(payload_dir)/test_assigned
payload_tests += $(payload_dir)/test_control
payload_tests += $(payload_dir)/test_cpus
payload_tests += $(payload_dir)/test_hangs
payload_tests += $(payload_dir)/test_hostile
payload_tests += $(payload_dir)/test_multiboot
payload_tests += $(payload_dir)/test_refusals
payload_tests += $(payload_dir)/test_sandbox
payload_tests += $(payload_dir)/test_service
payload_tests += $(payload_dir)/test_terminal

$(payload_dir)/agent.bin: tests/payload/agent.S tests/payload/agent.h
	$(say) AS $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -Wa,--fatal-warnings -m64 -c -o $(@:.bin=.o) $<
	$(Q)ld -m elf_x86_64 -Ttext=0x100000 -e _start -o $(@:.bin=.elf) $(@:.bin=.o)
	$(Q)objcopy -O binary -j .text $(@:.bin=.elf) $@

$(payload_dir)/image.o: tests/payload/image.S $(payload_dir)/agent.bin
	$(say) AS $<
	$(Q)$(CC) -DAGENT_BIN='"$(payload_dir)/agent.bin"' -c -o $@ $<

# The whole of guest/, so that its functions win over the harness's weak stand-ins.
payload_parts := $(payload_dir)/harness.o $(payload_dir)/image.o
$(payload_programs): %: %.o $(payload_parts) $(libs)
	$(say) LD $@
	$(Q)$(CC) $(filter-out -static,$(POSTERN_LDFLAGS)) $(LDFLAGS) -o $@ $< $(payload_parts) \
		-Wl,--whole-archive $(lib_guest) -Wl,--no-whole-archive \
		-Wl,--start-group $(libs) -Wl,--end-group $(LIBS)

# Kernels for postern itself, a hostile one among them: 32-bit code in a 64-bit ELF file, as PVH
# wants it.
payload_kernels := $(addprefix $(payload_dir)/,garbage cpus assigned)
$(payload_kernels:=.bin): $(payload_dir)/%.bin: tests/payload/%.c tests/payload/garbage.ld devices/test/dma_test_regs.h \
		tests/payload/bare.h tests/payload/bare_say.h
	$(say) CC $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -m32 -march=i686 -ffreestanding -fno-pic -fno-stack-protector -nostdlib -I. -O1 -Wall \
		-Wextra -Werror -c -o $(@:.bin=.o) $<
	$(Q)ld -m elf_i386 --no-warn-rwx-segments --build-id=none -N -T tests/payload/garbage.ld -o $(@:.bin=.elf32) $(@:.bin=.o)
	$(Q)objcopy -O binary $(@:.bin=.elf32) $@

$(payload_kernels:=.elf): %.elf: tests/payload/pvh.S %.bin
	$(say) LD $@
	$(Q)$(CC) -DPROGRAM='"$*.bin"' -c -o $(@:.elf=.pvh.o) $<
	$(Q)ld -m elf_x86_64 --no-warn-rwx-segments --build-id=none -N -Ttext=0x100000 -e _start -o $@ $(@:.elf=.pvh.o)

# Multiboot kernels, of each kind of header: ELF files, and flat ones.
multiboot := $(addprefix $(payload_dir)/,mb1.elf mb1-addresses.bin mb2.elf mb2-addresses.bin \
	mb2-moves.elf mb2-unknown.elf mb2-64.elf)
kind_mb1 := MB1
kind_mb1-addresses := MB1_ADDRESSES
kind_mb2 := MB2
kind_mb2-addresses := MB2_ADDRESSES
kind_mb2-moves := MB2_MOVES
kind_mb2-unknown := MB2_UNKNOWN
$(filter-out %-64.elf,$(multiboot:.bin=.elf)): $(payload_dir)/%.elf: tests/payload/multiboot.c tests/payload/multiboot.ld
	$(say) CC $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -m32 -march=i686 -ffreestanding -fpie -fno-stack-protector -nostdlib -O1 -Wall \
		-Wextra -Werror -DKIND=$(kind_$*) -c -o $(@:.elf=.o) $<
	$(Q)ld -m elf_i386 --no-warn-rwx-segments --build-id=none -N -T tests/payload/multiboot.ld -o $@ $(@:.elf=.o)
$(filter %.bin,$(multiboot)): %.bin: %.elf
	$(Q)objcopy -O binary $< $@
$(payload_dir)/mb2-64.elf: $(payload_dir)/mb2.elf
	$(Q)objcopy -O elf64-x86-64 $< $@

$(payload_dir)/test_multiboot: tests/payload/multiboot.sh $(multiboot) $(O)/postern
	$(Q)printf '#!/bin/sh\nO=%s exec tests/payload/multiboot.sh\n' '$(O)' >$@
	$(Q)chmod +x $@

# postern itself in front of a C library whose files hang.
hangs := open fstat event_loop_submit
$(payload_dir)/postern_hangs: $(payload_dir)/hangs.o $(O)/vmm/main.o $(libs)
	$(say) LD $@
	$(Q)$(CC) $(POSTERN_LDFLAGS) $(LDFLAGS) $(addprefix -Wl$(comma)--wrap=,$(hangs)) -o $@ \
		$(payload_dir)/hangs.o $(O)/vmm/main.o $(whole) $(LIBS)

$(payload_dir)/test_hangs: tests/payload/hangs.sh $(payload_dir)/garbage.elf $(payload_dir)/postern_hangs
	$(Q)printf '#!/bin/sh\nO=%s exec tests/payload/hangs.sh\n' '$(O)' >$@
	$(Q)chmod +x $@

$(payload_dir)/test_hostile: tests/payload/hostile.sh $(payload_dir)/garbage.elf $(O)/postern
	$(Q)printf '#!/bin/sh\nO=%s exec tests/payload/hostile.sh\n' '$(O)' >$@
	$(Q)chmod +x $@

$(payload_dir)/test_control: tests/payload/control.sh $(payload_dir)/garbage.elf $(O)/postern
	$(Q)printf '#!/bin/sh\nO=%s exec tests/payload/control.sh\n' '$(O)' >$@
	$(Q)chmod +x $@

$(payload_dir)/test_terminal: tests/payload/terminal.py $(payload_dir)/garbage.elf $(O)/postern
	$(Q)printf '#!/bin/sh\nO=%s exec tests/payload/terminal.py\n' '$(O)' >$@
	$(Q)chmod +x $@

$(payload_dir)/test_service: tests/payload/service.py $(payload_dir)/garbage.elf $(O)/postern
	$(Q)printf '#!/bin/sh\nO=%s exec tests/payload/service.py\n' '$(O)' >$@
	$(Q)chmod +x $@

$(payload_dir)/test_cpus: tests/payload/cpus.sh $(payload_dir)/cpus.elf $(O)/postern
	$(Q)printf '#!/bin/sh\nO=%s exec tests/payload/cpus.sh\n' '$(O)' >$@
	$(Q)chmod +x $@

# postern with the devices that only tests have.
payload_soft := $(filter-out $(objs_vmm),$(O)/vmm/dev_vfio_soft.o)
$(payload_dir)/postern: $(O)/vmm/main.o $(payload_soft) $(libs)
	$(say) LD $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(POSTERN_LDFLAGS) $(LDFLAGS) -o $@ $(O)/vmm/main.o $(payload_soft) $(whole) $(LIBS)

$(payload_dir)/test_assigned: tests/payload/assigned.sh $(payload_dir)/assigned.elf $(payload_dir)/postern $(O)/postern
	$(Q)printf '#!/bin/sh\nO=%s exec tests/payload/assigned.sh\n' '$(O)' >$@
	$(Q)chmod +x $@

$(payload_dir)/test_sandbox: $(payload_dir)/test_sandbox.o $(payload_dir)/garbage.elf $(O)/postern
	$(say) LD $@
	$(Q)$(CC) $(filter-out -static,$(POSTERN_LDFLAGS)) $(LDFLAGS) -o $@ $<

# The same, whose calls of the host can be refused; its own, not what the C library does for itself.
refused_calls := malloc calloc realloc reallocarray aligned_alloc strdup strndup free mmap munmap eventfd \
	memfd_create signalfd ftruncate fstat socket bind listen open fcntl ioctl pread fopen \
	pthread_create io_uring_queue_init_params iommufd_open_soft iommufd_open_soft_mode soft_vfio_new
$(payload_dir)/refusals: $(payload_dir)/refusals.o $(O)/vmm/main.o $(payload_soft) $(libs)
	$(say) LD $@
	$(Q)$(CC) -no-pie $(filter-out -static,$(POSTERN_LDFLAGS)) $(LDFLAGS) $(addprefix -Wl$(comma)--wrap=,$(refused_calls)) -o $@ \
		$(payload_dir)/refusals.o $(O)/vmm/main.o $(payload_soft) $(whole) $(LIBS)

$(payload_dir)/test_refusals: tests/payload/refusals.py $(payload_dir)/assigned.elf $(payload_dir)/refusals
	$(Q)printf '#!/bin/sh\nO=%s exec tests/payload/refusals.py\n' '$(O)' >$@
	$(Q)chmod +x $@

.PHONY: payload-tests
payload-tests: $(payload_tests)

-include $(payload_programs:=.d) $(payload_dir)/harness.d
-include $(payload_dir)/refusals.d $(payload_dir)/test_sandbox.d
