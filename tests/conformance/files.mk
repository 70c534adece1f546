# SPDX-License-Identifier: Apache-2.0
# The AMD IOMMU suite: one set of cases, with accesses made directly and by a vCPU. Both print TAP.

conformance_dir := $(O)/tests/conformance/amd_iommu
conformance_objs := $(addprefix $(conformance_dir)/,main.o steps.o unit.o pci.o registers.o \
	absent.o rings.o commands.o events.o devtab.o walk.o sizes.o interrupts.o irte.o hostile.o storm.o boot.o \
	guest.o features.o ats.o cache.o)
conformance_tests := $(conformance_dir)/direct $(conformance_dir)/vcpu

$(conformance_dir)/direct: $(conformance_dir)/direct.o $(conformance_objs) $(libs)
	$(say) LD $@
	$(Q)$(CC) $(filter-out -static,$(POSTERN_LDFLAGS)) $(LDFLAGS) -o $@ $(filter %.o,$^) \
		-Wl,--start-group $(libs) -Wl,--end-group $(LIBS)

$(conformance_dir)/vcpu: $(conformance_dir)/vcpu.o $(conformance_objs) \
		$(O)/tests/payload/harness.o $(O)/tests/payload/image.o $(libs)
	$(say) LD $@
	$(Q)$(CC) $(filter-out -static,$(POSTERN_LDFLAGS)) $(LDFLAGS) -o $@ $(filter %.o,$^) \
		-Wl,--whole-archive $(lib_guest) -Wl,--no-whole-archive \
		-Wl,--start-group $(libs) -Wl,--end-group $(LIBS)

.PHONY: conformance-tests
conformance-tests: $(conformance_tests)

-include $(conformance_objs:.o=.d) $(conformance_tests:=.d)
