// SPDX-License-Identifier: Apache-2.0
/*
 * I/O APIC (Intel 82093AA data sheet), version 20h with its EOI register.
 *
 * A redirection entry turns into the message it stands for (Intel SDM volume 3, 11.11); who takes
 * the message may remap it. Polarity is not modelled: a pin is asserted or not.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "devices/legacy/legacy.h"
#include "postern/bits.h"
#include "postern/log.h"

#define WINDOW_SIZE UINT64_C(0x1000)

/* Memory-mapped registers. */
#define IOREGSEL 0x00u
#define IOWIN	 0x10u
#define EOI	 0x40u

/* Index registers. */
#define IOAPICID    0x00u
#define IOAPICVER   0x01u
#define IOAPICARB   0x02u
#define IOREDTBL    0x10u
#define IOREDTBLEND (IOREDTBL + 2 * IOAPIC_PINS)

#define IOAPICID_ID	GENMASK(27, 24)
#define IOAPICVER_VALUE ((IOAPIC_PINS - 1) << 16 | 0x20u)

#define RTE_VECTOR	  GENMASK(7, 0)
#define RTE_DELIVERY	  GENMASK(10, 8)
#define RTE_DESTMODE	  BIT(11)
#define RTE_POLARITY	  BIT(13)
#define RTE_REMOTE_IRR	  BIT(14) /* read only, as is delivery status, bit 12 */
#define RTE_TRIGGER_LEVEL BIT(15)
#define RTE_MASK	  BIT(16)
#define RTE_EXT_DEST	  GENMASK(55, 49) /* as KVM's extended destination id has it */
#define RTE_DEST	  GENMASK(63, 56)
#define RTE_WRITABLE                                                                               \
	(RTE_VECTOR | RTE_DELIVERY | RTE_DESTMODE | RTE_POLARITY | RTE_TRIGGER_LEVEL | RTE_MASK |  \
	 RTE_EXT_DEST | RTE_DEST)

#define MSI_ADDR_BASE	  UINT64_C(0xfee00000)
#define MSI_ADDR_DEST	  GENMASK(19, 12)
#define MSI_ADDR_EXT_DEST GENMASK(11, 5)
#define MSI_ADDR_DESTMODE BIT(2)
#define MSI_DATA_VECTOR	  GENMASK(7, 0)
#define MSI_DATA_DELIVERY GENMASK(10, 8)
#define MSI_DATA_ASSERT	  BIT(14)
#define MSI_DATA_LEVEL	  BIT(15)

struct ioapic_line {
	struct intx_line line;
	struct ioapic *ioapic;
	struct ioapic_line *next;
	unsigned pin;
	bool level;
};

struct ioapic {
	struct ioapic_config config;
	struct ioapic_line *lines; /* changes with vCPUs stopped */
	/*
	 * Held over a change of an entry and the route() call that tells it, so that of two writers
	 * the last one's route stays. Only register writes and reset take it, before LOCK: no
	 * function that route() may call does.
	 */
	pthread_mutex_t route_lock;
	pthread_mutex_t lock;
	uint32_t id;
	uint8_t select;
	uint32_t asserted; /* bit per pin */
	uint64_t rte[IOAPIC_PINS];
};

static struct msi_msg rte_message(uint64_t rte)
{
	return (struct msi_msg){
		.addr = MSI_ADDR_BASE | FIELD_PREP(MSI_ADDR_DEST, FIELD_GET(RTE_DEST, rte)) |
			FIELD_PREP(MSI_ADDR_EXT_DEST, FIELD_GET(RTE_EXT_DEST, rte)) |
			(rte & RTE_DESTMODE ? MSI_ADDR_DESTMODE : 0),
		.data = (uint32_t)(FIELD_PREP(MSI_DATA_VECTOR, FIELD_GET(RTE_VECTOR, rte)) |
				   FIELD_PREP(MSI_DATA_DELIVERY, FIELD_GET(RTE_DELIVERY, rte)) |
				   MSI_DATA_ASSERT |
				   (rte & RTE_TRIGGER_LEVEL ? MSI_DATA_LEVEL : 0)),
	};
}

/* ---- delivery ---- */

/*
 * Lock held. Whether the level pin has to send now: then Remote IRR is set, until the EOI or until
 * deliver() finds that nobody took the message.
 */
static bool level_claim(struct ioapic *ioapic, unsigned pin)
{
	uint64_t *rte = &ioapic->rte[pin];

	if (*rte & (RTE_MASK | RTE_REMOTE_IRR) || !(*rte & RTE_TRIGGER_LEVEL) ||
	    !(ioapic->asserted & BIT(pin)))
		return false;
	*rte |= RTE_REMOTE_IRR;
	return true;
}

/* No lock held. Remote IRR means that an APIC has accepted the message: take it back if none did.
 */
static void deliver(struct ioapic *ioapic, unsigned pin, uint64_t rte)
{
	struct msi_msg msg = rte_message(rte);

	if (!msi_sink_send(ioapic->config.sink, &msg) || !(rte & RTE_TRIGGER_LEVEL))
		return;
	pthread_mutex_lock(&ioapic->lock);
	ioapic->rte[pin] &= ~RTE_REMOTE_IRR;
	pthread_mutex_unlock(&ioapic->lock);
}

/* Lock held. Whether the pin has to send. */
static bool pin_set(struct ioapic *ioapic, unsigned pin, bool level)
{
	bool rise;

	rise = level && !(ioapic->asserted & BIT(pin));
	if (level)
		ioapic->asserted |= (uint32_t)BIT(pin);
	else
		ioapic->asserted &= (uint32_t)~BIT(pin);
	if (ioapic->rte[pin] & RTE_TRIGGER_LEVEL)
		return level_claim(ioapic, pin);
	/* An edge on a masked pin is lost (82093AA, 3.2.4, bit 16). */
	return rise && !(ioapic->rte[pin] & RTE_MASK);
}

void ioapic_set_irq(struct ioapic *ioapic, unsigned pin, bool level)
{
	uint64_t rte;
	bool send;

	if (pin >= IOAPIC_PINS)
		return;
	pthread_mutex_lock(&ioapic->lock);
	rte = ioapic->rte[pin];
	send = pin_set(ioapic, pin, level);
	pthread_mutex_unlock(&ioapic->lock);
	if (send)
		deliver(ioapic, pin, rte);
}

static void line_set(struct intx_line *base, bool level)
{
	struct ioapic_line *line = container_of(base, struct ioapic_line, line);
	struct ioapic *ioapic = line->ioapic;
	bool any = false, send;
	uint64_t rte;

	pthread_mutex_lock(&ioapic->lock);
	line->level = level;
	for (const struct ioapic_line *l = ioapic->lines; l; l = l->next)
		any |= l->pin == line->pin && l->level;
	rte = ioapic->rte[line->pin];
	send = pin_set(ioapic, line->pin, any);
	pthread_mutex_unlock(&ioapic->lock);
	if (send)
		deliver(ioapic, line->pin, rte);
}

int ioapic_line_new(struct ioapic *ioapic, unsigned pin, struct intx_line **out)
{
	static const struct intx_line_ops ops = {.set = line_set};
	struct ioapic_line *line;

	if (pin >= IOAPIC_PINS)
		return -EINVAL;
	line = calloc(1, sizeof(*line));
	if (!line)
		return -ENOMEM;
	line->line.ops = &ops;
	line->ioapic = ioapic;
	line->pin = pin;
	line->next = ioapic->lines;
	ioapic->lines = line;
	*out = &line->line;
	return 0;
}

/* No lock held: those whose devices' pins cannot be seen let go, and look. */
static void tell_lines(struct ioapic *ioapic, unsigned pin)
{
	for (struct ioapic_line *l = ioapic->lines; l; l = l->next) {
		if (l->pin == pin && l->line.ended)
			l->line.ended(l->line.opaque);
	}
}

/* End of interrupt for one pin; without MATCH_VECTOR whatever its vector is. */
static void end_of_interrupt(struct ioapic *ioapic, unsigned pin, bool match_vector, uint8_t vector)
{
	bool ended, send;
	uint64_t rte;

	pthread_mutex_lock(&ioapic->lock);
	rte = ioapic->rte[pin];
	ended = rte & RTE_TRIGGER_LEVEL && (!match_vector || FIELD_GET(RTE_VECTOR, rte) == vector);
	pthread_mutex_unlock(&ioapic->lock);
	if (!ended)
		return;

	/* While Remote IRR is set nothing is sent: one message for all that still assert the pin.
	 */
	tell_lines(ioapic, pin);

	pthread_mutex_lock(&ioapic->lock);
	ioapic->rte[pin] &= ~RTE_REMOTE_IRR;
	send = level_claim(ioapic, pin);
	rte = ioapic->rte[pin];
	pthread_mutex_unlock(&ioapic->lock);
	if (send)
		deliver(ioapic, pin, rte);
}

void ioapic_eoi_pin(struct ioapic *ioapic, unsigned pin)
{
	if (pin < IOAPIC_PINS)
		end_of_interrupt(ioapic, pin, false, 0);
}

bool ioapic_pin_message(struct ioapic *ioapic, unsigned pin, struct msi_msg *msg)
{
	uint64_t rte;

	if (pin >= IOAPIC_PINS)
		return false;
	pthread_mutex_lock(&ioapic->lock);
	rte = ioapic->rte[pin];
	pthread_mutex_unlock(&ioapic->lock);
	*msg = rte_message(rte);
	return !(rte & RTE_MASK);
}

/* ---- registers ---- */

static void notify_route(struct ioapic *ioapic, unsigned pin, uint64_t old, uint64_t rte)
{
	struct msi_msg before = rte_message(old), msg = rte_message(rte);
	bool masked = rte & RTE_MASK;

	if (masked ? (old & RTE_MASK) != 0
		   : !(old & RTE_MASK) && before.addr == msg.addr && before.data == msg.data)
		return;
	if (ioapic->config.route)
		ioapic->config.route(ioapic->config.opaque, pin, masked ? NULL : &msg);
}

static void rte_write(struct ioapic *ioapic, unsigned pin, bool high, uint32_t value)
{
	uint64_t old, rte, mask = high ? GENMASK(63, 32) : GENMASK(31, 0);
	bool send;

	mask &= RTE_WRITABLE;
	pthread_mutex_lock(&ioapic->route_lock);
	pthread_mutex_lock(&ioapic->lock);
	old = ioapic->rte[pin];
	rte = (old & ~mask) | ((high ? (uint64_t)value << 32 : value) & mask);
	/* Remote IRR has a meaning for level-triggered interrupts only. */
	if (!(rte & RTE_TRIGGER_LEVEL))
		rte &= ~RTE_REMOTE_IRR;
	ioapic->rte[pin] = rte;
	pthread_mutex_unlock(&ioapic->lock);

	/* The route first: KVM reports the EOI of a level interrupt by it. */
	notify_route(ioapic, pin, old, rte);
	pthread_mutex_unlock(&ioapic->route_lock);

	pthread_mutex_lock(&ioapic->lock);
	send = level_claim(ioapic, pin);
	rte = ioapic->rte[pin];
	pthread_mutex_unlock(&ioapic->lock);
	if (send)
		deliver(ioapic, pin, rte);
}

static uint32_t index_read(struct ioapic *ioapic)
{
	uint8_t index = ioapic->select;

	if (index == IOAPICID || index == IOAPICARB)
		return ioapic->id;
	if (index == IOAPICVER)
		return IOAPICVER_VALUE;
	if (index >= IOREDTBL && index < IOREDTBLEND)
		return (uint32_t)(ioapic->rte[(index - IOREDTBL) / 2] >> (index % 2 ? 32 : 0));
	return UINT32_MAX;
}

static uint64_t ioapic_read(void *opaque, uint64_t offset, unsigned width)
{
	struct ioapic *ioapic = opaque;
	uint64_t value = width_mask(width);

	if (width != 4)
		return value;
	pthread_mutex_lock(&ioapic->lock);
	if (offset == IOREGSEL)
		value = ioapic->select;
	else if (offset == IOWIN)
		value = index_read(ioapic);
	pthread_mutex_unlock(&ioapic->lock);
	return value;
}

static void index_write(struct ioapic *ioapic, uint32_t value)
{
	uint8_t index;

	pthread_mutex_lock(&ioapic->lock);
	index = ioapic->select;
	if (index == IOAPICID)
		ioapic->id = value & (uint32_t)IOAPICID_ID;
	pthread_mutex_unlock(&ioapic->lock);
	if (index >= IOREDTBL && index < IOREDTBLEND)
		rte_write(ioapic, (index - IOREDTBL) / 2u, index % 2, value);
}

static void ioapic_write(void *opaque, uint64_t offset, unsigned width, uint64_t value)
{
	struct ioapic *ioapic = opaque;

	if (width != 4) {
		log_guest("IOAPIC: %u-byte write ignored", width);
		return;
	}
	if (offset == IOREGSEL) {
		pthread_mutex_lock(&ioapic->lock);
		ioapic->select = (uint8_t)value;
		pthread_mutex_unlock(&ioapic->lock);
	} else if (offset == IOWIN) {
		index_write(ioapic, (uint32_t)value);
	} else if (offset == EOI) {
		for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
			end_of_interrupt(ioapic, pin, true, (uint8_t)value);
	}
}

static const struct bus_ops ioapic_ops = {.read = ioapic_read, .write = ioapic_write};

/* ---- life ---- */

/* Input levels are the devices' affair and stay. */
void ioapic_reset(struct ioapic *ioapic)
{
	uint64_t old[IOAPIC_PINS];

	pthread_mutex_lock(&ioapic->route_lock);
	pthread_mutex_lock(&ioapic->lock);
	ioapic->id = (uint32_t)FIELD_PREP(IOAPICID_ID, ioapic->config.id);
	ioapic->select = 0;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		old[pin] = ioapic->rte[pin];
		ioapic->rte[pin] = RTE_MASK;
	}
	pthread_mutex_unlock(&ioapic->lock);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		notify_route(ioapic, pin, old[pin], RTE_MASK);
	pthread_mutex_unlock(&ioapic->route_lock);
}

int ioapic_new(const struct ioapic_config *config, struct ioapic **out)
{
	struct ioapic *ioapic = calloc(1, sizeof(*ioapic));
	int rc;

	if (!ioapic)
		return -ENOMEM;
	ioapic->config = *config;
	pthread_mutex_init(&ioapic->route_lock, NULL);
	pthread_mutex_init(&ioapic->lock, NULL);
	ioapic->id = (uint32_t)FIELD_PREP(IOAPICID_ID, config->id);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		ioapic->rte[pin] = RTE_MASK;
	rc = bus_add(config->mmio, &(struct bus_range){.base = config->base,
						       .size = WINDOW_SIZE,
						       .ops = &ioapic_ops,
						       .opaque = ioapic,
						       .name = "IOAPIC"});
	if (rc) {
		pthread_mutex_destroy(&ioapic->lock);
		pthread_mutex_destroy(&ioapic->route_lock);
		free(ioapic);
		return rc;
	}
	*out = ioapic;
	return 0;
}

void ioapic_free(struct ioapic *ioapic)
{
	if (!ioapic)
		return;
	bus_remove(ioapic->config.mmio, ioapic->config.base);
	while (ioapic->lines) {
		struct ioapic_line *line = ioapic->lines;

		ioapic->lines = line->next;
		free(line);
	}
	pthread_mutex_destroy(&ioapic->lock);
	pthread_mutex_destroy(&ioapic->route_lock);
	free(ioapic);
}
