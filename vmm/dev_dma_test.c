// SPDX-License-Identifier: Apache-2.0
/* --dma-test: a device that does nothing but DMA, to try an IOMMU and its drivers with. */
#include <stdlib.h>
#include <string.h>

#include "devices/test/dma_test.h"
#include "vmm/machine.h"

enum { DMA_TEST_ORDER = 4 };

struct dma_tester {
	struct machine_device dev;
	struct dma_space *dma;
	struct dma_test *device;
};

static const struct device_class dma_test_class;

static void dma_test_destroy(struct machine *m)
{
	struct dma_tester *t = m->private[DMA_TEST_ORDER];

	if (!t)
		return;
	if (t->device) {
		machine_device_withdraw(m, &t->dev);
		dma_test_free(t->device);
	}
	if (t->dma)
		machine_unplace(m, t->dma, t->dev.iommu);
	free(t);
	m->private[DMA_TEST_ORDER] = NULL;
}

static int dma_test_create(struct machine *m)
{
	struct dma_test_env env = {.loop = m->loop, .root = m->segment[0].root, .vectors = 1};
	struct dma_tester *t;
	int rc;

	if (!m->config->dma_test)
		return 0;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	m->private[DMA_TEST_ORDER] = t;
	rc = machine_device_init(m, &t->dev, &dma_test_class, "dma-test", NULL, 0,
				 m->config->dma_test_iommu);
	if (!rc) {
		env.devfn = t->dev.devfn;
		rc = machine_place(m, 0, env.devfn, t->dev.iommu, &t->dma, &env.sink);
	}
	if (!rc) {
		env.dma = t->dma;
		rc = dma_test_new(&env, &t->device);
	}
	if (rc) {
		log_error("--dma-test: no such device can be made: %s", strerror(-rc));
		dma_test_destroy(m);
		return rc;
	}
	machine_device_publish(m, &t->dev);
	return 0;
}

static void dma_test_drain(struct machine *m)
{
	struct dma_tester *t = m->private[DMA_TEST_ORDER];

	if (t)
		dma_test_abort(t->device);
	machine_drained(m);
}

static const struct device_class dma_test_class = {
	.name = "dma-test",
	.order = DMA_TEST_ORDER,
	.create = dma_test_create,
	.destroy = dma_test_destroy,
	.drain = dma_test_drain,
};
DEVICE_CLASS(dma_test_class);
