/* SPDX-License-Identifier: Apache-2.0 */
/* The judgement of iasl (Debian: acpica-tools), and what it disassembles. */
#ifndef IASL_H
#define IASL_H

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool said(const char *path, const char *word)
{
	char line[512];
	bool found = false;
	FILE *f = fopen(path, "re");

	cr_assert_not_null(f);
	while (fgets(line, sizeof(line), f))
		/* "0 Errors, 0 Warnings" is the summary of a clean run. */
		if (strstr(line, word) && !strstr(line, " 0 Errors, 0 Warnings")) {
			found = true;
			fputs(line, stderr);
		}
	fclose(f);
	return found;
}

static void iasl(const char *dir, const char *arguments)
{
	char command[512], log[128];
	int status;

	snprintf(log, sizeof(log), "%s/log", dir);
	snprintf(command, sizeof(command), "cd %s && iasl %s >log 2>&1", dir, arguments);
	status = system(command);
	cr_expect(status == 0, "iasl %s: status %d", arguments, status);
	cr_expect_not(said(log, "Warning"), "iasl %s", arguments);
	cr_expect_not(said(log, "Error"), "iasl %s", arguments);
	cr_expect_not(said(log, "Invalid"), "iasl %s", arguments);
}

static bool source_has(const char *dir, const char *table, const char *text)
{
	char path[128], line[512];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.dsl", dir, table);
	f = fopen(path, "re");
	cr_assert_not_null(f);
	while (!found && fgets(line, sizeof(line), f))
		found = strstr(line, text);
	fclose(f);
	return found;
}

#endif
