// SPDX-License-Identifier: Apache-2.0
/*
 * The registers of hardware-reduced ACPI (ACPI 6.4, 4.8.3.7 sleep control and status, 4.8.3.6
 * reset), and the power button behind the Generic Event Device (5.6.9).
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "devices/legacy/legacy.h"
#include "postern/bits.h"

enum { SLEEP_CONTROL, SLEEP_STATUS, RESET, REGISTERS };

#define SLEEP_CONTROL_TYPE   GENMASK(4, 2)
#define SLEEP_CONTROL_ENABLE BIT(5) /* write only */
#define SLEEP_STATUS_WAKE    BIT(7)

struct acpi_regs {
	struct acpi_regs_config config;
	atomic_uchar sleep_type; /* as it stands in the register */
	atomic_uchar status;
};

static uint8_t control_read(struct acpi_regs *regs)
{
	return atomic_load(&regs->sleep_type);
}

static void control_write(struct acpi_regs *regs, uint8_t value)
{
	atomic_store(&regs->sleep_type, value & (uint8_t)SLEEP_CONTROL_TYPE);
	if (!(value & SLEEP_CONTROL_ENABLE))
		return;
	if (FIELD_GET(SLEEP_CONTROL_TYPE, value) == ACPI_SLP_S5)
		regs->config.power_off(regs->config.opaque);
	else
		/* A state that the tables do not offer: the machine is awake again at once. */
		atomic_fetch_or(&regs->status, (uint8_t)SLEEP_STATUS_WAKE);
}

static uint8_t status_read(struct acpi_regs *regs)
{
	return atomic_load(&regs->status);
}

static void status_write(struct acpi_regs *regs, uint8_t value)
{
	atomic_fetch_and(&regs->status, (uint8_t) ~(value & SLEEP_STATUS_WAKE));
}

static uint8_t reset_read(struct acpi_regs *regs)
{
	(void)regs;
	return 0;
}

static void reset_write(struct acpi_regs *regs, uint8_t value)
{
	if (value == ACPI_RESET_VALUE)
		regs->config.reset(regs->config.opaque);
}

static const struct {
	uint8_t (*read)(struct acpi_regs *regs);
	void (*write)(struct acpi_regs *regs, uint8_t value);
} registers[REGISTERS] = {
	[SLEEP_CONTROL] = {control_read, control_write},
	[SLEEP_STATUS] = {status_read, status_write},
	[RESET] = {reset_read, reset_write},
};

static uint64_t regs_read(void *opaque, uint64_t offset, unsigned width)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < width; i++)
		value |= (uint64_t)registers[(offset + i) % REGISTERS].read(opaque) << (8 * i);
	return value;
}

static void regs_write(void *opaque, uint64_t offset, unsigned width, uint64_t value)
{
	for (unsigned i = 0; i < width; i++)
		registers[(offset + i) % REGISTERS].write(opaque, (uint8_t)(value >> (8 * i)));
}

static const struct bus_ops regs_ops = {.read = regs_read, .write = regs_write};

void acpi_regs_power_button(struct acpi_regs *regs)
{
	regs->config.irq(regs->config.opaque);
}

void acpi_regs_reset(struct acpi_regs *regs)
{
	atomic_store(&regs->sleep_type, 0);
	atomic_store(&regs->status, 0);
}

int acpi_regs_new(const struct acpi_regs_config *config, struct acpi_regs **out)
{
	struct acpi_regs *regs = calloc(1, sizeof(*regs));
	int rc;

	if (!regs)
		return -ENOMEM;
	regs->config = *config;
	rc = bus_add(config->pio, &(struct bus_range){.base = ACPI_REGS_BASE,
						      .size = REGISTERS,
						      .ops = &regs_ops,
						      .opaque = regs,
						      .name = "ACPI registers"});
	if (rc) {
		free(regs);
		return rc;
	}
	*out = regs;
	return 0;
}

void acpi_regs_free(struct acpi_regs *regs)
{
	if (!regs)
		return;
	bus_remove(regs->config.pio, ACPI_REGS_BASE);
	free(regs);
}
