// SPDX-License-Identifier: Apache-2.0
/* The network device's control queue, where a tap that is none counts what it is asked. */
#include <linux/if_tun.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "virtio_net_unit.h"

#define CONTROL 4u
#define STORM	(SIZE / 3)
#define CTRL_MQ 4

static unsigned turns, asked, asked_in, most;

static int tap_queue(void)
{
	if (asked_in != turns)
		asked = 0;
	asked_in = turns;
	if (++asked > most)
		most = asked;
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	switch (request) {
	case TUNSETVNETHDRSZ:
	case TUNSETOFFLOAD:
		return 0;
	case TUNSETQUEUE:
		return tap_queue();
	default:
		return (int)syscall(SYS_ioctl, fd, request, arg);
	}
}

static void next_turn(struct event_work *work)
{
	if (++turns == 20 * STORM)
		event_loop_stop(loop);
	else
		event_loop_post(loop, work);
}

static void setup(void)
{
	struct virtio_env env = {.window = &window, .dma = &identity.ds, .memory = &ram};
	struct virtio_net_config config = {.pairs = 2, .name = "net0"};

	ram_open();
	msix_on = true;
	cr_assert_eq(event_loop_new(EVENT_LOOP_POLL, &loop), 0);
	env.loop = loop;
	for (unsigned i = 0; i < config.pairs; i++)
		cr_assert_geq(config.fd[i] = eventfd(0, EFD_NONBLOCK), 0);
	cr_assert_eq(virtio_net_new(&env, &config, &vp), 0);
	net = container_of(vp, struct virtio_net, vp);
	start(V1 | CTRL_VQ | MQ, CONTROL + 1);
}

static void teardown(void)
{
	virtio_pci_free(vp);
	event_loop_free(loop);
	ram_close();
}

/*
 * The kernel may take long over each: the loop's other work comes between any two, however many the
 * driver has queued.
 */
Test(virtio_net_ctrl, a_storm_of_commands_lets_others_through, .init = setup, .fini = teardown)
{
	struct event_work work = {.run = next_turn};

	for (unsigned i = 0; i < STORM; i++) {
		uint8_t *p = at(data_gpa(CONTROL, i));

		p[0] = CTRL_MQ;
		p[1] = 0;
		p[2] = (uint8_t)(1 + (i + 1) % 2); /* pairs: 2, 1, 2, ... */
		p[3] = 0;
		p[4] = 0xee;
		describe(CONTROL, (uint16_t)(3 * i), data_gpa(CONTROL, i), 4, NEXT);
		describe(CONTROL, (uint16_t)(3 * i + 1), data_gpa(CONTROL, i) + 4, 1, WR);
		offer(CONTROL, (uint16_t)(3 * i));
	}
	most = 0;
	wr(VIRTIO_NOTIFY_OFFSET + VIRTIO_NOTIFY_STEP * CONTROL, 2, CONTROL);
	event_loop_post(loop, &work);
	cr_assert_eq(event_loop_run(loop), 0);
	cr_expect_eq(used(CONTROL), STORM);
	for (unsigned i = 0; i < STORM; i++)
		cr_expect_eq(*(uint8_t *)at(data_gpa(CONTROL, i) + 4), 0);
	cr_expect_eq(most, 1, "%u in one turn", most);
}
