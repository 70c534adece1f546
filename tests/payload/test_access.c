// SPDX-License-Identifier: Apache-2.0
/* Port I/O, MMIO, doorbells and memory windows, as a guest sees them. */
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

#define PORT	0x600u
#define MMIO	UINT64_C(0xd0000000)
#define WINDOW	UINT64_C(0xd1000000)
#define PATTERN UINT64_C(0x8877665544332211)

/* A device that is plain memory and remembers how it was asked. */
struct ram {
	uint8_t byte[0x2000];
	unsigned accesses;
	struct {
		uint64_t offset;
		unsigned width;
	} seen[32];
};

static void ram_note(struct ram *ram, uint64_t offset, unsigned width)
{
	unsigned n = ram->accesses++ % ARRAY_SIZE(ram->seen);

	ram->seen[n].offset = offset;
	ram->seen[n].width = width;
}

static uint64_t ram_read(void *opaque, uint64_t offset, unsigned width)
{
	struct ram *ram = opaque;
	uint64_t value = 0;

	ram_note(ram, offset, width);
	memcpy(&value, ram->byte + offset, width);
	return value;
}

static void ram_write(void *opaque, uint64_t offset, unsigned width, uint64_t value)
{
	struct ram *ram = opaque;

	ram_note(ram, offset, width);
	memcpy(ram->byte + offset, &value, width);
}

static const struct bus_ops ram_ops = {ram_read, ram_write};

static void test_pio(struct harness *h, struct ram *ram)
{
	static const struct {
		unsigned out, in, width;
	} row[] = {{OP_OUT1, OP_IN1, 1}, {OP_OUT2, OP_IN2, 2}, {OP_OUT4, OP_IN4, 4}};

	for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
		uint64_t want = PATTERN & width_mask(row[i].width);

		memset(ram->byte, 0xee, 16);
		agent(h, row[i].out, PORT, PATTERN);
		ok(!memcmp(ram->byte, &want, row[i].width) && ram->byte[row[i].width] == 0xee &&
			   ram->seen[(ram->accesses - 1) % 32].width == row[i].width,
		   "out of %u bytes", row[i].width);
		ok(agent(h, row[i].in, PORT, 0) == want, "in of %u bytes", row[i].width);
	}
	ok(agent(h, OP_IN4, 0x7f0, 0) == 0xffffffff, "a port nobody claims reads all ones");
	agent(h, OP_OUT4, 0x7f0, 0);
	ok(agent(h, OP_IN4, PORT + 0xfe, 0) == 0xffffffff,
	   "an access over the end of a range reads all ones");
}

static uint16_t stream[64];
static unsigned streamed;

static uint64_t stream_read(void *opaque, uint64_t offset, unsigned width)
{
	(void)opaque;
	(void)offset;
	(void)width;
	return 0x1100u + streamed++;
}

static void stream_write(void *opaque, uint64_t offset, unsigned width, uint64_t value)
{
	(void)opaque;
	(void)offset;
	(void)width;
	if (streamed < ARRAY_SIZE(stream))
		stream[streamed++] = (uint16_t)value;
}

static void test_string_io(struct harness *h)
{
	static const struct bus_ops ops = {stream_read, stream_write};
	uint16_t *buffer = guest_memory_at(&h->m.memory, AGENT_BUFFER, 128);
	bool same = true;

	bus_add(&h->m.pio, &(struct bus_range){0x400, 2, &ops, NULL, "stream"});
	for (unsigned i = 0; i < 32; i++)
		buffer[i] = (uint16_t)(0x4000 + i);
	agent(h, OP_OUTS, 0x400, 32);
	for (unsigned i = 0; i < 32; i++)
		same &= stream[i] == 0x4000 + i;
	ok(streamed == 32 && same, "rep outsw puts out every word in order");
	streamed = 0;
	memset(buffer, 0, 128);
	agent(h, OP_INS, 0x400, 32);
	same = true;
	for (unsigned i = 0; i < 32; i++)
		same &= buffer[i] == 0x1100 + i;
	ok(same && !buffer[32], "rep insw takes every word in order");
}

static void test_mmio(struct harness *h, struct ram *ram)
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned width = 1u << i;
		uint64_t want = PATTERN & width_mask(width);

		memset(ram->byte, 0xee, 16);
		agent(h, OP_WRITE1 + i, MMIO, PATTERN);
		ok(!memcmp(ram->byte, &want, width) && ram->byte[width] == 0xee &&
			   ram->seen[(ram->accesses - 1) % 32].width == width,
		   "MMIO write of %u bytes is one access", width);
		ok(agent(h, OP_READ1 + i, MMIO, 0) == want, "MMIO read of %u bytes", width);
	}
	agent(h, OP_WRITE8, MMIO + 0x20, ~PATTERN);
	agent(h, OP_WRITE4, MMIO + 0x21, (uint32_t)PATTERN);
	ok(agent(h, OP_READ4, MMIO + 0x21, 0) == (uint32_t)PATTERN &&
		   ram->seen[(ram->accesses - 1) % 32].width == 4,
	   "a misaligned MMIO access inside a page stays whole");
	for (unsigned first = 1; first < 8; first++) {
		uint64_t addr = 0x1000 - first;
		bool aligned = true;
		unsigned before;

		memset(ram->byte + addr, 0, 8);
		before = ram->accesses;
		agent(h, OP_WRITE8, MMIO + addr, PATTERN);
		for (unsigned i = before; i < ram->accesses; i++)
			aligned &= is_aligned(ram->seen[i % 32].offset, ram->seen[i % 32].width);
		ok(!memcmp(ram->byte + addr, &(uint64_t){PATTERN}, 8) && aligned,
		   "MMIO write over a page's end, %u bytes before it", first);
		ok(agent(h, OP_READ8, MMIO + addr, 0) == PATTERN,
		   "MMIO read over a page's end, %u bytes before it", first);
	}
	ok(agent(h, OP_READ8, MMIO + 0x100000, 0) == UINT64_MAX,
	   "MMIO that nobody claims reads all ones");
}

static uint64_t counter(int fd)
{
	uint64_t value = 0;

	if (read(fd, &value, sizeof(value)) < 0)
		return 0;
	return value;
}

static void test_doorbell(struct harness *h, struct ram *ram)
{
	struct guest_window *w = &h->m.window;
	int four = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int any = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	unsigned before;

	ok(!guest_window_doorbell_add(w, MMIO + 0x40, 4, four), "doorbell of 4 bytes");
	ok(guest_window_doorbell_add(w, MMIO + 0x40, 4, four) == -EEXIST, "not twice");
	ok(guest_window_doorbell_add(w, MMIO + 0x80, 3, four) == -EINVAL, "no doorbell of 3");
	before = ram->accesses;
	agent(h, OP_WRITE4, MMIO + 0x40, 1);
	agent(h, OP_WRITE4, MMIO + 0x40, 2);
	ok(counter(four) == 2 && ram->accesses == before, "each write rings, none is seen");
	agent(h, OP_WRITE2, MMIO + 0x40, 1);
	ok(counter(four) == 0 && ram->accesses == before + 1, "another width goes to the bus");
	ok(!guest_window_doorbell_remove(w, MMIO + 0x40, 4, four), "doorbell removed");
	agent(h, OP_WRITE4, MMIO + 0x40, 1);
	ok(counter(four) == 0 && ram->accesses == before + 2, "and is gone");
	ok(!guest_window_doorbell_add(w, MMIO + 0x50, 0, any), "doorbell of any width");
	for (unsigned i = 0; i < 4; i++)
		agent(h, OP_WRITE1 + i, MMIO + 0x50, 1);
	ok(counter(any) == 4 && ram->accesses == before + 2, "rings for 1, 2, 4 and 8 bytes");
	guest_window_doorbell_remove(w, MMIO + 0x50, 0, any);
	close(four);
	close(any);
}

static void test_window(struct harness *h, struct ram *ram)
{
	struct guest_window *w = &h->m.window;
	uint8_t *page =
		mmap(NULL, 0x2000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned before;

	bus_add(&h->m.mmio, &(struct bus_range){WINDOW, sizeof(ram->byte), &ram_ops, ram, "below"});
	memset(ram->byte, 0x11, 16);
	memset(page, 0x22, 0x2000);
	ok(agent(h, OP_READ1, WINDOW, 0) == 0x11, "the bus answers before the window");
	ok(guest_window_memory_add(w, WINDOW + 1, 0x1000, page) == -EINVAL, "unaligned: refused");
	ok(guest_window_memory_add(w, WINDOW, 0, page) == -EINVAL, "empty: refused");
	ok(guest_window_memory_add(w, ~UINT64_C(0xfff), 0x2000, page) == -EINVAL,
	   "wrapping: refused");
	ok(!guest_window_memory_add(w, WINDOW, 0x2000, page), "window added");
	ok(guest_window_memory_add(w, WINDOW + 0x1000, 0x1000, page) == -EEXIST,
	   "overlap: refused");
	before = ram->accesses;
	ok(agent(h, OP_READ1, WINDOW, 0) == 0x22 && ram->accesses == before, "memory answers");
	agent(h, OP_WRITE8, WINDOW + 0x1008, PATTERN);
	ok(!memcmp(page + 0x1008, &(uint64_t){PATTERN}, 8), "and takes writes");
	ok(!guest_window_memory_remove(w, WINDOW), "window removed");
	ok(guest_window_memory_remove(w, WINDOW) == -ENOENT, "not twice");
	ok(agent(h, OP_READ1, WINDOW, 0) == 0x11, "the bus answers again");
	for (unsigned i = 0; i < 200; i++) {
		if (guest_window_memory_add(w, WINDOW, 0x1000, page) ||
		    guest_window_memory_remove(w, WINDOW)) {
			ok(false, "round %u", i);
			break;
		}
	}
	ok(!guest_window_memory_add(w, WINDOW, 0x1000, page), "slots are used again");
	guest_window_memory_remove(w, WINDOW);
	munmap(page, 0x2000);
}

int main(void)
{
	struct harness *h = harness_new(1);
	struct ram ports = {0}, mmio = {0};

	bus_add(&h->m.pio, &(struct bus_range){PORT, 0x100, &ram_ops, &ports, "ports"});
	bus_add(&h->m.mmio, &(struct bus_range){MMIO, sizeof(mmio.byte), &ram_ops, &mmio, "mmio"});
	harness_start(h);
	test_pio(h, &ports);
	test_string_io(h);
	test_mmio(h, &mmio);
	test_doorbell(h, &mmio);
	test_window(h, &mmio);
	harness_free(h);
	return done_testing();
}
