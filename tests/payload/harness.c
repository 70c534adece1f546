// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define MEMORY_SIZE (16 * MIB)

extern const uint8_t agent_image[], agent_image_end[];

static unsigned tests, failures;

void ok(bool pass, const char *format, ...)
{
	va_list args;

	printf("%s %u - ", pass ? "ok" : "not ok", ++tests);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	failures += !pass;
}

int done_testing(void)
{
	printf("1..%u\n", tests);
	return failures ? 1 : 0;
}

/*
 * Stand-ins for the parts that this machine does without. They are weak: a program that links the
 * real ones gets those.
 */
bool __attribute__((weak)) machine_finish(struct machine *m, enum machine_end end)
{
	struct harness *h = container_of(m, struct harness, m);
	int running = MACHINE_RUNNING;
	bool first = atomic_compare_exchange_strong(&m->end, &running, (int)end);

	if (first) {
		pthread_mutex_lock(&h->lock);
		h->finishes++;
		pthread_cond_broadcast(&h->cond);
		pthread_mutex_unlock(&h->lock);
	}
	for (unsigned i = 0; i < m->config->cpus; i++)
		vcpu_kick(&m->vcpu[i]);
	return first;
}

void __attribute__((weak)) ioapic_eoi_pin(struct ioapic *ioapic, unsigned pin)
{
	struct harness *h = (struct harness *)(void *)ioapic;

	pthread_mutex_lock(&h->lock);
	h->eoi_pins |= 1u << pin;
	pthread_mutex_unlock(&h->lock);
}

int __attribute__((weak))
guest_cpuid_filter(struct kvm_cpuid2 *cpuid, unsigned max, const struct guest_cpuid *want)
{
	(void)max;
	for (unsigned i = 0; i < cpuid->nent; i++) {
		if (cpuid->entries[i].function == 1)
			cpuid->entries[i].ebx =
				(cpuid->entries[i].ebx & 0x00ffffff) | want->cpu << 24;
	}
	return 0;
}

int __attribute__((weak))
guest_entry_registers(const struct guest_entry *entry, const struct guest_memory *memory,
		      struct kvm_sregs *sregs, struct kvm_regs *regs)
{
	struct kvm_segment code = {
		.limit = 0xffffffff,
		.selector = 8,
		.type = 11,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1,
	};
	struct kvm_segment data = code;

	(void)memory;
	data.selector = 16;
	data.type = 3;
	sregs->cs = code;
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
	sregs->cr0 = 0x11; /* PE, ET */
	regs->rip = entry->rip;
	regs->rbx = entry->argument;
	regs->rflags = 2;
	return 0;
}

/* ---- the agent's ports ---- */

/*
 * Waits for a command in the guest's read, until the vCPU is wanted elsewhere: a kick cannot wake a
 * condition variable, so look for one now and then.
 */
static uint64_t command_read(void *opaque, uint64_t offset, unsigned width)
{
	struct harness *h = opaque;
	struct vcpu *vcpu = &h->m.vcpu[0];
	uint32_t value = (uint32_t)NO_COMMAND;
	struct timespec until;

	(void)offset;
	(void)width;
	pthread_mutex_lock(&h->lock);
	h->waiting = true;
	pthread_cond_broadcast(&h->cond);
	while (!h->in_left && !vcpu->kick && h->m.end == MACHINE_RUNNING) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 2000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&h->cond, &h->lock, &until);
	}
	h->waiting = false;
	if (h->in_left) {
		value = h->in[4 - h->in_left];
		h->in_left--;
	}
	pthread_mutex_unlock(&h->lock);
	return value;
}

static void command_write(void *opaque, uint64_t offset, unsigned width, uint64_t value)
{
	struct harness *h = opaque;

	(void)offset;
	(void)width;
	pthread_mutex_lock(&h->lock);
	if (h->out_got < 2)
		h->out[h->out_got++] = (uint32_t)value;
	pthread_cond_broadcast(&h->cond);
	pthread_mutex_unlock(&h->lock);
}

static void event_write(void *opaque, uint64_t offset, unsigned width, uint64_t value)
{
	struct harness *h = opaque;

	(void)width;
	pthread_mutex_lock(&h->lock);
	if (offset == AP_PORT - IRQ_PORT)
		h->ap_hellos += value == 0xa9;
	else if (h->irqs < HARNESS_IRQS)
		h->irq[h->irqs++] = (uint8_t)value;
	pthread_cond_broadcast(&h->cond);
	pthread_mutex_unlock(&h->lock);
}

static uint64_t event_read(void *opaque, uint64_t offset, unsigned width)
{
	(void)opaque;
	(void)offset;
	return width_mask(width);
}

void agent_post(struct harness *h, unsigned op, uint64_t addr, uint64_t value)
{
	pthread_mutex_lock(&h->lock);
	h->in[0] = op;
	h->in[1] = (uint32_t)addr;
	h->in[2] = (uint32_t)value;
	h->in[3] = (uint32_t)(value >> 32);
	h->in_left = 4;
	h->out_got = 0;
	pthread_cond_broadcast(&h->cond);
	pthread_mutex_unlock(&h->lock);
}

uint64_t agent(struct harness *h, unsigned op, uint64_t addr, uint64_t value)
{
	uint64_t result;

	agent_post(h, op, addr, value);
	pthread_mutex_lock(&h->lock);
	while (h->out_got < 2 && h->m.end == MACHINE_RUNNING)
		pthread_cond_wait(&h->cond, &h->lock);
	result = (uint64_t)h->out[1] << 32 | h->out[0];
	pthread_mutex_unlock(&h->lock);
	return result;
}

/* ---- the machine ---- */

static void skip_all(const char *why)
{
	printf("1..0 # SKIP %s\n", why);
	exit(0);
}

static void must(int rc, const char *what)
{
	if (!rc)
		return;
	printf("Bail out! %s: %s\n", what, strerror(-rc));
	exit(1);
}

void harness_reset(struct harness *h)
{
	struct machine *m = &h->m;
	struct guest_entry entry = {.protocol = GUEST_PVH, .rip = AGENT_BASE};
	uint8_t *low = guest_memory_at(&m->memory, 0, MEMORY_SIZE);

	memset(low, 0, MEMORY_SIZE);
	memcpy(low + AGENT_BASE, agent_image, (size_t)(agent_image_end - agent_image));
	h->in_left = h->out_got = h->irqs = h->ap_hellos = 0;
	h->eoi_pins = 0;
	m->end = MACHINE_RUNNING;
	for (unsigned i = 0; i < h->config.cpus; i++)
		must(vcpu_reset(&m->vcpu[i], i ? NULL : &entry), "vcpu_reset");
}

struct harness *harness_new(unsigned cpus)
{
	static const struct bus_ops command_ops = {command_read, command_write};
	static const struct bus_ops event_ops = {event_read, event_write};
	struct harness *h = calloc(1, sizeof(*h));
	struct machine *m;

	if (!h)
		must(-ENOMEM, "harness");
	m = &h->m;
	if (access("/dev/kvm", R_OK | W_OK) < 0)
		skip_all("no /dev/kvm that this user may open");
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->cond, NULL);
	pthread_mutex_init(&m->pause_lock, NULL);
	pthread_cond_init(&m->pause_cond, NULL);
	h->config.cpus = cpus;
	m->config = &h->config;
	m->ioapic = (struct ioapic *)(void *)h;
	bus_init(&m->mmio);
	bus_init(&m->pio);
	/* A guest that waits for what never comes is a failure, not a hang. */
	alarm(60);
	must(kvm_open(&m->kvm), "kvm_open");
	kvm_window_init(m);
	must(memory_new(&m->memory, MEMORY_SIZE, false), "memory_new");
	must(kvm_memory_add(&m->kvm, 0, MEMORY_SIZE, m->memory.region[0].host, false),
	     "kvm_memory_add");
	must(irq_new(&m->kvm, &m->irq), "irq_new");
	must(bus_add(&m->pio, &(struct bus_range){COMMAND_PORT, 4, &command_ops, h, "command"}),
	     "bus_add");
	must(bus_add(&m->pio, &(struct bus_range){IRQ_PORT, 2, &event_ops, h, "event"}), "bus_add");
	for (unsigned i = 0; i < cpus; i++)
		must(vcpu_new(m, i, &m->vcpu[i]), "vcpu_new");
	harness_reset(h);
	return h;
}

void harness_start(struct harness *h)
{
	for (unsigned i = 0; i < h->config.cpus; i++) {
		struct vcpu *vcpu = &h->m.vcpu[i];

		must(-pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu), "pthread_create");
		vcpu->started = true;
	}
}

enum machine_end harness_join(struct harness *h)
{
	for (unsigned i = 0; i < h->config.cpus; i++) {
		if (h->m.vcpu[i].started)
			pthread_join(h->m.vcpu[i].thread, NULL);
		h->m.vcpu[i].started = false;
	}
	return (enum machine_end)h->m.end;
}

void harness_free(struct harness *h)
{
	struct machine *m = &h->m;

	machine_finish(m, MACHINE_QUIT);
	harness_join(h);
	for (unsigned i = 0; i < h->config.cpus; i++)
		vcpu_free(&m->vcpu[i]);
	irq_free(m->irq);
	kvm_close(&m->kvm);
	memory_free(&m->memory);
	free(h);
}
