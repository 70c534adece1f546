// SPDX-License-Identifier: Apache-2.0
/*
 * The suite as a TAP program.
 *
 *	PROGRAM [PATTERN]	run the cases whose id has PATTERN in it, or all
 *	PROGRAM --list		count what is covered, as README.md shows it
 *	PROGRAM --ids		every case in a line: id, section, idea, what
 */
#include <string.h>

#include "tests/conformance/amd_iommu/suite.h"

#define README	    "tests/conformance/amd_iommu/README.md"
#define LIST_BEGIN  "<!-- begin: --list -->\n"
#define LIST_END    "<!-- end: --list -->\n"
#define TEXT_MAX    0x4000
#define IDEAS_FIRST 23 /* 10.2; what stands before it is about ACPI and Linux */
#define IDEAS_LAST  130

static const struct case_group *const groups[] = {
	&pci_cases,	  &register_cases,  &absent_cases,	 &ring_cases,
	&command_cases,	  &event_cases,	    &device_table_cases, &page_table_cases,
	&page_size_cases, &interrupt_cases, &irte_cases,	 &hostile_cases,
	&boot_cases,	  &ats_cases,	    &guest_table_cases,	 &feature_cases,
};

/* Sections of the reference, and those of 48882 that it digests. */
static const struct {
	const char *section, *spec, *title;
} sections[] = {
	{"2.1", "3.1", "PCI configuration space"},
	{"2.2", "3.2", "capability block"},
	{"2.3", "3.4", "interrupt signalling, XT registers"},
	{"3.1", "3.4", "register access"},
	{"3.2", "3.4", "register map"},
	{"3.3", "3.4", "Control"},
	{"3.4", "3.4", "extended features"},
	{"3.6", "3.4", "Status"},
	{"4.1", "2.2.2", "device table entries"},
	{"4.2", "2.2.3", "v1 page tables"},
	{"4.3", "2.2.6", "GCR3 and guest (v2) page tables"},
	{"4.4", "2.2.5", "interrupt remapping tables"},
	{"4.5", "2.6", "PPR log entries"},
	{"5", "2.4", "commands"},
	{"5.1", "2.4", "size of an invalidation"},
	{"5.2", "2.4", "what an invalidation drops"},
	{"5.3", "2.4", "COMPLETION_WAIT"},
	{"5.4", "2.4", "errors of commands"},
	{"6.2", "2.5", "event codes"},
	{"6.3", "2.5", "event log, overflow, interrupt"},
	{"7.1", "2", "a request's entry"},
	{"7.2", "2.2.2", "DTE decision table"},
	{"7.3", "2.2.3", "v1 walk"},
	{"7.4", "2.2.6", "guest (v2) and nested walk"},
	{"7.5", "2.2.5", "interrupt path"},
	{"7.6", "2.2.5", "guest-mode interrupts"},
	{"7.7", "2.6", "translation caches of devices, page requests"},
	{"7.8", "2.4", "what may be cached"},
	{"8.1", "-", "Linux: normal boot"},
	{"8.3", "-", "Linux: kexec and kdump"},
	{"8.4", "-", "Linux: suspend, resume, shutdown"},
};

static size_t count_in(const char *section)
{
	size_t n = 0;

	for (size_t g = 0; g < ARRAY_SIZE(groups); g++)
		for (size_t i = 0; i < groups[g]->count; i++)
			n += !section || !strcmp(groups[g]->cases[i].section, section);
	return n;
}

static bool idea_covered(unsigned idea)
{
	for (size_t g = 0; g < ARRAY_SIZE(groups); g++)
		for (size_t i = 0; i < groups[g]->count; i++)
			if (groups[g]->cases[i].idea == idea)
				return true;
	return false;
}

static void list(char text[TEXT_MAX])
{
	FILE *f = fmemopen(text, TEXT_MAX, "w");

	if (!f)
		return;
	fprintf(f, "| reference | 48882 | about | cases |\n|---|---|---|---|\n");
	for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
		fprintf(f, "| %s | %s | %s | %zu |\n", sections[i].section, sections[i].spec,
			sections[i].title, count_in(sections[i].section));
	fprintf(f, "| | | all | %zu |\n\nIdeas of section 10 with a case:", count_in(NULL));
	for (unsigned idea = IDEAS_FIRST, n = 0; idea <= IDEAS_LAST; idea++)
		if (idea_covered(idea))
			fprintf(f, "%s%u", n++ % 20 ? ", " : n == 1 ? "\n" : ",\n", idea);
	fprintf(f, ".\n");
	fclose(f);
}

static void ids(void)
{
	for (size_t g = 0; g < ARRAY_SIZE(groups); g++) {
		for (size_t i = 0; i < groups[g]->count; i++) {
			const struct conformance_case *c = &groups[g]->cases[i];

			printf("%-28s %-4s %3u  %s\n", c->id, c->section, c->idea, c->what);
		}
	}
}

/* ---- TAP ---- */

static unsigned tests, failures;

static void report(bool good, const char *id, const char *section, const char *what,
		   const char *complaint)
{
	printf("%s %u - %s (%s): %s\n", good ? "ok" : "not ok", ++tests, id, section, what);
	if (!good)
		printf("# %s: %s\n", id, complaint);
	fflush(stdout);
	failures += !good;
}

/* Every section named by a case is in the table above, and no id stands for two cases. */
static void check_tables(void)
{
	char complaint[COMPLAINT_MAX] = "";
	size_t sum = 0;

	for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
		sum += count_in(sections[i].section);
	if (sum != count_in(NULL))
		snprintf(complaint, sizeof(complaint), "a case names a section that is not listed");
	for (size_t g = 0; g < ARRAY_SIZE(groups); g++)
		for (size_t i = 0; i < groups[g]->count; i++)
			for (size_t h = 0; h <= g; h++)
				for (size_t k = 0; k < (h == g ? i : groups[h]->count); k++)
					if (!strcmp(groups[g]->cases[i].id, groups[h]->cases[k].id))
						snprintf(complaint, sizeof(complaint), "two: %s",
							 groups[g]->cases[i].id);
	report(!complaint[0], "suite.tables", "10", "each case has its own id and a known section",
	       complaint);
}

static void check_readme(void)
{
	static char now[TEXT_MAX], file[4 * TEXT_MAX];
	const char *begin, *end;
	size_t length;
	FILE *f = fopen(README, "r");

	list(now);
	if (!f) {
		printf("ok %u - suite.readme # SKIP not run in the tree\n", ++tests);
		return;
	}
	length = fread(file, 1, sizeof(file) - 1, f);
	fclose(f);
	file[length] = '\0';
	begin = strstr(file, LIST_BEGIN);
	end = strstr(file, LIST_END);
	if (begin)
		begin += strlen(LIST_BEGIN);
	report(begin && end && (size_t)(end - begin) == strlen(now) &&
		       !strncmp(begin, now, strlen(now)),
	       "suite.readme", "10", "README.md counts what there is",
	       "put the output of --list between its marks");
}

int main(int argc, char **argv)
{
	const char *pattern = argc > 1 ? argv[1] : "";
	struct platform platform;

	if (!strcmp(pattern, "--list")) {
		static char text[TEXT_MAX];

		list(text);
		fputs(text, stdout);
		return 0;
	}
	if (!strcmp(pattern, "--ids")) {
		ids();
		return 0;
	}
	platform_open(&platform);
	for (size_t g = 0; g < ARRAY_SIZE(groups); g++) {
		for (size_t i = 0; i < groups[g]->count; i++) {
			const struct conformance_case *c = &groups[g]->cases[i];
			char complaint[COMPLAINT_MAX];
			bool good;

			if (!strstr(c->id, pattern))
				continue;
			good = case_run(&platform, c, complaint);
			report(good, c->id, c->section, c->what, complaint);
		}
	}
	platform_close(&platform);
	if (!*pattern) {
		check_tables();
		check_readme();
	}
	printf("1..%u\n", tests);
	return failures ? 1 : 0;
}
