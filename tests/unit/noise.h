/* SPDX-License-Identifier: Apache-2.0 */
/* Pseudo-random numbers of the tests' own, the same everywhere (rand_r() is not). */
#ifndef POSTERN_TEST_NOISE_H
#define POSTERN_TEST_NOISE_H

/* 0 to 2^31 - 1. */
static inline unsigned noise(unsigned *seed)
{
	unsigned x = *seed = *seed * 1664525u + 1013904223u;

	x ^= x >> 16;
	x *= 0x7feb352du;
	x ^= x >> 15;
	return x >> 1;
}

#endif
