/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What fuzz targets share: the reader of their input, and require(), by which they say what must
 * hold besides "no sanitizer complains".
 */
#ifndef POSTERN_FUZZ_H
#define POSTERN_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "postern/bits.h"

/* libFuzzer's entry points; replay.c calls them in builds without it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

_Noreturn void fuzz_fail(const char *file, int line, const char *what, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#define require(condition, ...)                                                                    \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fuzz_fail(__FILE__, __LINE__, #condition, " " __VA_ARGS__);                \
	} while (0)

/*
 * Messages to the user since the last call. They are formatted, so that a sanitizer sees what they
 * print, and shown only when the environment has FUZZ_SHOW_MESSAGES.
 */
unsigned fuzz_messages(void);

/* The bytes of one run, from the front; those that are missing read as 0. */
struct input {
	const uint8_t *at;
	size_t left;
};

static inline uint64_t input_number(struct input *in, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes && in->left; i++, in->left--)
		value |= (uint64_t)*in->at++ << (8 * i);
	return value;
}

static inline uint8_t input_u8(struct input *in)
{
	return (uint8_t)input_number(in, 1);
}

static inline uint16_t input_u16(struct input *in)
{
	return (uint16_t)input_number(in, 2);
}

static inline uint32_t input_u32(struct input *in)
{
	return (uint32_t)input_number(in, 4);
}

static inline uint64_t input_u64(struct input *in)
{
	return input_number(in, 8);
}

/* 0 to COUNT - 1, COUNT at most 256. */
static inline unsigned input_pick(struct input *in, unsigned count)
{
	return input_u8(in) % count;
}

/* 1, 2, 4 or 8 */
static inline unsigned input_width(struct input *in)
{
	return 1u << input_pick(in, 4);
}

/* At most LEN bytes to BUF; how many there were. */
static inline size_t input_copy(struct input *in, void *buf, size_t len)
{
	if (len > in->left)
		len = in->left;
	if (len)
		memcpy(buf, in->at, len);
	in->at += len;
	in->left -= len;
	return len;
}

#endif
