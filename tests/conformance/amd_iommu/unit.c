// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>

#include "tests/conformance/amd_iommu/unit.h"

/* ---- what the unit says ---- */

static void record_message(struct unit *u, const struct msi_msg *msg)
{
	u->message[u->messages++ % UNIT_MESSAGES] = *msg;
}

static int sink_send(struct msi_sink *sink, const struct msi_msg *msg)
{
	record_message(container_of(sink, struct unit, sink), msg);
	return 0;
}

static const struct msi_sink_ops sink_ops = {.send = sink_send};

static void own_msi(void *opaque)
{
	struct unit *u = opaque;

	amd_viommu_msi(u->viommu);
}

static void own_message(void *opaque, const struct msi_msg *msg)
{
	record_message(opaque, msg);
}

static void record_note(struct amd_iommu_listener *l, struct unit_note note)
{
	struct unit *u = container_of(l, struct unit, listener);

	if (u->notes < UNIT_NOTES)
		u->note[u->notes++] = note;
}

static void arm(void *opaque, uint64_t nanoseconds)
{
	((struct unit *)opaque)->armed = nanoseconds;
}

static void device_changed(struct amd_iommu_listener *l, uint16_t devid)
{
	record_note(l, (struct unit_note){NOTE_DEVICE, devid, 0, 0});
}

static void pages_changed(struct amd_iommu_listener *l, uint16_t domain, uint64_t iova,
			  uint64_t last)
{
	record_note(l, (struct unit_note){NOTE_PAGES, domain, iova, last});
}

static void interrupts_changed(struct amd_iommu_listener *l, uint16_t devid, bool all)
{
	if (all)
		record_note(l, (struct unit_note){NOTE_ALL_INTERRUPTS, 0, 0, 0});
	else
		record_note(l, (struct unit_note){NOTE_INTERRUPTS, devid, 0, 0});
}

/* ---- life ---- */

int unit_open_features(struct unit *u, const struct platform *p,
		       const struct amd_iommu_features *features)
{
	static const struct pci_windows windows = {
		.ecam_base = ECAM, .buses = 1, .mem32_base = 0xc0000000, .mem32_size = 0x10000000};
	struct amd_viommu_config config = {
		.window = WINDOW, .mmio = p->mmio, .devfn = UNIT_ID, .sink = &u->sink};
	int rc;

	memset(u, 0, sizeof(*u));
	u->platform = p;
	u->sink.ops = &sink_ops;
	u->sink.devid = UNIT_ID;
	u->listener.device_changed = device_changed;
	u->listener.pages_changed = pages_changed;
	u->listener.interrupts_changed = interrupts_changed;
	bus_init(&u->pio);
	rc = pci_root_new(&u->root, p->mmio, &u->pio, &windows);
	if (rc)
		return rc;
	config.root = u->root;
	rc = iommufd_open_soft(&u->ctx, p->memory);
	if (rc)
		goto err_root;
	rc = iommufd_soft_set_hw(u->ctx, features, UNIT_ID);
	if (!rc)
		rc = viommu_iommufd_port_new(u->ctx, features, &config.port, &u->engine);
	if (rc)
		goto err_context;
	rc = amd_viommu_new(&config, &u->viommu);
	if (rc) {
		config.port->ops->free(config.port);
		goto err_context;
	}
	amd_iommu_engine_set_interrupts(u->engine, u, own_msi, own_message);
	amd_iommu_engine_set_timer(u->engine, u, arm);
	amd_iommu_engine_listen(u->engine, &u->listener);
	return 0;

err_context:
	iommufd_close(u->ctx);
err_root:
	pci_root_free(u->root);
	return rc;
}

void unit_close(struct unit *u)
{
	while (u->caches) {
		struct unit_cache *cache = &u->cache[--u->caches];

		dma_atc_detach(cache->ds, &cache->atc);
	}
	while (u->spaces)
		amd_iommu_dma_space_free(u->space[--u->spaces].ds);
	amd_iommu_engine_unlisten(u->engine, &u->listener);
	pci_root_free(u->root);
	amd_viommu_free(u->viommu);
	iommufd_close(u->ctx);
}

struct dma_space *unit_space(struct unit *u, uint64_t who)
{
	const uint16_t devid = (uint16_t)who;
	struct dma_space **ds = &u->space[u->spaces].ds;

	for (unsigned i = 0; i < u->spaces; i++)
		if (u->space[i].who == who)
			return u->space[i].ds;
	if (u->spaces == UNIT_SPACES ||
	    (who >> 16 ? amd_iommu_dma_space_new_pasid(u->engine, devid, (uint32_t)(who >> 16) - 1,
						       ds)
		       : amd_iommu_dma_space_new(u->engine, devid, ds)))
		return NULL;
	u->space[u->spaces].who = who;
	return u->space[u->spaces++].ds;
}
