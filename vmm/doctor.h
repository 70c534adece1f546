/* SPDX-License-Identifier: Apache-2.0 */
/* What `postern doctor` is made of: sections that find facts by trying. Internal to vmm/. */
#ifndef POSTERN_DOCTOR_H
#define POSTERN_DOCTOR_H

enum doctor_verdict { DOCTOR_NO, DOCTOR_YES, DOCTOR_UNKNOWN };

struct doctor;

/* One finding. FIX may be NULL; DETAIL says what was tried and found. */
void doctor_report(struct doctor *d, const char *name, enum doctor_verdict verdict, const char *fix,
		   const char *detail, ...) __attribute__((format(printf, 5, 6)));

struct doctor_section {
	const char *name;
	unsigned order;
	void (*check)(struct doctor *d);
};

#define DOCTOR_SECTION(symbol)                                                                     \
	static const struct doctor_section *const symbol##_entry                                   \
		__attribute__((used, retain, section("doctor_sections"))) = &(symbol)

#endif
