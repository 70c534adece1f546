// SPDX-License-Identifier: Apache-2.0
/* Accesses by instructions of a guest on the local /dev/kvm: the agent of tests/payload. */
#include "tests/conformance/amd_iommu/suite.h"
#include "tests/payload/harness.h"

_Static_assert(OWN_BASE >= AGENT_BUFFER + 0x10000, "the agent keeps its memory");

static unsigned op(unsigned first, unsigned width)
{
	return first + (unsigned)__builtin_ctz(width);
}

static uint64_t vcpu_read(void *opaque, uint64_t gpa, unsigned width)
{
	return agent(opaque, op(OP_READ1, width), gpa, 0);
}

static void vcpu_write(void *opaque, uint64_t gpa, unsigned width, uint64_t value)
{
	agent(opaque, op(OP_WRITE1, width), gpa, value);
}

static const struct access_ops vcpu_ops = {vcpu_read, vcpu_write};

void platform_open(struct platform *p)
{
	struct harness *h = harness_new(1);

	*p = (struct platform){.name = "vcpu",
			       .access = &vcpu_ops,
			       .opaque = h,
			       .mmio = &h->m.mmio,
			       .memory = &h->m.memory};
	harness_start(h);
}

void platform_close(struct platform *p)
{
	harness_free(p->opaque);
}
