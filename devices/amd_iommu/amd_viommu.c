// SPDX-License-Identifier: Apache-2.0
/*
 * The vIOMMU's PCI function: its capability block (48882 section 3.2) tells where the register
 * window is, and its MSI carries the unit's own interrupts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/amd_iommu/internal.h"
#include "postern/log.h"

#define VIOMMU_CLASS  0x080600 /* base system peripheral, IOMMU */
#define VIOMMU_VENDOR 0x1022
#define VIOMMU_DEVICE 0x1419

#define CAPABILITY_ID	  0x0f
#define CAPABILITY_LENGTH 0x18
/* Upper half of the header: type and revision, then what the unit has. */
#define HEADER_TYPE	(3u << 0)
#define HEADER_REVISION (1u << 3)
/* Devices behind it may keep translations. */
#define HEADER_IOTLB_SUP (1u << 8)
#define HEADER_NP_CACHE	 (1u << 10)
#define HEADER_EFR_SUP	 (1u << 11)
#define HEADER_CAP_EXT	 (1u << 12)
#define BASE_LOW	 0x04
#define BASE_HIGH	 0x08
#define MISC_INFO_0	 0x10
#define BASE_ENABLE	 1u

/* PCI Express 7.7.1: a 64-bit MSI capability without masking. */
#define MSI_CONTROL 2u
#define MSI_ENABLE  1u
#define MSI_ADDRESS 4u
#define MSI_DATA    12u
#define MSI_LENGTH  14u

static void viommu_reset(struct pci_function *fn)
{
	viommu_window_reset(&container_of(fn, struct amd_viommu, function)->window);
}

/* Hardware that raises the unit's interrupts itself is told where they go. */
static void viommu_config_write(struct pci_function *fn, unsigned offset, unsigned width,
				uint32_t value)
{
	struct viommu_port *port = container_of(fn, struct amd_viommu, function)->window.port;
	const unsigned at = fn->msi_capability;
	struct msi_msg msg;
	bool enabled;
	int rc;

	pci_config_write(fn, offset, width, value);
	if (!port->ops->msi_set || offset + width <= at || offset >= at + MSI_LENGTH)
		return;
	enabled = pci_get16(fn, at + MSI_CONTROL) & MSI_ENABLE;
	msg.addr = pci_get32(fn, at + MSI_ADDRESS) | (uint64_t)pci_get32(fn, at + MSI_ADDRESS + 4)
							     << 32;
	msg.data = pci_get16(fn, at + MSI_DATA);
	rc = port->ops->msi_set(port, enabled ? &msg : NULL);
	if (rc)
		log_guest("vIOMMU: its own interrupt was refused: %s", strerror(-rc));
}

static const struct pci_function_ops viommu_function_ops = {
	.config_read = pci_config_read,
	.config_write = viommu_config_write,
	.reset = viommu_reset,
};

static int add_capability(struct amd_viommu *viommu, bool np_cache)
{
	struct pci_function *fn = &viommu->function;
	uint16_t header = HEADER_TYPE | HEADER_REVISION | HEADER_EFR_SUP | HEADER_CAP_EXT;
	int at = pci_add_capability(fn, CAPABILITY_ID, CAPABILITY_LENGTH);

	if (at < 0)
		return at;
	if (at != AMD_VIOMMU_CAPABILITY) {
		log_error("%s: capability block at %#x instead of %#x, where the IVRS says it is",
			  fn->name, (unsigned)at, AMD_VIOMMU_CAPABILITY);
		return -EINVAL;
	}
	if (np_cache)
		header |= HEADER_NP_CACHE;
	if (viommu->window.port->features.iotlb_sup)
		header |= HEADER_IOTLB_SUP;
	pci_set16(fn, (unsigned)at + 2, header);
	/* Enabled, so locked: the window stays where firmware tables put it. */
	pci_set32(fn, (unsigned)at + BASE_LOW, (uint32_t)viommu->base | BASE_ENABLE);
	pci_set32(fn, (unsigned)at + BASE_HIGH, (uint32_t)(viommu->base >> 32));
	pci_set32(fn, (unsigned)at + MISC_INFO_0, VIOMMU_MISC_INFO_0);
	return pci_add_msi(fn);
}

int amd_viommu_new(const struct amd_viommu_config *config, struct amd_viommu **out)
{
	static const struct pci_id id = {
		.vendor = VIOMMU_VENDOR, .device = VIOMMU_DEVICE, .class_code = VIOMMU_CLASS};
	struct bus_range range = {.base = config->window,
				  .size = AMD_VIOMMU_WINDOW_SIZE,
				  .ops = &viommu_window_ops,
				  .name = "vIOMMU registers"};
	struct amd_viommu *viommu;
	int rc;

	if (!is_aligned(config->window, AMD_VIOMMU_WINDOW_SIZE))
		return -EINVAL;
	viommu = calloc(1, sizeof(*viommu));
	if (!viommu)
		return -ENOMEM;
	viommu->mmio = config->mmio;
	viommu->base = config->window;
	viommu_window_init(&viommu->window, config->port);
	viommu->window.segment = pci_root_windows(config->root)->segment;
	pci_function_init(&viommu->function, "vIOMMU", &viommu_function_ops, &id);
	viommu->function.sink = config->sink;
	rc = add_capability(viommu, config->np_cache);
	if (rc)
		goto err_function;
	range.opaque = &viommu->window;
	rc = bus_add(config->mmio, &range);
	if (rc)
		goto err_function;
	/* Last: a function cannot be taken off its root. */
	rc = pci_root_add(config->root, &viommu->function, config->devfn);
	if (rc)
		goto err_bus;
	*out = viommu;
	return 0;

err_bus:
	bus_remove(config->mmio, config->window);
err_function:
	pci_function_fini(&viommu->function);
	viommu_window_fini(&viommu->window);
	free(viommu);
	return rc;
}

void amd_viommu_free(struct amd_viommu *viommu)
{
	if (!viommu)
		return;
	bus_remove(viommu->mmio, viommu->base);
	pci_function_fini(&viommu->function);
	viommu->window.port->ops->free(viommu->window.port);
	viommu_window_fini(&viommu->window);
	free(viommu);
}

void amd_viommu_msi(struct amd_viommu *viommu)
{
	int rc = pci_msi_raise(&viommu->function);

	if (rc)
		log_guest("vIOMMU: its own interrupt was refused: %s", strerror(-rc));
}

struct amd_iommu_features amd_viommu_features(const struct amd_viommu *viommu)
{
	return viommu->window.port->features;
}

void amd_viommu_stats(const struct amd_viommu *viommu, struct amd_viommu_stats *stats)
{
	const struct viommu_window *w = &viommu->window;

	stats->reads = atomic_load_explicit(&w->reads, memory_order_relaxed);
	stats->writes = atomic_load_explicit(&w->writes, memory_order_relaxed);
	stats->forwarded = atomic_load_explicit(&w->forwarded, memory_order_relaxed);
	stats->ignored = atomic_load_explicit(&w->ignored, memory_order_relaxed);
}
