# SPDX-License-Identifier: Apache-2.0
# Fuzz targets: tests/fuzz/fuzz_NAME.c is $(O)/tests/fuzz/NAME. In a build for fuzzing it is a
# libFuzzer program; in any other it replays the files that it is given.

fuzz_dir := $(O)/tests/fuzz
fuzz_names := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
fuzz_programs := $(addprefix $(fuzz_dir)/,$(fuzz_names))
fuzz_san := address,undefined,fuzzer-no-link
fuzz_parts := $(fuzz_dir)/fuzz.o $(if $(findstring fuzzer,$(SAN)),,$(fuzz_dir)/replay.o)

# Fixtures of the unit tests are used here with other checks, and not each of their functions is.
$(fuzz_dir)/%.o: POSTERN_CFLAGS := -Itests/fuzz/shim $(POSTERN_CFLAGS) -Wno-unused-function

$(fuzz_programs): $(fuzz_dir)/%: $(fuzz_dir)/fuzz_%.o $(fuzz_parts) $(libs)
	$(say) LD $@
	$(Q)$(CC) $(filter-out -static,$(POSTERN_LDFLAGS)) $(LDFLAGS) \
		$(if $(findstring fuzzer,$(SAN)),-fsanitize=fuzzer) -Wl,--wrap=log_message \
		-o $@ $(filter %.o,$^) -Wl,--start-group $(libs) -Wl,--end-group $(LIBS)

.PHONY: fuzz-programs fuzz
fuzz-programs: $(fuzz_programs)

fuzz: $(O)/.packages
	$(Q)O=$(O) tests/fuzz/run $(TARGET)

# A socket stands in for the tap: it is asked what only a tap knows.
$(fuzz_dir)/virtio_net: POSTERN_LDFLAGS += -Wl,--wrap=ioctl

# The vIOMMU with its front end, as the conformance suite has it.
$(fuzz_dir)/amd_registers: $(O)/tests/conformance/amd_iommu/unit.o

-include $(fuzz_parts:.o=.d) $(fuzz_names:%=$(fuzz_dir)/fuzz_%.d)
