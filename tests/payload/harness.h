/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine with the agent in it, built by hand from the monitor's KVM, memory, interrupt and vCPU
 * parts, and the means to tell the agent what to do, one command at a time.
 */
#ifndef POSTERN_TESTS_HARNESS_H
#define POSTERN_TESTS_HARNESS_H

#include "agent.h"
#include "vmm/machine.h"

#define HARNESS_IRQS 64

struct harness {
	struct machine m;
	struct machine_config config;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	/* One command: dwords on their way in, then the answer's on their way out. */
	uint32_t in[4], out[2];
	unsigned in_left, out_got;
	bool waiting; /* the agent's vCPU is inside the read of its port */
	uint8_t irq[HARNESS_IRQS];
	unsigned irqs;
	unsigned ap_hellos;
	uint32_t eoi_pins;
	unsigned finishes;
};

/* CPUS vCPUs, 16 MiB; exits the program with a TAP line if there is no KVM. */
struct harness *harness_new(unsigned cpus);
void harness_start(struct harness *h);
/* Power-on state and memory; after harness_join(). */
void harness_reset(struct harness *h);
/* Wait for the vCPUs to end by themselves or by machine_finish(). Returns how they ended. */
enum machine_end harness_join(struct harness *h);
/* End, join, free. */
void harness_free(struct harness *h);

/* Hand over a command and wait for the answer. */
uint64_t agent(struct harness *h, unsigned op, uint64_t addr, uint64_t value);
/* The same for commands that never answer. */
void agent_post(struct harness *h, unsigned op, uint64_t addr, uint64_t value);

/* TAP. */
void ok(bool pass, const char *format, ...) __attribute__((format(printf, 2, 3)));
int done_testing(void);

#endif
