// SPDX-License-Identifier: Apache-2.0
/*
 * 16550A UART (National Semiconductor PC16550D data sheet, section 8).
 *
 * A transmitted byte is gone at once, so that the transmitter is always empty; a received byte
 * below the trigger level counts as timed out at once. INTR is not gated by OUT2, as on the chip.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "devices/legacy/legacy.h"
#include "postern/bits.h"

#define REGISTERS 8u
#define FIFO_SIZE 16u

#define IER_RECEIVED BIT(0)
#define IER_THR	     BIT(1)
#define IER_LINE     BIT(2)
#define IER_MODEM    BIT(3)
#define IER_WRITABLE GENMASK(3, 0)

/* IIR 3:0, in falling priority (table III). */
#define IIR_LINE     0x06
#define IIR_RECEIVED 0x04
#define IIR_TIMEOUT  0x0c
#define IIR_THR	     0x02
#define IIR_MODEM    0x00
#define IIR_NONE     0x01
#define IIR_FIFOS    0xc0

#define FCR_ENABLE     BIT(0)
#define FCR_CLEAR_RECV BIT(1)
#define FCR_TRIGGER    GENMASK(7, 6)

#define LCR_DLAB BIT(7)

#define MCR_DTR	     BIT(0)
#define MCR_RTS	     BIT(1)
#define MCR_OUT1     BIT(2)
#define MCR_OUT2     BIT(3)
#define MCR_LOOP     BIT(4)
#define MCR_WRITABLE GENMASK(4, 0)

#define LSR_DATA    BIT(0)
#define LSR_OVERRUN BIT(1)
#define LSR_THRE    BIT(5)
#define LSR_TEMT    BIT(6)

#define MSR_DELTA_CTS BIT(0)
#define MSR_DELTA_DSR BIT(1)
#define MSR_TRAIL_RI  BIT(2)
#define MSR_DELTA_DCD BIT(3)
#define MSR_DELTAS    GENMASK(3, 0)
#define MSR_CTS	      BIT(4)
#define MSR_DSR	      BIT(5)
#define MSR_RI	      BIT(6)
#define MSR_DCD	      BIT(7)

struct uart {
	struct uart_config config;
	pthread_mutex_t lock;
	uint8_t ier, lcr, mcr, msr, scr;
	uint8_t divisor[2];
	bool fifos;
	uint8_t trigger;
	bool overrun;
	bool thr_interrupt; /* the transmitter emptied and nobody has been told */
	bool level;	    /* of the interrupt line */
	bool refused;	    /* uart_input() left bytes with its caller */
	uint8_t fifo[FIFO_SIZE];
	unsigned head, count;
};

/* What an access leaves to do once the lock is dropped. */
struct after {
	bool sent, room;
	uint8_t byte;
};

static const uint8_t trigger_level[] = {1, 4, 8, 14};

/* ---- state: lock held ---- */

static unsigned capacity(const struct uart *uart)
{
	return uart->fifos ? FIFO_SIZE : 1;
}

static void receive(struct uart *uart, uint8_t byte)
{
	if (uart->count == capacity(uart)) {
		uart->overrun = true;
		/* Without FIFOs the new character replaces the old one (LSR bit 1). */
		if (!uart->fifos)
			uart->fifo[uart->head] = byte;
		return;
	}
	uart->fifo[(uart->head + uart->count) % FIFO_SIZE] = byte;
	uart->count++;
}

static void clear_receiver(struct uart *uart)
{
	uart->head = 0;
	uart->count = 0;
}

/* The source that IIR names. */
static uint8_t interrupt_id(const struct uart *uart)
{
	if (uart->ier & IER_LINE && uart->overrun)
		return IIR_LINE;
	if (uart->ier & IER_RECEIVED && uart->count)
		return !uart->fifos || uart->count >= uart->trigger ? IIR_RECEIVED : IIR_TIMEOUT;
	if (uart->ier & IER_THR && uart->thr_interrupt)
		return IIR_THR;
	if (uart->ier & IER_MODEM && uart->msr & MSR_DELTAS)
		return IIR_MODEM;
	return IIR_NONE;
}

static void update_irq(struct uart *uart)
{
	bool level = interrupt_id(uart) != IIR_NONE;

	if (level == uart->level)
		return;
	uart->level = level;
	uart->config.irq(uart->config.opaque, level);
}

/* Modem inputs: a connected peer, or in loopback the modem outputs (8.6.6). */
static void update_modem(struct uart *uart)
{
	uint8_t old = uart->msr, now = MSR_CTS | MSR_DSR | MSR_DCD, changed;

	if (uart->mcr & MCR_LOOP)
		now = (uint8_t)((uart->mcr & MCR_RTS ? MSR_CTS : 0) |
				(uart->mcr & MCR_DTR ? MSR_DSR : 0) |
				(uart->mcr & MCR_OUT1 ? MSR_RI : 0) |
				(uart->mcr & MCR_OUT2 ? MSR_DCD : 0));
	changed = old ^ now;
	now |= old & MSR_DELTAS;
	if (changed & MSR_CTS)
		now |= MSR_DELTA_CTS;
	if (changed & MSR_DSR)
		now |= MSR_DELTA_DSR;
	if (changed & old & MSR_RI)
		now |= MSR_TRAIL_RI;
	if (changed & MSR_DCD)
		now |= MSR_DELTA_DCD;
	uart->msr = now;
}

static bool accepts(const struct uart *uart)
{
	return !(uart->mcr & MCR_LOOP) && uart->count < capacity(uart);
}

/* ---- registers: lock held ---- */

static uint8_t rbr_read(struct uart *uart)
{
	uint8_t byte;

	if (uart->lcr & LCR_DLAB)
		return uart->divisor[0];
	byte = uart->fifo[uart->head];
	if (uart->count) {
		uart->head = (uart->head + 1) % FIFO_SIZE;
		uart->count--;
	}
	return byte;
}

static void thr_write(struct uart *uart, uint8_t value, struct after *after)
{
	if (uart->lcr & LCR_DLAB) {
		uart->divisor[0] = value;
		return;
	}
	if (uart->mcr & MCR_LOOP) {
		receive(uart, value);
	} else {
		after->sent = true;
		after->byte = value;
	}
	uart->thr_interrupt = true;
}

static uint8_t ier_read(struct uart *uart)
{
	return uart->lcr & LCR_DLAB ? uart->divisor[1] : uart->ier;
}

static void ier_write(struct uart *uart, uint8_t value, struct after *after)
{
	(void)after;
	if (uart->lcr & LCR_DLAB) {
		uart->divisor[1] = value;
		return;
	}
	/* Enabling the interrupt of an empty transmitter raises it. */
	if (value & ~uart->ier & IER_THR)
		uart->thr_interrupt = true;
	uart->ier = value & IER_WRITABLE;
}

static uint8_t iir_read(struct uart *uart)
{
	uint8_t id = interrupt_id(uart);

	if (id == IIR_THR)
		uart->thr_interrupt = false;
	return id | (uart->fifos ? IIR_FIFOS : 0);
}

static void fcr_write(struct uart *uart, uint8_t value, struct after *after)
{
	bool fifos = value & FCR_ENABLE;

	(void)after;
	if (fifos != uart->fifos) {
		uart->fifos = fifos;
		clear_receiver(uart);
	}
	/* The other bits count only together with bit 0 (8.6.3). */
	if (!fifos)
		return;
	if (value & FCR_CLEAR_RECV)
		clear_receiver(uart);
	uart->trigger = trigger_level[FIELD_GET(FCR_TRIGGER, value)];
}

static uint8_t lcr_read(struct uart *uart)
{
	return uart->lcr;
}

static void lcr_write(struct uart *uart, uint8_t value, struct after *after)
{
	(void)after;
	uart->lcr = value;
}

static uint8_t mcr_read(struct uart *uart)
{
	return uart->mcr;
}

static void mcr_write(struct uart *uart, uint8_t value, struct after *after)
{
	(void)after;
	uart->mcr = value & MCR_WRITABLE;
	update_modem(uart);
}

static uint8_t lsr_read(struct uart *uart)
{
	uint8_t value = LSR_THRE | LSR_TEMT;

	if (uart->count)
		value |= LSR_DATA;
	if (uart->overrun)
		value |= LSR_OVERRUN;
	uart->overrun = false;
	return value;
}

static uint8_t msr_read(struct uart *uart)
{
	uint8_t value = uart->msr;

	uart->msr &= (uint8_t)~MSR_DELTAS;
	return value;
}

static uint8_t scr_read(struct uart *uart)
{
	return uart->scr;
}

static void scr_write(struct uart *uart, uint8_t value, struct after *after)
{
	(void)after;
	uart->scr = value;
}

/* LSR and MSR are written only by factory tests (8.6.4, 8.6.7). */
static void ignore_write(struct uart *uart, uint8_t value, struct after *after)
{
	(void)uart;
	(void)value;
	(void)after;
}

static const struct {
	uint8_t (*read)(struct uart *uart);
	void (*write)(struct uart *uart, uint8_t value, struct after *after);
} registers[REGISTERS] = {
	{rbr_read, thr_write},	  {ier_read, ier_write}, {iir_read, fcr_write},
	{lcr_read, lcr_write},	  {mcr_read, mcr_write}, {lsr_read, ignore_write},
	{msr_read, ignore_write}, {scr_read, scr_write},
};

/* ---- accesses ---- */

/* Lock held: settle the line, and see whether a refused sender should try again. */
static void settle(struct uart *uart, struct after *after)
{
	update_irq(uart);
	if (uart->refused && accepts(uart)) {
		uart->refused = false;
		after->room = true;
	}
}

static void run_after(struct uart *uart, const struct after *after)
{
	if (after->sent)
		uart->config.output(uart->config.opaque, &after->byte, 1);
	if (after->room && uart->config.room)
		uart->config.room(uart->config.opaque);
}

/* An 8-bit bus carries a wider access as bytes at rising addresses. */
static uint64_t uart_read(void *opaque, uint64_t offset, unsigned width)
{
	struct uart *uart = opaque;
	uint64_t value = 0;

	for (unsigned i = 0; i < width; i++) {
		struct after after = {0};

		pthread_mutex_lock(&uart->lock);
		value |= (uint64_t)registers[(offset + i) % REGISTERS].read(uart) << (8 * i);
		settle(uart, &after);
		pthread_mutex_unlock(&uart->lock);
		run_after(uart, &after);
	}
	return value;
}

static void uart_write(void *opaque, uint64_t offset, unsigned width, uint64_t value)
{
	struct uart *uart = opaque;

	for (unsigned i = 0; i < width; i++) {
		struct after after = {0};

		pthread_mutex_lock(&uart->lock);
		registers[(offset + i) % REGISTERS].write(uart, (uint8_t)(value >> (8 * i)),
							  &after);
		settle(uart, &after);
		pthread_mutex_unlock(&uart->lock);
		run_after(uart, &after);
	}
}

static const struct bus_ops uart_ops = {.read = uart_read, .write = uart_write};

size_t uart_input(struct uart *uart, const uint8_t *bytes, size_t len)
{
	size_t taken = 0;

	pthread_mutex_lock(&uart->lock);
	while (taken < len && accepts(uart))
		receive(uart, bytes[taken++]);
	if (taken < len)
		uart->refused = true;
	update_irq(uart);
	pthread_mutex_unlock(&uart->lock);
	return taken;
}

/* ---- life ---- */

/* Table I of the data sheet; the scratch register and the divisor are not defined there. */
static void power_on(struct uart *uart)
{
	uart->ier = 0;
	uart->lcr = 0;
	uart->mcr = 0;
	uart->scr = 0;
	uart->divisor[0] = 0;
	uart->divisor[1] = 0;
	uart->fifos = false;
	uart->trigger = trigger_level[0];
	uart->overrun = false;
	uart->thr_interrupt = false;
	clear_receiver(uart);
	uart->msr = MSR_CTS | MSR_DSR | MSR_DCD;
}

void uart_reset(struct uart *uart)
{
	struct after after = {0};

	pthread_mutex_lock(&uart->lock);
	power_on(uart);
	settle(uart, &after);
	pthread_mutex_unlock(&uart->lock);
	run_after(uart, &after);
}

int uart_new(const struct uart_config *config, struct uart **out)
{
	struct uart *uart = calloc(1, sizeof(*uart));
	int rc;

	if (!uart)
		return -ENOMEM;
	uart->config = *config;
	pthread_mutex_init(&uart->lock, NULL);
	power_on(uart);
	rc = bus_add(config->pio, &(struct bus_range){.base = config->base,
						      .size = REGISTERS,
						      .ops = &uart_ops,
						      .opaque = uart,
						      .name = "UART"});
	if (rc) {
		pthread_mutex_destroy(&uart->lock);
		free(uart);
		return rc;
	}
	*out = uart;
	return 0;
}

void uart_free(struct uart *uart)
{
	if (!uart)
		return;
	bus_remove(uart->config.pio, uart->config.base);
	pthread_mutex_destroy(&uart->lock);
	free(uart);
}
