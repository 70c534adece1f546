// SPDX-License-Identifier: Apache-2.0
/*
 * The PCI root: configuration mechanisms, the functions on bus 0, the host bridge.
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/pci_internal.h"

/* Configuration mechanism #1 (PCI Local Bus 3.0, 3.2.2.3.2). */
#define CONFIG_ADDRESS	      0xcf8u
#define CONFIG_DATA	      0xcfcu
#define CONFIG_ADDRESS_ENABLE BIT(31)
#define CONFIG_ADDRESS_BUS    GENMASK(23, 16)
#define CONFIG_ADDRESS_DEVFN  GENMASK(15, 8)
#define CONFIG_ADDRESS_REG    GENMASK(7, 2)
#define CONFIG_ADDRESS_BITS                                                                        \
	(CONFIG_ADDRESS_ENABLE | CONFIG_ADDRESS_BUS | CONFIG_ADDRESS_DEVFN | CONFIG_ADDRESS_REG)

/* ECAM (PCI Express Base 5.0, 7.2.2). */
#define ECAM_BUS      GENMASK(27, 20)
#define ECAM_DEVFN    GENMASK(19, 12)
#define ECAM_REG      GENMASK(11, 0)
#define ECAM_BUS_SIZE MIB
#define ECAM_BUSES    256u

/* ---- configuration accesses ---- */

static uint32_t function_read(struct pci_function *fn, unsigned offset, unsigned width)
{
	uint32_t value;

	pthread_mutex_lock(&fn->lock);
	if (fn->ops->config_read)
		value = fn->ops->config_read(fn, offset, width);
	else
		value = pci_config_read(fn, offset, width);
	pthread_mutex_unlock(&fn->lock);
	return value;
}

/* With no lock of a function held: BARs that were refused may fit now. */
static void retry_refused(struct pci_root *root)
{
	if (!atomic_exchange(&root->retry, false))
		return;
	for (unsigned i = 0; i < PCI_ROOT_FUNCTIONS; i++) {
		struct pci_function *fn = pci_root_function(root, 0, i);

		if (!fn)
			continue;
		pthread_mutex_lock(&fn->lock);
		pci_root_decode(fn);
		pthread_mutex_unlock(&fn->lock);
	}
}

static void function_write(struct pci_function *fn, unsigned offset, unsigned width, uint32_t value)
{
	pthread_mutex_lock(&fn->lock);
	if (fn->ops->config_write)
		fn->ops->config_write(fn, offset, width, value);
	else
		pci_config_write(fn, offset, width, value);
	pthread_mutex_unlock(&fn->lock);
}

/* REG and WIDTH as the processor gave them; functions see aligned accesses of 1, 2 or 4 bytes. */
static uint64_t config_read(struct pci_root *root, unsigned bus, unsigned devfn, unsigned reg,
			    unsigned width)
{
	struct pci_function *fn = pci_root_function(root, bus, devfn);
	unsigned step = width > 4 ? 4 : width;
	uint64_t value = 0;

	if (!fn || !range_fits(reg, width, PCI_CONFIG_SIZE))
		return width_mask(width);
	if (!is_aligned(reg, step))
		step = 1;
	for (unsigned i = 0; i < width; i += step)
		value |= (function_read(fn, reg + i, step) & width_mask(step)) << (8 * i);
	return value;
}

static void config_write(struct pci_root *root, unsigned bus, unsigned devfn, unsigned reg,
			 unsigned width, uint64_t value)
{
	struct pci_function *fn = pci_root_function(root, bus, devfn);
	unsigned step = width > 4 ? 4 : width;

	if (!fn || !range_fits(reg, width, PCI_CONFIG_SIZE))
		return;
	if (!is_aligned(reg, step))
		step = 1;
	for (unsigned i = 0; i < width; i += step)
		function_write(fn, reg + i, step, (uint32_t)(value >> (8 * i) & width_mask(step)));
	retry_refused(root);
}

static uint64_t ecam_read(void *opaque, uint64_t offset, unsigned width)
{
	return config_read(opaque, (unsigned)FIELD_GET(ECAM_BUS, offset),
			   (unsigned)FIELD_GET(ECAM_DEVFN, offset),
			   (unsigned)FIELD_GET(ECAM_REG, offset), width);
}

static void ecam_write(void *opaque, uint64_t offset, unsigned width, uint64_t value)
{
	config_write(opaque, (unsigned)FIELD_GET(ECAM_BUS, offset),
		     (unsigned)FIELD_GET(ECAM_DEVFN, offset), (unsigned)FIELD_GET(ECAM_REG, offset),
		     width, value);
}

static const struct bus_ops ecam_ops = {.read = ecam_read, .write = ecam_write};

/* Only a full dword reaches CONFIG_ADDRESS; CF9h is another register on a PC. */
static uint64_t address_read(void *opaque, uint64_t offset, unsigned width)
{
	struct pci_root *root = opaque;

	(void)offset;
	return width == 4 ? atomic_load(&root->config_address) : width_mask(width);
}

static void address_write(void *opaque, uint64_t offset, unsigned width, uint64_t value)
{
	struct pci_root *root = opaque;

	(void)offset;
	if (width == 4)
		atomic_store(&root->config_address, (uint32_t)(value & CONFIG_ADDRESS_BITS));
}

static const struct bus_ops address_ops = {.read = address_read, .write = address_write};

static uint64_t data_read(void *opaque, uint64_t offset, unsigned width)
{
	struct pci_root *root = opaque;
	uint32_t address = atomic_load(&root->config_address);

	if (!(address & CONFIG_ADDRESS_ENABLE))
		return width_mask(width);
	return config_read(root, (unsigned)FIELD_GET(CONFIG_ADDRESS_BUS, address),
			   (unsigned)FIELD_GET(CONFIG_ADDRESS_DEVFN, address),
			   (unsigned)((address & CONFIG_ADDRESS_REG) + offset), width);
}

static void data_write(void *opaque, uint64_t offset, unsigned width, uint64_t value)
{
	struct pci_root *root = opaque;
	uint32_t address = atomic_load(&root->config_address);

	if (address & CONFIG_ADDRESS_ENABLE)
		config_write(root, (unsigned)FIELD_GET(CONFIG_ADDRESS_BUS, address),
			     (unsigned)FIELD_GET(CONFIG_ADDRESS_DEVFN, address),
			     (unsigned)((address & CONFIG_ADDRESS_REG) + offset), width, value);
}

static const struct bus_ops data_ops = {.read = data_read, .write = data_write};

/* ---- reset ---- */

/*
 * From the last to the first: the IOMMU comes before the devices behind it, and lets through what
 * they do once it is reset. They have to be quiet by then.
 */
void pci_root_reset(struct pci_root *root)
{
	for (unsigned i = PCI_ROOT_FUNCTIONS; i-- > 0;) {
		struct pci_function *fn = pci_root_function(root, 0, i);

		if (!fn)
			continue;
		pthread_mutex_lock(&fn->lock);
		pci_config_store(fn, PCI_COMMAND, 0);
		pci_config_store(fn, PCI_COMMAND + 1, 0);
		pci_root_decode(fn);
		pci_config_store(fn, PCI_CACHE_LINE_SIZE, 0);
		pci_config_store(fn, PCI_INTERRUPT_LINE, 0);
		pci_msi_reset(fn);
		pthread_mutex_unlock(&fn->lock);
		if (fn->ops->reset)
			fn->ops->reset(fn);
	}
	atomic_store(&root->config_address, 0);
	/* What fitted at power-on fits again. */
	pci_root_assign(root);
}

/* ---- functions ---- */

int pci_root_add(struct pci_root *root, struct pci_function *fn, uint8_t devfn)
{
	struct pci_function *first;
	int rc = 0;

	pthread_mutex_lock(&root->add_lock);
	first = pci_root_function(root, 0, devfn & ~7u);
	if (pci_root_function(root, 0, devfn)) {
		rc = -EEXIST;
	} else if (fn->root || (devfn & 7 && !first)) {
		rc = -EINVAL;
	} else {
		fn->root = root;
		fn->bus = 0;
		fn->devfn = devfn;
		if (devfn & 7) {
			/* Software looks at functions 1..7 only if function 0 says so. */
			pthread_mutex_lock(&first->lock);
			pci_config_store(first, PCI_HEADER_TYPE,
					 first->config[PCI_HEADER_TYPE] | PCI_HEADER_MULTI);
			pthread_mutex_unlock(&first->lock);
		}
		atomic_store_explicit(&root->function[devfn], fn, memory_order_release);
	}
	pthread_mutex_unlock(&root->add_lock);
	return rc;
}

static void take_off(struct pci_function *fn, bool tell)
{
	struct pci_root *root = fn->root;

	pthread_mutex_lock(&fn->lock);
	pci_root_undecode(fn, tell);
	pthread_mutex_unlock(&fn->lock);
	pthread_mutex_lock(&root->add_lock);
	atomic_store(&root->function[fn->devfn], NULL);
	fn->root = NULL;
	pthread_mutex_unlock(&root->add_lock);
}

void pci_root_remove(struct pci_function *fn)
{
	take_off(fn, true);
}

void pci_root_forget(struct pci_function *fn)
{
	take_off(fn, false);
}

int pci_root_free_slot(const struct pci_root *root, unsigned first)
{
	for (unsigned slot = first; slot < PCI_ROOT_FUNCTIONS / 8; slot++)
		if (!atomic_load(&root->function[PCI_DEVFN(slot, 0)]))
			return (int)slot;
	return -ENOSPC;
}

const struct pci_windows *pci_root_windows(const struct pci_root *root)
{
	return &root->windows;
}

/* ---- the root ---- */

/* Linux scans a bus only where it finds a host bridge. This id has no quirks in Linux. */
static const struct pci_id host_bridge_id = {
	.vendor = 0x1022,
	.device = 0x1410, /* Family 15h root complex */
	.class_code = 0x060000,
};

static const struct pci_function_ops host_bridge_ops = {0};

static int ports_add(struct pci_root *root)
{
	const struct bus_range address = {.base = CONFIG_ADDRESS,
					  .size = 4,
					  .ops = &address_ops,
					  .opaque = root,
					  .name = "PCI configuration address"};
	const struct bus_range data = {.base = CONFIG_DATA,
				       .size = 4,
				       .ops = &data_ops,
				       .opaque = root,
				       .name = "PCI configuration data"};
	int rc = bus_add(root->pio, &address);

	if (rc)
		return rc;
	rc = bus_add(root->pio, &data);
	if (rc)
		bus_remove(root->pio, CONFIG_ADDRESS);
	return rc;
}

static void ports_remove(struct pci_root *root)
{
	if (root->windows.segment)
		return;
	bus_remove(root->pio, CONFIG_DATA);
	bus_remove(root->pio, CONFIG_ADDRESS);
}

static bool window_good(uint64_t base, uint64_t size)
{
	return !size || base + (size - 1) >= base;
}

int pci_root_new(struct pci_root **out, struct bus *mmio, struct bus *pio,
		 const struct pci_windows *windows)
{
	struct pci_root *root;
	int rc;

	if (!windows->buses || windows->buses > ECAM_BUSES ||
	    !window_good(windows->mem32_base, windows->mem32_size) ||
	    !window_good(windows->mem64_base, windows->mem64_size) ||
	    windows->io_base + windows->io_size > 0x10000)
		return -EINVAL;
	root = calloc(1, sizeof(*root));
	if (!root)
		return -ENOMEM;
	root->mmio = mmio;
	root->pio = pio;
	root->windows = *windows;
	pthread_mutex_init(&root->add_lock, NULL);
	pthread_mutex_init(&root->decode_lock, NULL);

	rc = bus_add(mmio, &(struct bus_range){.base = windows->ecam_base,
					       .size = windows->buses * ECAM_BUS_SIZE,
					       .ops = &ecam_ops,
					       .opaque = root,
					       .name = "PCI ECAM"});
	if (rc)
		goto err_free;
	rc = windows->segment ? 0 : ports_add(root);
	if (rc)
		goto err_ecam;
	pci_function_init(&root->host_bridge, "host bridge", &host_bridge_ops, &host_bridge_id);
	rc = pci_root_add(root, &root->host_bridge, PCI_DEVFN(0, 0));
	if (rc)
		goto err_ports;
	*out = root;
	return 0;

err_ports:
	pci_function_fini(&root->host_bridge);
	ports_remove(root);
err_ecam:
	bus_remove(mmio, windows->ecam_base);
err_free:
	pthread_mutex_destroy(&root->decode_lock);
	pthread_mutex_destroy(&root->add_lock);
	free(root);
	return rc;
}

void pci_root_free(struct pci_root *root)
{
	if (!root)
		return;
	for (unsigned i = 0; i < PCI_ROOT_FUNCTIONS; i++) {
		struct pci_function *fn = pci_root_function(root, 0, i);

		if (fn)
			pci_root_forget(fn);
	}
	pci_function_fini(&root->host_bridge);
	ports_remove(root);
	bus_remove(root->mmio, root->windows.ecam_base);
	pthread_mutex_destroy(&root->decode_lock);
	pthread_mutex_destroy(&root->add_lock);
	free(root);
}
