// SPDX-License-Identifier: Apache-2.0
/* UART, IOAPIC and ACPI registers: accesses of any width and place, and what happens outside. */
#include <errno.h>

#include "devices/legacy/legacy.h"
#include "tests/fuzz/fuzz.h"

#define UART 0x3f8u

static struct bus mmio, pio;
static struct uart *uart;
static struct ioapic *ioapic;
static struct acpi_regs *acpi;
static struct intx_line *line[2];
static bool uart_level, told[IOAPIC_PINS];
static struct msi_msg route[IOAPIC_PINS];
static int sink_result;
static unsigned sent, outputs, ended;

static void on_irq(void *opaque, bool level)
{
	(void)opaque;
	require(uart_level != level, "changes only");
	uart_level = level;
}

static void on_output(void *opaque, const uint8_t *bytes, size_t len)
{
	(void)opaque;
	require(bytes && len);
	outputs += len;
}

static void on_room(void *opaque)
{
	(void)opaque;
}

static int sink_send(struct msi_sink *sink, const struct msi_msg *msg)
{
	(void)sink;
	require((msg->addr & UINT64_C(0xfff00000)) == 0xfee00000);
	sent++;
	return sink_result;
}

static void on_route(void *opaque, unsigned pin, const struct msi_msg *msg)
{
	(void)opaque;
	require(pin < IOAPIC_PINS);
	told[pin] = msg;
	if (msg)
		route[pin] = *msg;
}

static void on_power(void *opaque)
{
	(void)opaque;
	ended++;
}

static void on_ended(void *opaque)
{
	(void)opaque;
}

static void start(void)
{
	static const struct msi_sink_ops ops = {.send = sink_send};
	static struct msi_sink sink = {.ops = &ops};
	const struct uart_config u = {
		.pio = &pio, .base = UART, .irq = on_irq, .output = on_output, .room = on_room};
	const struct ioapic_config i = {
		.mmio = &mmio, .base = IOAPIC_BASE, .id = 2, .sink = &sink, .route = on_route};
	const struct acpi_regs_config a = {
		.pio = &pio, .power_off = on_power, .reset = on_power, .irq = on_power};

	bus_init(&mmio);
	bus_init(&pio);
	memset(told, 0, sizeof(told));
	uart_level = false;
	sink_result = 0;
	sent = outputs = ended = 0;
	require(!uart_new(&u, &uart) && !ioapic_new(&i, &ioapic) && !acpi_regs_new(&a, &acpi));
	for (unsigned n = 0; n < ARRAY_SIZE(line); n++) {
		require(!ioapic_line_new(ioapic, 16, &line[n]));
		line[n]->ended = on_ended;
	}
}

static void stop(void)
{
	acpi_regs_free(acpi);
	ioapic_free(ioapic);
	uart_free(uart);
	require(!mmio.count && !pio.count, "ranges are left on a bus");
}

/* Each route is the message that the pin would send, and the UART's line is what IIR says. */
static void check(void)
{
	uint64_t value;

	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		struct msi_msg msg;
		const bool live = ioapic_pin_message(ioapic, pin, &msg);

		require(live == told[pin] && (!live || (msg.addr == route[pin].addr &&
							msg.data == route[pin].data)),
			"pin %u is not what was told", pin);
	}
	/* Reading IIR may take back the interrupt that it names, never another. */
	require(!bus_read(&pio, UART + 2, 1, &value));
	require(value & 1 ? !uart_level : true, "IIR says none, the line is up");
}

static void op_ports(struct input *in)
{
	const unsigned how = input_u8(in), width = input_width(in);
	const uint16_t base = how & 0x40 ? ACPI_REGS_BASE : UART;
	const uint64_t at = base + (how >> 1 & 7);
	uint64_t value = input_number(in, width);

	if (how & 1)
		bus_write(&pio, at, how & 0x80 ? width : 1, value);
	bus_read(&pio, at, how & 0x80 ? width : 1, &value);
}

static void op_ioapic(struct input *in)
{
	const unsigned how = input_u8(in), width = input_width(in);
	uint64_t value;

	if (how & 0x80) { /* a register, as drivers write it */
		bus_write(&mmio, IOAPIC_BASE, 4, 0x10 + (how & 0x3f));
		bus_write(&mmio, IOAPIC_BASE + 0x10, 4, input_u32(in));
		return;
	}
	value = input_number(in, width);
	bus_write(&mmio, IOAPIC_BASE + (how & 0x40 ? input_u8(in) : how & 0x30), width, value);
	bus_read(&mmio, IOAPIC_BASE + (how & 0x30), width, &value);
}

static void op_outside(struct input *in)
{
	const unsigned how = input_u8(in);
	uint8_t bytes[32];
	size_t len;

	switch (how & 7) {
	case 0:
		len = input_copy(in, bytes, how >> 3);
		require(uart_input(uart, bytes, len) <= len);
		break;
	case 1:
	case 2:
		ioapic_set_irq(ioapic, input_u8(in) % 20 == 16 ? 0 : input_pick(in, 26), how & 8);
		break;
	case 3:
		intx_line_set(line[how >> 3 & 1], how & 0x10);
		break;
	case 4:
		ioapic_eoi_pin(ioapic, input_pick(in, 26));
		break;
	case 5:
		acpi_regs_power_button(acpi);
		break;
	case 6:
		sink_result = how & 0x38 ? 0 : -EACCES;
		break;
	default:
		if (!(how & 0xf0)) {
			uart_reset(uart);
			ioapic_reset(ioapic);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	start();
	while (in.left) {
		switch (input_pick(&in, 4)) {
		case 0:
			op_ports(&in);
			break;
		case 1:
			op_ioapic(&in);
			break;
		case 2:
			op_outside(&in);
			break;
		default:
			check();
		}
	}
	check();
	uart_reset(uart);
	ioapic_reset(ioapic);
	require(!uart_level);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		require(!told[pin], "pin %u is not masked after a reset", pin);
	stop();
	require(fuzz_messages() <= 64, "a guest fills the log");
	return 0;
}
