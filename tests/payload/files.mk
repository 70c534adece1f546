# SPDX-License-Identifier: Apache-2.0
# Guest programs on the local /dev/kvm. Each program prints TAP; its guest is agent.S.

payload_dir := $(O)/tests/payload
payload_tests := $(addprefix $(payload_dir)/,test_access test_interrupts test_run)

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
$(payload_tests): %: %.o $(payload_parts) $(libs)
	$(say) LD $@
	$(Q)$(CC) $(filter-out -static,$(POSTERN_LDFLAGS)) $(LDFLAGS) -o $@ $< $(payload_parts) \
		-Wl,--whole-archive $(lib_guest) -Wl,--no-whole-archive $(libs) $(libs) $(LIBS)

.PHONY: payload-tests
payload-tests: $(payload_tests)

-include $(payload_tests:=.d) $(payload_dir)/harness.d
