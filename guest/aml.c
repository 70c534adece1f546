// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "guest/aml.h"
#include "postern/bits.h"

/* AML opcodes (ACPI 6.4, 20.3) */
enum {
	AML_ZERO_OP = 0x00,
	AML_ONE_OP = 0x01,
	AML_NAME_OP = 0x08,
	AML_BYTE_PREFIX = 0x0a,
	AML_WORD_PREFIX = 0x0b,
	AML_DWORD_PREFIX = 0x0c,
	AML_STRING_PREFIX = 0x0d,
	AML_QWORD_PREFIX = 0x0e,
	AML_SCOPE_OP = 0x10,
	AML_BUFFER_OP = 0x11,
	AML_METHOD_OP = 0x14,
	AML_EXT_PREFIX = 0x5b,
	AML_EXT_DEVICE_OP = 0x82,
	AML_METHOD_SERIALIZED = 8,
};

/* Resource descriptors (6.4.2, 6.4.3) */
enum {
	CRS_IO = 0x47,
	CRS_END = 0x79,
	CRS_QWORD_SPACE = 0x8a,
	CRS_DWORD_SPACE = 0x87,
	CRS_WORD_SPACE = 0x88,
	CRS_INTERRUPT = 0x89,
	CRS_SPACE_MEMORY = 0,
	CRS_SPACE_IO = 1,
	CRS_SPACE_BUS = 2,
	CRS_CONSUMER = 1,
	CRS_FIXED = 0xc, /* minimum and maximum are */
	CRS_MEMORY_RW = 1,
	CRS_IO_ENTIRE_RANGE = 3,
	CRS_INTERRUPT_EDGE = 2,
};

#define TABLE_HEADER 36u

void aml_bytes(struct aml *aml, const void *bytes, size_t len)
{
	if (len > aml->size - aml->len) {
		aml->full = true;
		return;
	}
	memcpy(aml->buf + aml->len, bytes, len);
	aml->len += len;
}

void aml_value(struct aml *aml, uint64_t value, unsigned width)
{
	aml_bytes(aml, &value, width);
}

static void aml_insert(struct aml *aml, size_t at, const void *bytes, size_t len)
{
	if (len > aml->size - aml->len) {
		aml->full = true;
		return;
	}
	memmove(aml->buf + at + len, aml->buf + at, aml->len - at);
	memcpy(aml->buf + at, bytes, len);
	aml->len += len;
}

uint8_t acpi_checksum(const uint8_t *bytes, size_t len)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + bytes[i]);
	return (uint8_t)-sum;
}

size_t acpi_table_begin(struct aml *aml, const char *signature, uint8_t revision)
{
	size_t begin = aml->len;

	aml_bytes(aml, signature, 4);
	aml_value(aml, 0, 4);
	aml_value(aml, revision, 1);
	aml_value(aml, 0, 1);
	aml_bytes(aml, "POSTRN", 6);
	aml_bytes(aml, "POSTERN ", 8);
	aml_value(aml, 1, 4);
	aml_bytes(aml, "PSTN", 4);
	aml_value(aml, 1, 4);
	return begin;
}

void acpi_table_end(struct aml *aml, size_t begin)
{
	uint32_t len = (uint32_t)(aml->len - begin);

	if (len < TABLE_HEADER)
		return; /* the buffer is full */
	memcpy(aml->buf + begin + 4, &len, sizeof(len));
	aml->buf[begin + 9] = 0;
	aml->buf[begin + 9] = acpi_checksum(aml->buf + begin, len);
}

void acpi_gas_io8(struct aml *aml, uint16_t port)
{
	aml_value(aml, 1, 1); /* system I/O */
	aml_value(aml, 8, 1);
	aml_value(aml, 0, 1);
	aml_value(aml, 1, 1); /* byte access */
	aml_value(aml, port, 8);
}

void aml_package_end(struct aml *aml, size_t begin)
{
	size_t content = aml->len - begin, total;
	uint8_t length[4];
	unsigned n = 1;

	/* The length counts its own bytes: 6 bits in one, or 4 bits and 8 in each of up to 3 more.
	 */
	if (content + 1 > 0x3f)
		for (n = 2; content + n >= BIT(4 + 8 * (n - 1)); n++)
			;
	total = content + n;
	if (n == 1) {
		length[0] = (uint8_t)total;
	} else {
		length[0] = (uint8_t)((n - 1) << 6 | (total & 0xf));
		for (unsigned i = 1; i < n; i++)
			length[i] = (uint8_t)(total >> (4 + 8 * (i - 1)));
	}
	aml_insert(aml, begin, length, n);
}

void aml_integer(struct aml *aml, uint64_t value)
{
	if (value <= 1) {
		aml_value(aml, value ? AML_ONE_OP : AML_ZERO_OP, 1);
	} else if (value <= UINT8_MAX) {
		aml_value(aml, AML_BYTE_PREFIX, 1);
		aml_value(aml, value, 1);
	} else if (value <= UINT16_MAX) {
		aml_value(aml, AML_WORD_PREFIX, 1);
		aml_value(aml, value, 2);
	} else if (value <= UINT32_MAX) {
		aml_value(aml, AML_DWORD_PREFIX, 1);
		aml_value(aml, value, 4);
	} else {
		aml_value(aml, AML_QWORD_PREFIX, 1);
		aml_value(aml, value, 8);
	}
}

void aml_name(struct aml *aml, const char *name)
{
	aml_value(aml, AML_NAME_OP, 1);
	aml_bytes(aml, name, strlen(name));
}

void aml_name_integer(struct aml *aml, const char *name, uint64_t value)
{
	aml_name(aml, name);
	aml_integer(aml, value);
}

void aml_name_string(struct aml *aml, const char *name, const char *value)
{
	aml_name(aml, name);
	aml_value(aml, AML_STRING_PREFIX, 1);
	aml_bytes(aml, value, strlen(value) + 1);
}

static unsigned hex_digit(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
}

void aml_name_eisaid(struct aml *aml, const char *name, const char *id)
{
	/* Three letters of 5 bits and four hexadecimal digits, most significant byte first (6.1.5,
	 * EISAID macro in 19.6.37). */
	uint32_t v = (uint32_t)(id[0] - '@') << 26 | (uint32_t)(id[1] - '@') << 21 |
		     (uint32_t)(id[2] - '@') << 16 | hex_digit(id[3]) << 12 |
		     hex_digit(id[4]) << 8 | hex_digit(id[5]) << 4 | hex_digit(id[6]);

	aml_name(aml, name);
	aml_value(aml, AML_DWORD_PREFIX, 1);
	aml_value(aml, __builtin_bswap32(v), 4);
}

size_t aml_scope_begin(struct aml *aml, const char *path)
{
	size_t begin;

	aml_value(aml, AML_SCOPE_OP, 1);
	begin = aml->len;
	aml_bytes(aml, path, strlen(path));
	return begin;
}

size_t aml_device_begin(struct aml *aml, const char *name)
{
	size_t begin;

	aml_value(aml, AML_EXT_PREFIX, 1);
	aml_value(aml, AML_EXT_DEVICE_OP, 1);
	begin = aml->len;
	aml_bytes(aml, name, strlen(name));
	return begin;
}

size_t aml_method_begin(struct aml *aml, const char *name, unsigned args)
{
	size_t begin;

	aml_value(aml, AML_METHOD_OP, 1);
	begin = aml->len;
	aml_bytes(aml, name, strlen(name));
	aml_value(aml, args | AML_METHOD_SERIALIZED, 1);
	return begin;
}

size_t aml_crs_begin(struct aml *aml)
{
	aml_name(aml, "_CRS");
	aml_value(aml, AML_BUFFER_OP, 1);
	return aml->len;
}

void aml_crs_end(struct aml *aml, size_t begin)
{
	uint8_t size[3] = {AML_WORD_PREFIX};
	size_t len;

	aml_value(aml, CRS_END, 1);
	aml_value(aml, 0, 1); /* 6.4.2.9: a zero checksum is taken as good */
	len = aml->len - begin;
	size[1] = (uint8_t)len;
	size[2] = (uint8_t)(len >> 8);
	aml_insert(aml, begin, size, sizeof(size));
	aml_package_end(aml, begin);
}

void aml_crs_io(struct aml *aml, uint16_t base, uint8_t size)
{
	aml_value(aml, CRS_IO, 1);
	aml_value(aml, 1, 1); /* decodes 16 bits */
	aml_value(aml, base, 2);
	aml_value(aml, base, 2);
	aml_value(aml, 1, 1);
	aml_value(aml, size, 1);
}

void aml_crs_interrupt(struct aml *aml, uint32_t gsi, bool level)
{
	aml_value(aml, CRS_INTERRUPT, 1);
	aml_value(aml, 6, 2);
	aml_value(aml, CRS_CONSUMER | (level ? 0 : CRS_INTERRUPT_EDGE), 1);
	aml_value(aml, 1, 1);
	aml_value(aml, gsi, 4);
}

/* Address space descriptors of WIDTH-byte fields (6.4.3.5). */
static void crs_space(struct aml *aml, uint8_t tag, unsigned width, uint8_t type, uint8_t general,
		      uint8_t specific, uint64_t base, uint64_t size)
{
	aml_value(aml, tag, 1);
	aml_value(aml, 3 + 5 * width, 2);
	aml_value(aml, type, 1);
	aml_value(aml, general, 1);
	aml_value(aml, specific, 1);
	aml_value(aml, 0, width); /* granularity */
	aml_value(aml, base, width);
	aml_value(aml, base + size - 1, width);
	aml_value(aml, 0, width); /* translation */
	aml_value(aml, size, width);
}

void aml_crs_bus(struct aml *aml, uint16_t first, uint16_t last)
{
	crs_space(aml, CRS_WORD_SPACE, 2, CRS_SPACE_BUS, CRS_FIXED, 0, first, last - first + 1u);
}

void aml_crs_io_window(struct aml *aml, uint16_t base, uint16_t size)
{
	crs_space(aml, CRS_WORD_SPACE, 2, CRS_SPACE_IO, CRS_FIXED, CRS_IO_ENTIRE_RANGE, base, size);
}

void aml_crs_memory(struct aml *aml, uint64_t base, uint64_t size, bool consumer)
{
	uint8_t general = CRS_FIXED | (consumer ? CRS_CONSUMER : 0);

	/* Not marked prefetchable: Linux puts any BAR into such a window, the reverse it does not.
	 */
	if (base + size - 1 <= UINT32_MAX)
		crs_space(aml, CRS_DWORD_SPACE, 4, CRS_SPACE_MEMORY, general, CRS_MEMORY_RW, base,
			  size);
	else
		crs_space(aml, CRS_QWORD_SPACE, 8, CRS_SPACE_MEMORY, general, CRS_MEMORY_RW, base,
			  size);
}
