/* SPDX-License-Identifier: Apache-2.0 */
/* What `postern doctor` is made of: sections that find facts by trying. Internal to vmm/. */
#ifndef POSTERN_DOCTOR_H
#define POSTERN_DOCTOR_H

#include "postern/section.h"

enum doctor_verdict { DOCTOR_NO, DOCTOR_YES, DOCTOR_UNKNOWN };

struct doctor;

/* The ioctl number to try VIOMMU_COMMAND with. */
unsigned doctor_command_nr(const struct doctor *d);

/* One finding. FIX may be NULL; DETAIL says what was tried and found. */
void doctor_report(struct doctor *d, const char *name,
#include "postern/section.h"

		   enum doctor_verdict verdict, const char *fix, const char *detail, ...)
	__attribute__((format(printf, 5, 6)));

struct doctor_section {
	const char *name;
	unsigned order;
	void (*check)(struct doctor *d);
};

#define DOCTOR_SECTION(symbol) SECTION_ENTRY(struct doctor_section, doctor_sections, symbol)

#endif
