/* SPDX-License-Identifier: Apache-2.0 */
/* Ports, for guest programs that run without anything beneath them. */
#ifndef POSTERN_TESTS_PAYLOAD_BARE_H
#define POSTERN_TESTS_PAYLOAD_BARE_H

#include <stdint.h>

static inline void out(uint16_t port, uint32_t value, unsigned width)
{
	if (width == 1)
		asm volatile("outb %b0, %1" ::"a"(value), "Nd"(port));
	else if (width == 2)
		asm volatile("outw %w0, %1" ::"a"(value), "Nd"(port));
	else
		asm volatile("outl %0, %1" ::"a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t value;

	asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

#endif
