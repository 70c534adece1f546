// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "devices/legacy/legacy.h"
#include "postern/bits.h"

#include "tests/unit/noise.h"

enum { RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR, THR = RBR, FCR = IIR };

static struct bus pio;
static struct uart *uart;
static atomic_uint line, edges, rooms, outputs;
static uint8_t sent[256];
static bool feed_from_room;

static void on_irq(void *opaque, bool level)
{
	(void)opaque;
	cr_assert_neq(line, level, "changes only");
	line = level;
	edges++;
}

static void on_output(void *opaque, const uint8_t *bytes, size_t len)
{
	(void)opaque;
	for (size_t i = 0; i < len; i++)
		sent[outputs++ % 256] = bytes[i];
}

static void on_room(void *opaque)
{
	(void)opaque;
	rooms++;
	/* No lock is held: a backend may answer at once. */
	if (feed_from_room)
		uart_input(uart, (const uint8_t *)"r", 1);
}

static void setup(void)
{
	struct uart_config config = {
		.pio = &pio, .base = 0x3f8, .irq = on_irq, .output = on_output, .room = on_room};
	struct uart *other;

	bus_init(&pio);
	cr_assert_eq(uart_new(&config, &uart), 0);
	cr_assert_eq(uart_new(&config, &other), -EEXIST);
}

static void teardown(void)
{
	uart_free(uart);
	cr_assert_eq(pio.count, 0);
}

static uint8_t in(unsigned reg)
{
	uint64_t value;

	bus_read(&pio, 0x3f8 + reg, 1, &value);
	return (uint8_t)value;
}

static void out(unsigned reg, uint8_t value)
{
	bus_write(&pio, 0x3f8 + reg, 1, value);
}

static size_t input(const char *text)
{
	return uart_input(uart, (const uint8_t *)text, strlen(text));
}

TestSuite(uart, .init = setup, .fini = teardown, .timeout = 60);

Test(uart, power_on)
{
	cr_assert_eq(in(IER), 0);
	cr_assert_eq(in(IIR), 0x01);
	cr_assert_eq(in(LCR), 0);
	cr_assert_eq(in(MCR), 0);
	cr_assert_eq(in(LSR), 0x60);
	cr_assert_eq(in(MSR), 0xb0);
	cr_assert_eq(edges, 0);
}

Test(uart, transmit)
{
	out(THR, 'h');
	out(THR, 'i');
	cr_assert_eq(outputs, 2);
	cr_assert_arr_eq(sent, "hi", 2);
	cr_assert_eq(in(LSR), 0x60);
	cr_assert_eq(line, 0, "not enabled");
}

Test(uart, transmitter_interrupt_once_per_emptying)
{
	out(IER, 2);
	cr_assert_eq(line, 1, "enabling it while empty");
	cr_assert_eq(in(IIR), 0x02);
	cr_assert_eq(line, 0, "reading IIR answers it");
	cr_assert_eq(in(IIR), 0x01);
	out(IER, 2);
	cr_assert_eq(line, 0, "enabled already");
	out(THR, 'x');
	cr_assert_eq(line, 1);
	out(IER, 0);
	cr_assert_eq(line, 0);
	out(IER, 2);
	cr_assert_eq(line, 1);
}

Test(uart, iir_read_for_another_source_keeps_thre)
{
	out(IER, 3);
	input("a");
	cr_assert_eq(in(IIR), 0x04, "received data comes first");
	in(RBR);
	cr_assert_eq(in(IIR), 0x02, "still there");
	cr_assert_eq(line, 0);
}

Test(uart, divisor_latch)
{
	out(LCR, 0x83);
	out(RBR, 0x34);
	out(IER, 0x12);
	cr_assert_eq(in(RBR), 0x34);
	cr_assert_eq(in(IER), 0x12);
	out(LCR, 0x03);
	cr_assert_eq(in(IER), 0);
	cr_assert_eq(outputs, 0, "no byte went out");
	cr_assert_eq(in(LCR), 0x03);
}

Test(uart, receive_without_fifos)
{
	cr_assert_eq(input("ab"), 1);
	cr_assert_eq(in(LSR), 0x61);
	cr_assert_eq(line, 0);
	out(IER, 1);
	cr_assert_eq(line, 1);
	cr_assert_eq(in(IIR), 0x04);
	cr_assert_eq(rooms, 0);
	cr_assert_eq(in(RBR), 'a');
	cr_assert_eq(rooms, 1, "refused before");
	cr_assert_eq(line, 0);
	cr_assert_eq(in(LSR), 0x60);
	cr_assert_eq(input("b"), 1);
	in(RBR);
	cr_assert_eq(rooms, 1, "nothing was refused this time");
}

Test(uart, receive_fifo)
{
	out(FCR, 0x81);
	out(IER, 1);
	cr_assert_eq(in(IIR), 0xc1);
	cr_assert_eq(input("0123456789abcdefgh"), 16);
	cr_assert_eq(in(IIR), 0xc4, "trigger level 8 reached");
	for (unsigned i = 0; i < 16; i++) {
		cr_assert_eq(line, 1);
		cr_assert_eq(in(IIR), i < 9 ? 0xc4 : 0xcc, "then by time-out");
		cr_assert_eq(in(RBR), "0123456789abcdef"[i]);
	}
	cr_assert_eq(line, 0);
	cr_assert_eq(in(LSR)&3, 0, "no overrun: the sender was told");
	cr_assert_eq(rooms, 1);
}

Test(uart, room_callback_may_feed)
{
	feed_from_room = true;
	cr_assert_eq(input("ab"), 1);
	cr_assert_eq(in(RBR), 'a');
	cr_assert_eq(in(RBR), 'r');
}

Test(uart, fifo_control)
{
	out(FCR, 0x01);
	input("abc");
	out(FCR, 0x03);
	cr_assert_eq(in(LSR), 0x60, "receiver cleared");
	input("abc");
	out(FCR, 0x05);
	cr_assert_eq(in(LSR), 0x61, "the transmitter's bit leaves it");
	out(FCR, 0x00);
	cr_assert_eq(in(LSR), 0x60, "turning FIFOs off empties them");
	cr_assert_eq(in(IIR), 0x01);
	input("a");
	out(FCR, 0x02);
	cr_assert_eq(in(LSR), 0x61, "counts only with bit 0");
}

Test(uart, loopback_modem_lines)
{
	out(MCR, 0x10 | 0x0a);
	cr_assert_eq(in(MSR)&0xf0, 0x90, "RTS to CTS, OUT2 to DCD: what Linux looks for");
	out(MCR, 0x10 | 0x05);
	cr_assert_eq(in(MSR), 0x60 | 0x0b, "DSR, RI; CTS, DSR, DCD changed");
	cr_assert_eq(in(MSR), 0x60, "read clears the changes");
	out(MCR, 0x10 | 0x01);
	cr_assert_eq(in(MSR), 0x20 | 0x04, "RI ended");
	out(IER, 8);
	cr_assert_eq(line, 0);
	out(MCR, 0);
	cr_assert_eq(line, 1);
	cr_assert_eq(in(IIR), 0x00);
	in(MSR);
	cr_assert_eq(line, 0);
	out(MCR, 0xff);
	cr_assert_eq(in(MCR), 0x1f);
}

Test(uart, loopback_data_and_overrun)
{
	out(MCR, 0x10);
	out(IER, 4);
	cr_assert_eq(input("z"), 0, "the line is cut off");
	out(THR, 'a');
	cr_assert_eq(in(LSR), 0x61);
	cr_assert_eq(line, 0);
	out(THR, 'b');
	cr_assert_eq(line, 1);
	cr_assert_eq(in(IIR), 0x06);
	cr_assert_eq(in(LSR), 0x63);
	cr_assert_eq(in(LSR), 0x61);
	cr_assert_eq(line, 0);
	cr_assert_eq(in(RBR), 'b', "overwritten without FIFO");
	out(FCR, 1);
	for (unsigned i = 0; i < 17; i++)
		out(THR, (uint8_t)i);
	cr_assert_eq(in(LSR), 0x63);
	for (unsigned i = 0; i < 16; i++)
		cr_assert_eq(in(RBR), i, "kept with FIFO");
	cr_assert_eq(outputs, 0);
	cr_assert_eq(rooms, 0);
	out(MCR, 0);
	cr_assert_eq(rooms, 1);
	cr_assert_eq(input("z"), 1);
}

/* The steps by which Linux 8250 tells a 16550A, and sizes its FIFO. */
Test(uart, linux_autoconfig)
{
	unsigned count = 0;

	out(IER, 0);
	cr_assert_eq(in(IER)&0xf, 0);
	out(IER, 0x0f);
	cr_assert_eq(in(IER)&0xf, 0x0f);
	out(IER, 0);
	out(LCR, 0xbf);
	out(FCR, 0);
	out(LCR, 0);
	out(FCR, 0x01);
	cr_assert_eq(in(IIR)&0xc0, 0xc0);
	out(FCR, 0x21);
	cr_assert_eq(in(IIR)&0xe0, 0xc0, "no 64-byte FIFO");
	out(IER, 0x40);
	cr_assert_eq(in(IER), 0, "no UUE bit");
	out(FCR, 0x07);
	out(MCR, 0x10);
	for (unsigned i = 0; i < 256; i++)
		out(THR, (uint8_t)i);
	while (in(LSR)&1 && count < 256) {
		in(RBR);
		count++;
	}
	cr_assert_eq(count, 16);
	out(SCR, 0x5a);
	cr_assert_eq(in(SCR), 0x5a);
}

Test(uart, wide_accesses_are_bytes)
{
	uint64_t value;

	bus_write(&pio, 0x3f8, 4, 0x03000141);
	cr_assert_eq(outputs, 1);
	cr_assert_eq(sent[0], 0x41);
	cr_assert_eq(in(IER), 1);
	cr_assert_eq(in(LCR), 3);
	bus_read(&pio, 0x3fc, 4, &value);
	cr_assert_eq(value, 0x00b06000);
	cr_assert_eq(bus_read(&pio, 0x3fe, 4, &value), -ENOENT);
}

Test(uart, reset)
{
	out(IER, 1);
	out(FCR, 1);
	input("abc");
	cr_assert_eq(line, 1);
	uart_reset(uart);
	cr_assert_eq(line, 0);
	cr_assert_eq(in(IER), 0);
	cr_assert_eq(in(IIR), 1);
	cr_assert_eq(in(LSR), 0x60);
}

/* The line says what IIR says, whatever is written; a handler that obeys IIR comes to an end. */
Test(uart, hostile_accesses)
{
	unsigned seed = 11;

	for (int i = 0; i < 50000; i++) {
		unsigned width = 1u << noise(&seed) % 4, reg = noise(&seed) % 8;
		uint64_t value = (uint64_t)noise(&seed) << 32 ^ (uint64_t)noise(&seed) << 1;

		if (noise(&seed) % 2)
			bus_write(&pio, 0x3f8 + reg, width, value);
		else
			bus_read(&pio, 0x3f8 + reg, width, &value);
		if (i % 7 == 0)
			input("some input that is longer than the FIFO");
		cr_assert_eq(in(LSR)&0x60, 0x60);
		cr_assert_eq(in(MCR)&0xe0, 0);
		if (i % 50 == 0) {
			unsigned turns = 0;

			out(LCR, 0);
			while (line && ++turns < 40) {
				switch (in(IIR)&0xf) {
				case 0x6:
					in(LSR);
					break;
				case 0x4:
				case 0xc:
					in(RBR);
					break;
				case 0x0:
					in(MSR);
					break;
				default:
					break;
				}
			}
			cr_assert_lt(turns, 40, "no storm");
			cr_assert_eq(in(IIR)&1, 1);
		}
	}
}

static void *reader(void *arg)
{
	unsigned *got = arg;

	while (*got < 5000)
		if (in(LSR)&1) {
			in(RBR);
			++*got;
		}
	return NULL;
}

Test(uart, input_from_another_thread_loses_nothing)
{
	unsigned got = 0, offered = 0;
	pthread_t thread;

	out(FCR, 1);
	out(IER, 1);
	pthread_create(&thread, NULL, reader, &got);
	while (offered < 5000)
		offered += (unsigned)uart_input(uart, (const uint8_t *)"abc",
						5000 - offered < 3 ? 5000 - offered : 3);
	pthread_join(thread, NULL);
	cr_assert_eq(got, 5000);
	cr_assert_eq(line, 0);
}
