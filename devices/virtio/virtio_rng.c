// SPDX-License-Identifier: Apache-2.0
/*
 * The virtio entropy device (virtio 1.2, 5.4): random bytes from getrandom(2) or from a file of the
 * host. A request gets at most RNG_BYTES at once, and all of them together no more than the rate
 * that was set, so that a guest that asks without end costs little.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "devices/virtio/virtio_pci.h"
#include "postern/bits.h"
#include "postern/log.h"

#define RNG_BYTES   4096u
#define RNG_IOV_MAX (2 * VIRTQUEUE_SIZE_MAX)
/* The rate is kept in shares of a tenth of a second. */
#define RNG_SHARES UINT64_C(10)
#define RNG_PERIOD (UINT64_C(1000000000) / RNG_SHARES)
#define RNG_AGAIN  UINT64_C(10000000) /* 10 ms */

struct virtio_rng {
	struct virtio_pci vp;
	char name[64];
	int fd; /* -1: getrandom() */
	bool error_said;
	uint64_t share;	 /* bytes a period; 0: no limit */
	uint64_t left;	 /* of this period's, */
	uint64_t period; /* which began then */
	struct event_timer refill, again;
	struct virtqueue_chain chain; /* the request in hand */
	uint32_t wanted;
	bool busy; /* it waits for the file */
	struct iovec iov[RNG_IOV_MAX];
	uint8_t bytes[RNG_BYTES];
	_Atomic uint64_t requests, given, waits;
};

static struct virtio_rng *to_rng(struct virtio_pci *vp)
{
	return container_of(vp, struct virtio_rng, vp);
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

/* How many of LEN bytes may be given now; 0: none before the next period, which is waited for. */
static uint32_t allowance(struct virtio_rng *rng, uint32_t len)
{
	uint64_t t;

	if (!rng->share)
		return len;
	t = now();
	if (t - rng->period >= RNG_PERIOD) {
		rng->period = t;
		rng->left = rng->share;
	}
	if (!rng->left) {
		atomic_fetch_add_explicit(&rng->waits, 1, memory_order_relaxed);
		event_loop_timer_arm(rng->vp.env.loop, &rng->refill, rng->period + RNG_PERIOD - t);
	}
	return rng->left < len ? (uint32_t)rng->left : len;
}

/* The request in hand is answered with the first N of the bytes. */
static void finish(struct virtio_rng *rng, uint32_t n)
{
	if (rng->share)
		rng->left -= n < rng->left ? n : rng->left;
	atomic_fetch_add_explicit(&rng->requests, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&rng->given, n, memory_order_relaxed);
	iov_write(rng->chain.iov, rng->chain.writable, rng->bytes, n);
	/* They are the guest's alone. */
	explicit_bzero(rng->bytes, n);
	dma_hold_end(&rng->chain.hold);
	virtio_pci_push(&rng->vp, 0, rng->chain.head, n);
}

/* 0 or -errno. */
static int from_kernel(struct virtio_rng *rng, uint32_t len)
{
	uint32_t done = 0;

	while (done < len) {
		ssize_t n = getrandom(rng->bytes + done, len - done, 0);

		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (uint32_t)n : 0;
	}
	return 0;
}

/* How many bytes, or -EAGAIN. Its descriptor does not block. */
static int from_file(struct virtio_rng *rng)
{
	ssize_t n = read(rng->fd, rng->bytes, rng->wanted);

	if (n > 0)
		return (int)n;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	if (!rng->error_said)
		log_error("%s: reading from it failed: %s; the guest gets the kernel's random "
			  "bytes instead",
			  rng->name, n ? strerror(errno) : "it has ended");
	rng->error_said = true;
	return from_kernel(rng, rng->wanted) ? 0 : (int)rng->wanted;
}

static void ask_again(struct virtio_rng *rng)
{
	event_loop_timer_arm(rng->vp.env.loop, &rng->again, RNG_AGAIN);
}

/* The file had nothing: many of its kind have no other way to tell than to be asked. */
static void again(struct event_timer *timer)
{
	struct virtio_rng *rng = container_of(timer, struct virtio_rng, again);
	bool live = virtio_pci_live(&rng->vp);
	int n = live ? from_file(rng) : 0;

	if (n == -EAGAIN) {
		ask_again(rng);
		return;
	}
	rng->busy = false;
	if (live)
		finish(rng, (uint32_t)n);
	else
		dma_hold_end(&rng->chain.hold);
	virtio_pci_put(&rng->vp);
	virtio_pci_serve(&rng->vp, 0);
}

static int rng_take(struct virtio_pci *vp, unsigned q)
{
	struct virtio_rng *rng = to_rng(vp);
	uint32_t len;
	int ret;

	if (rng->busy)
		return VIRTIO_PCI_LATER;
	len = allowance(rng, RNG_BYTES);
	if (!len)
		return VIRTIO_PCI_LATER;
	ret = virtqueue_pop(&vp->queue[q].vq, &rng->chain);
	if (ret <= 0)
		return ret;
	/* 5.4.6.1: buffers are the device's to write. */
	if (rng->chain.readable || !rng->chain.writable_len) {
		ret = -EPROTO;
		goto err;
	}
	rng->wanted = rng->chain.writable_len < len ? (uint32_t)rng->chain.writable_len : len;
	if (rng->fd >= 0) {
		ret = from_file(rng);
		if (ret == -EAGAIN) {
			rng->busy = true;
			virtio_pci_get(vp);
			ask_again(rng);
			return VIRTIO_PCI_LATER;
		}
		finish(rng, (uint32_t)ret);
		return 1;
	}
	ret = from_kernel(rng, rng->wanted);
	if (ret)
		goto err;
	finish(rng, rng->wanted);
	return 1;
err:
	dma_hold_end(&rng->chain.hold);
	return ret;
}

static void refill(struct event_timer *timer)
{
	virtio_pci_serve(&container_of(timer, struct virtio_rng, refill)->vp, 0);
}

static void rng_free(struct virtio_pci *vp)
{
	struct virtio_rng *rng = to_rng(vp);

	event_loop_timer_cancel(vp->env.loop, &rng->refill);
	event_loop_timer_cancel(vp->env.loop, &rng->again);
	virtio_pci_fini(vp);
	if (rng->fd >= 0)
		close(rng->fd);
	free(rng);
}

static const struct virtio_pci_ops rng_ops = {.take = rng_take, .free = rng_free};

int virtio_rng_new(const struct virtio_env *env, const struct virtio_rng_config *config,
		   struct virtio_pci **out)
{
	struct virtio_pci_config transport = {
		.ops = &rng_ops,
		.device = VIRTIO_ID_RNG,
		.class_code = 0x100000,
		.queues = 1,
	};
	struct virtio_rng *rng = calloc(1, sizeof(*rng));
	int ret;

	if (!rng)
		return -ENOMEM;
	memcpy(rng->name, config->name, strnlen(config->name, sizeof(rng->name) - 1));
	rng->fd = config->fd;
	rng->share = config->rate ? (config->rate + RNG_SHARES - 1) / RNG_SHARES : 0;
	rng->refill.expired = refill;
	rng->again.expired = again;
	rng->chain = (struct virtqueue_chain){.iov = rng->iov, .iov_max = RNG_IOV_MAX};
	transport.name = rng->name;
	ret = virtio_pci_init(&rng->vp, env, &transport);
	if (ret) {
		free(rng);
		return ret;
	}
	*out = &rng->vp;
	return 0;
}

void virtio_rng_stats(const struct virtio_pci *vp, struct virtio_rng_stats *stats)
{
	const struct virtio_rng *rng = container_of(vp, const struct virtio_rng, vp);

	*stats = (struct virtio_rng_stats){
		.requests = rng->requests,
		.bytes = rng->given,
		.waits = rng->waits,
		.kicks = vp->kicks,
		.interrupts = vp->interrupts,
	};
}
