/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bit fields, sizes and the few macros that every component uses.
 *
 * Field masks are written as GENMASK(high, low) with the numbers of the specification that defines
 * the field, so that the two can be compared at a glance.
 */
#ifndef POSTERN_BITS_H
#define POSTERN_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BIT(n)		   (UINT64_C(1) << (n))
#define GENMASK(high, low) ((~UINT64_C(0) >> (63 - (high))) & (~UINT64_C(0) << (low)))

/* The value of the field MASK in REG, and a REG that holds VALUE in the field MASK. */
#define FIELD_GET(mask, reg)	(((uint64_t)(reg) & (mask)) >> __builtin_ctzll(mask))
#define FIELD_PREP(mask, value) (((uint64_t)(value) << __builtin_ctzll(mask)) & (mask))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

#define GUEST_PAGE_SIZE 4096u

/* ALIGN must be a power of two. align_up() wraps for values within ALIGN of 2^64. */
static inline uint64_t align_down(uint64_t value, uint64_t align)
{
	return value & ~(align - 1);
}

static inline uint64_t align_up(uint64_t value, uint64_t align)
{
	return (value + align - 1) & ~(align - 1);
}

static inline bool is_aligned(uint64_t value, uint64_t align)
{
	return (value & (align - 1)) == 0;
}

static inline bool is_power_of_2(uint64_t value)
{
	return value != 0 && (value & (value - 1)) == 0;
}

/* Whether [base, base + size) lies inside [0, limit), judged without wrapping. */
static inline bool range_fits(uint64_t base, uint64_t size, uint64_t limit)
{
	return size <= limit && base <= limit - size;
}

/* The WIDTH-byte (1, 2, 4 or 8) value with every bit set. */
static inline uint64_t width_mask(unsigned width)
{
	return width >= 8 ? ~UINT64_C(0) : (UINT64_C(1) << (8 * width)) - 1;
}

#endif
