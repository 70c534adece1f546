// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "postern/log.h"
#include "vmm/command.h"
#include "vmm/doctor.h"
#include "vmm/machine.h"
#include "vmm/options.h"

#define FINDINGS_MAX 64

SECTION_DECLARE(struct doctor_section, doctor_sections);

struct finding {
	const char *section, *name, *fix;
	enum doctor_verdict verdict;
	char detail[200];
};

struct doctor {
	const char *section;
	unsigned command_nr;
	unsigned count;
	struct finding finding[FINDINGS_MAX];
};

unsigned doctor_command_nr(const struct doctor *d)
{
	return d->command_nr;
}

void doctor_report(struct doctor *d, const char *name, enum doctor_verdict verdict, const char *fix,
		   const char *detail, ...)
{
	struct finding *f;
	va_list args;

	if (d->count == FINDINGS_MAX)
		return;
	f = &d->finding[d->count++];
	*f = (struct finding){.section = d->section, .name = name, .fix = fix, .verdict = verdict};
	va_start(args, detail);
	vsnprintf(f->detail, sizeof(f->detail), detail, args);
	va_end(args);
}

static void print_table(const struct doctor *d)
{
	static const char *const words[] = {"no", "yes", "?"};
	const char *section = NULL;

	for (unsigned i = 0; i < d->count; i++) {
		const struct finding *f = &d->finding[i];

		if (f->section != section)
			printf("%s%s\n", section ? "\n" : "", f->section);
		section = f->section;
		printf("  %-22s %-4s %s\n", f->name, words[f->verdict], f->detail);
		if (f->fix && f->verdict != DOCTOR_YES)
			printf("  %-22s      -> %s\n", "", f->fix);
	}
}

static void print_string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void print_json(const struct doctor *d)
{
	static const char *const words[] = {"no", "yes", "unknown"};

	printf("{\"version\": \"%s\", \"findings\": [", POSTERN_VERSION);
	for (unsigned i = 0; i < d->count; i++) {
		const struct finding *f = &d->finding[i];

		printf("%s\n  {\"section\": ", i ? "," : "");
		print_string(f->section);
		printf(", \"name\": ");
		print_string(f->name);
		printf(", \"verdict\": \"%s\", \"detail\": ", words[f->verdict]);
		print_string(f->detail);
		if (f->fix) {
			printf(", \"fix\": ");
			print_string(f->fix);
		}
		putchar('}');
	}
	printf("\n]}\n");
}

static int compare_sections(const void *a, const void *b)
{
	const struct doctor_section *const *x = a, *const *y = b;

	return ((*x)->order > (*y)->order) - ((*x)->order < (*y)->order);
}

static bool bootable(const struct doctor *d)
{
	for (unsigned i = 0; i < d->count; i++) {
		if (!strcmp(d->finding[i].name, "kvm") && d->finding[i].verdict == DOCTOR_YES)
			return true;
	}
	return false;
}

static int cmd_doctor(int argc, char **argv)
{
	const struct doctor_section *sorted[8] = {NULL}, *const * s;
	unsigned count = 0, nr = CONFIG_VIOMMU_COMMAND_NR;
	struct doctor *d;
	bool json = false;
	int status;

	for (int i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "--json")) {
			json = true;
		} else if (!strcmp(argv[i], "--viommu-command-nr")) {
			if (parse_command_nr(i + 1 < argc ? argv[++i] : "", &nr))
				return EXIT_USAGE;
		} else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			printf("Usage: postern doctor [--json] [--viommu-command-nr NR]\n\n"
			       "Say what this host offers to postern, found by trying, and why "
			       "the\n"
			       "better thing is missing. VFIO device nodes that nobody uses are "
			       "bound\n"
			       "for a moment.\n\n"
			       "Exit status: 0 a microVM can run here; 1 none can; 2 bad command "
			       "line.\n");
			return 0;
		} else {
			log_error("doctor: unknown argument \"%s\"; see postern doctor --help",
				  argv[i]);
			return EXIT_USAGE;
		}
	}
	d = calloc(1, sizeof(*d));
	if (!d) {
		log_error("out of memory");
		return EXIT_ERROR;
	}
	d->command_nr = nr;
	section_for_each (s, doctor_sections) {
		if (count < ARRAY_SIZE(sorted))
			sorted[count++] = *s;
	}
	qsort(sorted, count, sizeof(sorted[0]), compare_sections);
	for (unsigned i = 0; i < count; i++) {
		d->section = sorted[i]->name;
		sorted[i]->check(d);
	}
	if (json)
		print_json(d);
	else
		print_table(d);
	status = bootable(d) ? 0 : EXIT_ERROR;
	free(d);
	return status;
}

static const struct command doctor_command = {
	"doctor", "Say what this host offers and why the better thing is missing", cmd_doctor};
COMMAND(doctor_command);
