// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/machine.h"
#include "vmm/options.h"

/* ---- values ---- */

int parse_number(const char *text, uint64_t max, uint64_t *value)
{
	char *end;
	unsigned long long n;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 0);
	if (*end)
		return -EINVAL;
	if (errno || n > max)
		return -ERANGE;
	*value = n;
	return 0;
}

int parse_size(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	char *end;
	unsigned long long n;
	unsigned shift = 0;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 0);
	if (*end) {
		const char *unit = strchr(units, toupper((unsigned char)*end));

		if (!unit || end[1])
			return -EINVAL;
		shift = 10 * (unsigned)(unit - units + 1);
	}
	if (errno || n > UINT64_MAX >> shift)
		return -ERANGE;
	*bytes = (uint64_t)n << shift;
	return 0;
}

int parse_switch(const char *text, bool *value)
{
	if (!strcmp(text, "on"))
		*value = true;
	else if (!strcmp(text, "off"))
		*value = false;
	else
		return -EINVAL;
	return 0;
}

int config_set_string(char **field, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

/* ---- "value,key=value,key=value" ---- */

int parse_keys(const char *what, const char *text, void *target, const struct option_key *keys,
	       int (*bare)(void *target, const char *value))
{
	char *copy = strdup(text), *rest = copy, *part;
	bool first = true;
	int rc = copy ? 0 : -ENOMEM;

	while (!rc && (part = strsep(&rest, ","))) {
		char *value = strchr(part, '=');
		const struct option_key *key = keys;

		if (first && !value && bare) {
			rc = bare(target, part);
			first = false;
			continue;
		}
		first = false;
		if (!value) {
			log_error("--%s %s: \"%s\" is not of the form key=value", what, text, part);
			rc = -EINVAL;
			break;
		}
		*value++ = '\0';
		while (key->name && strcmp(key->name, part) != 0)
			key++;
		if (!key->name) {
			log_error("--%s %s: unknown key \"%s\"; see postern run --help", what, text,
				  part);
			rc = -EINVAL;
			break;
		}
		rc = key->set(target, value);
		if (rc == -EINVAL || rc == -ERANGE) {
			log_error("--%s %s: \"%s\" is not a value for %s", what, text, value, part);
			rc = -EINVAL;
		}
	}
	free(copy);
	return rc;
}

/* ---- the command line ---- */

void options_help(void)
{
	printf("Usage: postern run --kernel FILE [OPTION]...\n\n"
	       "Boot a microVM. Ctrl-A X ends it; SIGTERM presses its power button, twice ends "
	       "it.\n\n");
	for (const struct option_def *o = run_options; o->name; o++)
		printf("  --%s%s%s\n        %s\n", o->name, o->argument ? " " : "",
		       o->argument ? o->argument : "", o->help);
	printf("\nExit status: 0 the guest powered off; 1 the host could not do it; 2 bad command "
	       "line;\n"
	       "3 the guest crashed; 4 ended by the user; 5 ended by its own sandbox.\n");
}

static const struct option_def *find_option(const char *name, size_t len)
{
	for (const struct option_def *o = run_options; o->name; o++) {
		if (strlen(o->name) == len && !strncmp(o->name, name, len))
			return o;
	}
	return NULL;
}

/* One pass over argv. Only --config in the first, everything else in the second. */
static int parse_pass(struct machine_config *config, int argc, char **argv, bool config_pass)
{
	for (int i = 0; i < argc; i++) {
		const char *arg = argv[i], *value = NULL;
		const struct device_option *device;
		const struct option_def *o;
		size_t len;
		int rc;

		if (!strcmp(arg, "-h"))
			arg = "--help";
		if (strncmp(arg, "--", 2) != 0) {
			log_error("\"%s\" is not an option; see postern run --help", arg);
			return -EINVAL;
		}
		len = strcspn(arg + 2, "=");
		o = find_option(arg + 2, len);
		if (!o) {
			log_error("unknown option %.*s; see postern run --help", (int)len + 2, arg);
			return -EINVAL;
		}
		device = device_option_find(o->name);
		if (!o->set && !device) {
			options_help();
			return 1;
		}
		if (arg[2 + len] == '=')
			value = arg + 2 + len + 1;
		else if (o->argument && i + 1 < argc)
			value = argv[++i];
		if (o->argument && !value) {
			log_error("--%s needs a value: --%s %s", o->name, o->name, o->argument);
			return -EINVAL;
		}
		if (!o->argument && value) {
			log_error("--%s takes no value", o->name);
			return -EINVAL;
		}
		if ((o->set == machine_file_read) != config_pass)
			continue;
		rc = device ? config_add_device(config, device, value) : o->set(config, value);
		if (rc) {
			if (rc == -ENOMEM)
				log_error("--%s: out of memory", o->name);
			return rc;
		}
	}
	return 0;
}

int config_check_place(const struct machine_config *config, const char *option, const char *what,
		       unsigned segment, bool iommu)
{
	if (segment >= config->segments) {
		log_error("--%s %s,segment=%u: there is no such PCI segment: add --pci-segments %u",
			  option, what, segment, segment + 1);
		return -EINVAL;
	}
	if (iommu && !config->viommu[segment].present) {
		if (segment)
			log_error("--%s %s,segment=%u,iommu=on needs an IOMMU there: add --viommu "
				  "amd,segment=%u",
				  option, what, segment, segment);
		else
			log_error("--%s %s,iommu=on needs an IOMMU: add --viommu amd", option,
				  what);
		return -EINVAL;
	}
	return 0;
}

static int check_segments(const struct machine_config *config)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < MACHINE_SEGMENTS_MAX; i++) {
		if (config->viommu[i].present)
			rc = config_check_place(config, "viommu", "amd", i, false);
	}
	for (const struct device_config *dev = config->devices; !rc && dev; dev = dev->next)
		rc = config_check_place(config, dev->option->name, dev->source, dev->segment,
					dev->iommu);
	return rc;
}

int options_parse(struct machine_config *config, int argc, char **argv)
{
	int rc = parse_pass(config, argc, argv, true);

	if (!rc)
		rc = parse_pass(config, argc, argv, false);
	if (rc)
		return rc;
	if (!config->kernel) {
		log_error("no kernel: give --kernel FILE (an ELF vmlinux or a bzImage)");
		return -EINVAL;
	}
	if (config->sandbox_paths && config->sandbox == SANDBOX_OFF) {
		log_error("--sandbox path=%s: there is no sandbox; say --sandbox on,path=%s",
			  config->sandbox_path[0], config->sandbox_path[0]);
		return -EINVAL;
	}
	rc = check_segments(config);
	if (!rc && config->dma_test)
		rc = config_check_place(config, "dma-test", "on", 0, config->dma_test_iommu);
	return rc;
}
