// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "devices/legacy/legacy.h"
#include "postern/bits.h"

#include "tests/unit/noise.h"

static struct bus pio;
static struct acpi_regs *regs;
static unsigned offs, resets, presses;

static void count(void *opaque)
{
	++*(unsigned *)opaque;
}

static void on_off(void *opaque)
{
	(void)opaque;
	count(&offs);
}

static void on_reset(void *opaque)
{
	(void)opaque;
	count(&resets);
}

static void on_irq(void *opaque)
{
	(void)opaque;
	count(&presses);
}

static void setup(void)
{
	struct acpi_regs_config config = {
		.pio = &pio, .power_off = on_off, .reset = on_reset, .irq = on_irq};

	bus_init(&pio);
	cr_assert_eq(acpi_regs_new(&config, &regs), 0);
	cr_assert_eq(acpi_regs_new(&config, &regs), -EEXIST);
}

static void teardown(void)
{
	acpi_regs_free(regs);
	cr_assert_eq(pio.count, 0);
}

static uint64_t in(unsigned reg, unsigned width)
{
	uint64_t value;

	bus_read(&pio, ACPI_REGS_BASE + reg, width, &value);
	return value;
}

static void out(unsigned reg, unsigned width, uint64_t value)
{
	bus_write(&pio, ACPI_REGS_BASE + reg, width, value);
}

TestSuite(acpi_regs, .init = setup, .fini = teardown);

Test(acpi_regs, power_off_needs_type_and_enable)
{
	out(0, 1, ACPI_SLP_S5 << 2);
	cr_assert_eq(offs, 0);
	cr_assert_eq(in(0, 1), ACPI_SLP_S5 << 2);
	out(0, 1, 1u << 5);
	cr_assert_eq(offs, 0, "type 0");
	out(0, 1, ACPI_SLP_S5 << 2 | 1u << 5);
	cr_assert_eq(offs, 1);
	cr_assert_eq(in(0, 1), ACPI_SLP_S5 << 2, "SLP_EN reads as 0");
	out(0, 2, 0xff00 | ACPI_SLP_S5 << 2 | 1u << 5);
	cr_assert_eq(offs, 2);
	cr_assert_eq(resets, 0);
}

Test(acpi_regs, other_sleep_types_wake_at_once)
{
	cr_assert_eq(in(1, 1), 0);
	out(0, 1, 3u << 2 | 1u << 5);
	cr_assert_eq(in(1, 1), 0x80);
	out(1, 1, 0x7f);
	cr_assert_eq(in(1, 1), 0x80);
	out(1, 1, 0x80);
	cr_assert_eq(in(1, 1), 0);
	cr_assert_eq(offs, 0);
}

Test(acpi_regs, reset_register)
{
	for (unsigned value = 0; value < 256; value++)
		if (value != ACPI_RESET_VALUE)
			out(2, 1, value);
	cr_assert_eq(resets, 0);
	out(2, 1, ACPI_RESET_VALUE);
	cr_assert_eq(resets, 1);
	cr_assert_eq(in(2, 1), 0);
	cr_assert_eq(offs, 0);
}

/* The next guest has not slept. */
Test(acpi_regs, a_machine_reset_clears_them)
{
	out(0, 1, 3u << 2 | 1u << 5);
	cr_assert_eq(in(0, 2), 0x80 << 8 | 3 << 2);
	acpi_regs_reset(regs);
	cr_expect_eq(in(0, 2), 0);
	cr_expect_eq(offs, 0);
	cr_expect_eq(resets, 0);
}

Test(acpi_regs, power_button)
{
	acpi_regs_power_button(regs);
	cr_assert_eq(presses, 1);
}

Test(acpi_regs, hostile_writes)
{
	unsigned seed = 2, expected_off = 0, expected_reset = 0;

	for (int i = 0; i < 20000; i++) {
		unsigned width = 1u << noise(&seed) % 4, reg = noise(&seed) % 5;
		uint64_t value = (uint64_t)noise(&seed) << 32 ^ (uint64_t)noise(&seed);

		if (i % 3 == 0)
			value = (value & 1) | 0x34;
		if (reg + width <= 3) {
			for (unsigned b = 0; b < width; b++) {
				uint8_t byte = (uint8_t)(value >> (8 * b));

				expected_off += reg + b == 0 && (byte & 0x3c) == 0x34;
				expected_reset += reg + b == 2 && byte == 1;
			}
		}
		out(reg, width, value);
		in(reg, width);
		cr_assert_eq(in(0, 1) & ~UINT64_C(0x1c), 0);
		cr_assert_eq(in(1, 1) & ~UINT64_C(0x80), 0);
	}
	cr_assert_gt(expected_off, 0);
	cr_assert_eq(offs, expected_off);
	cr_assert_eq(resets, expected_reset);
}
