// SPDX-License-Identifier: Apache-2.0
/*
 * How long a signal of an assigned device takes until it is pending in the vCPU's local APIC, with
 * irq=direct (KVM reads the eventfd) and irq=loop (the event loop reads it and sends the message),
 * in turn. The vCPU does not run, so that entering and leaving a guest is in neither.
 *
 *	irq [SIGNALS]
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "devices/vfio/loop_sink.h"
#include "vmm/machine.h"

#define VECTOR	    0x31u
#define APIC_SPIV   0xf0u
#define APIC_IRR    0x200u
#define SIGNALS_MAX 1000000u
#define GIVE_UP_NS  10e9

static struct kvm kvm;
static struct irq *irq;
static struct event_loop *loop;
static struct vfio_loop_sink loop_sink;
static int vcpu;
static struct kvm_lapic_state idle; /* enabled, nothing pending */

struct way {
	const char *name;
	struct msi_sink *sink;
	struct msi_route *route;
	int fd;
	double *ns;
};

static _Noreturn void fail(const char *what, int error)
{
	fprintf(stderr, "irq: %s: %s\n", what, strerror(error));
	exit(1);
}

static void check(const char *what, int rc)
{
	if (rc)
		fail(what, -rc);
}

static void control(const char *what, unsigned long request, void *arg)
{
	if (ioctl(vcpu, request, arg) < 0)
		fail(what, errno);
}

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void *serve(void *opaque)
{
	(void)opaque;
	check("the event loop", event_loop_run(loop));
	return NULL;
}

static void vcpu_open(void)
{
	const uint32_t enabled = 0x1ff;

	vcpu = ioctl(kvm.vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		fail("KVM_CREATE_VCPU", errno);
	control("KVM_GET_LAPIC", KVM_GET_LAPIC, &idle);
	memcpy(&idle.regs[APIC_SPIV], &enabled, sizeof(enabled));
	control("KVM_SET_LAPIC", KVM_SET_LAPIC, &idle);
}

static bool pending(void)
{
	struct kvm_lapic_state state;

	control("KVM_GET_LAPIC", KVM_GET_LAPIC, &state);
	return state.regs[APIC_IRR + VECTOR / 32 * 16 + VECTOR % 32 / 8] & 1 << VECTOR % 8;
}

static double signal_once(const struct way *way)
{
	const uint64_t one = 1;
	double begin, end;

	control("KVM_SET_LAPIC", KVM_SET_LAPIC, &idle);
	begin = now_ns();
	if (write(way->fd, &one, sizeof(one)) != sizeof(one))
		fail("write to the eventfd", errno);
	do {
		bool there = pending();

		end = now_ns();
		if (there)
			return end - begin;
	} while (end - begin < GIVE_UP_NS);
	fail(way->name, ETIMEDOUT);
}

static void way_open(struct way *way, unsigned signals)
{
	const struct msi_msg msg = {.addr = 0xfee00000, .data = VECTOR};

	way->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	way->ns = calloc(signals, sizeof(*way->ns));
	if (way->fd < 0 || !way->ns)
		fail(way->name, errno);
	check(way->name, msi_route_new(way->sink, way->fd, &way->route));
	check(way->name, msi_route_set(way->sink, way->route, &msg));
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void way_close(struct way *way, unsigned signals)
{
	qsort(way->ns, signals, sizeof(*way->ns), compare);
	printf("%-40s median %8.1f us  p99 %8.1f us  p99.9 %8.1f us  max %8.1f us\n", way->name,
	       way->ns[signals / 2] / 1e3, way->ns[signals - 1 - signals / 100] / 1e3,
	       way->ns[signals - 1 - signals / 1000] / 1e3, way->ns[signals - 1] / 1e3);
	msi_route_free(way->sink, way->route);
	close(way->fd);
	free(way->ns);
}

int main(int argc, char **argv)
{
	unsigned signals = argc > 1 ? (unsigned)atoi(argv[1]) : 5000;
	struct way ways[] = {{.name = "signal to pending, irq=direct"},
			     {.name = "signal to pending, irq=loop"}};
	struct irq_stats before, after;
	pthread_t thread;

	if (signals < 1 || signals > SIGNALS_MAX) {
		fprintf(stderr, "usage: irq [SIGNALS]\n");
		return 2;
	}
	if (kvm_open(&kvm))
		return 1;
	check("interrupt routing", irq_new(&kvm, &irq));
	vcpu_open();
	check("a message sink", irq_sink_new(irq, 0x18, false, &ways[0].sink));
	check("an event loop", event_loop_new(EVENT_LOOP_AUTO, &loop));
	check("irq=loop", vfio_loop_sink_init(&loop_sink, loop, "vfio", ways[0].sink));
	ways[1].sink = &loop_sink.sink;
	for (unsigned w = 0; w < ARRAY_SIZE(ways); w++)
		way_open(&ways[w], signals);
	if (pthread_create(&thread, NULL, serve, NULL))
		fail("a thread", errno);

	signal_once(&ways[0]);
	signal_once(&ways[1]);
	irq_stats(irq, &before);
	for (unsigned i = 0; i < signals; i++) {
		for (unsigned w = 0; w < ARRAY_SIZE(ways); w++)
			ways[w].ns[i] = signal_once(&ways[w]);
	}
	irq_stats(irq, &after);
	/* A row that measures something else than its name says would be worse than none. */
	if (after.messages - before.messages != signals)
		fail("the two ways are not what they are called", EIO);

	event_loop_stop(loop);
	pthread_join(thread, NULL);
	for (unsigned w = 0; w < ARRAY_SIZE(ways); w++)
		way_close(&ways[w], signals);
	vfio_loop_sink_fini(&loop_sink);
	event_loop_free(loop);
	close(vcpu);
	irq_free(irq);
	kvm_close(&kvm);
	return 0;
}
