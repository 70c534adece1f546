// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
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

/* ---- the rest ---- */

struct choice {
	const char *name;
	int value;
};

static int choose(const char *option, const char *text, const struct choice *choice)
{
	char known[96] = "";

	for (const struct choice *c = choice; c->name; c++) {
		if (!strcmp(c->name, text))
			return c->value;
		snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s",
			 *known ? ", " : "", c->name);
	}
	log_error("--%s %s: must be one of %s", option, text, known);
	return -EINVAL;
}

struct viommu_option {
	struct viommu_config viommu;
	unsigned segment;
};

static int viommu_kind(void *target, const char *value)
{
	if (strcmp(value, "amd") != 0)
		return -EINVAL;
	((struct viommu_option *)target)->viommu.present = true;
	return 0;
}

static int viommu_accel(void *target, const char *value)
{
	static const struct choice accels[] = {
		{"auto", VIOMMU_ACCEL_AUTO},	   {"hw", VIOMMU_ACCEL_HW},
		{"soft", VIOMMU_ACCEL_SOFT},	   {"forward", VIOMMU_ACCEL_FORWARD},
		{"hwmodel", VIOMMU_ACCEL_HWMODEL}, {0}};
	int accel = choose("viommu accel", value, accels);

	if (accel < 0)
		return -EPERM; /* said already */
	((struct viommu_option *)target)->viommu.accel = (enum viommu_accel)accel;
	return 0;
}

static int viommu_features(void *target, const char *value)
{
	static const struct choice profiles[] = {{"basic", VIOMMU_FEATURES_BASIC},
						 {"v2", VIOMMU_FEATURES_V2},
						 {"full", VIOMMU_FEATURES_FULL},
						 {0}};
	int profile = choose("viommu features", value, profiles);

	if (profile < 0)
		return -EPERM; /* said already */
	((struct viommu_option *)target)->viommu.features = (enum viommu_features)profile;
	return 0;
}

static int viommu_segment(void *target, const char *value)
{
	return parse_segment(value, &((struct viommu_option *)target)->segment);
}

int config_set_viommu(struct machine_config *config, const char *text)
{
	static const struct option_key keys[] = {{"type", viommu_kind},
						 {"accel", viommu_accel},
						 {"features", viommu_features},
						 {"segment", viommu_segment},
						 {0}};
	struct viommu_option option = {0};
	int rc = parse_keys("viommu", text, &option, keys, viommu_kind);

	if (!rc && !option.viommu.present)
		rc = -EINVAL;
	if (rc == -EINVAL && !option.viommu.present)
		log_error("--viommu %s: the one kind there is is \"amd\"", text);
	if (rc)
		return -EINVAL;
	config->viommu[option.segment] = option.viommu;
	return 0;
}

static int memory_size(void *target, const char *value)
{
	return parse_size(value, &((struct machine_config *)target)->memory);
}

static int memory_huge(void *target, const char *value)
{
	return parse_switch(value, &((struct machine_config *)target)->hugepages);
}

int config_set_memory(struct machine_config *config, const char *text)
{
	static const struct option_key keys[] = {
		{"size", memory_size}, {"hugepages", memory_huge}, {0}};
	int rc = parse_keys("memory", text, config, keys, memory_size);

	if (rc == -EINVAL || rc == -ERANGE || config->memory < 2 * MIB ||
	    config->memory % GUEST_PAGE_SIZE) {
		log_error("--memory %s: give a size of at least 2M in whole pages, such as 512M or "
			  "4G",
			  text);
		return -EINVAL;
	}
	return rc;
}

int config_set_cpus(struct machine_config *config, const char *text)
{
	uint64_t cpus;

	if (parse_number(text, MACHINE_CPUS_MAX, &cpus) || !cpus) {
		log_error("--cpus %s: give a number from 1 to %d", text, MACHINE_CPUS_MAX);
		return -EINVAL;
	}
	config->cpus = (unsigned)cpus;
	return 0;
}

int config_set_segments(struct machine_config *config, const char *text)
{
	uint64_t segments;

	if (parse_number(text, MACHINE_SEGMENTS_MAX, &segments) || !segments) {
		log_error("--pci-segments %s: give a number from 1 to %d", text,
			  MACHINE_SEGMENTS_MAX);
		return -EINVAL;
	}
	config->segments = (unsigned)segments;
	return 0;
}

int config_set_event_loop(struct machine_config *config, const char *text)
{
	static const struct choice loops[] = {{"auto", EVENT_LOOP_AUTO},
					      {"uring", EVENT_LOOP_URING},
					      {"poll", EVENT_LOOP_POLL},
					      {0}};
	int loop = choose("event-loop", text, loops);

	if (loop < 0)
		return loop;
	config->loop = (enum event_loop_kind)loop;
	return 0;
}

int config_set_serial(struct machine_config *config, const char *text)
{
	if (!strncmp(text, "file=", 5) && text[5]) {
		config->serial = SERIAL_FILE;
		return config_set_string(&config->serial_path, text + 5);
	}
	static const struct choice serials[] = {
		{"stdio", SERIAL_STDIO}, {"off", SERIAL_OFF}, {"file=PATH", -EINVAL}, {0}};
	int serial = choose("serial", text, serials);

	if (serial < 0)
		return serial;
	config->serial = (enum serial_kind)serial;
	return 0;
}

static int iommufd_fd_key(void *target, const char *value)
{
	uint64_t fd;
	int rc = parse_number(value, INT32_MAX, &fd);

	if (!rc)
		((struct machine_config *)target)->iommufd_fd = (int)fd;
	return rc;
}

static int iommufd_kind(void *target, const char *value)
{
	static const struct choice kinds[] = {
		{"kernel", MACHINE_IOMMUFD_KERNEL}, {"soft", MACHINE_IOMMUFD_SOFT}, {0}};
	int kind = choose("iommufd", value, kinds);

	if (kind < 0)
		return -EPERM; /* said already */
	((struct machine_config *)target)->iommufd = (enum machine_iommufd)kind;
	return 0;
}

int config_set_iommufd(struct machine_config *config, const char *text)
{
	static const struct option_key keys[] = {{"fd", iommufd_fd_key}, {0}};

	return parse_keys("iommufd", text, config, keys, iommufd_kind) ? -EINVAL : 0;
}

/* ---- the table ---- */

static int set_kernel(struct machine_config *config, const char *value)
{
	return config_set_string(&config->kernel, value);
}

static int set_initrd(struct machine_config *config, const char *value)
{
	return config_set_string(&config->initrd, value);
}

static int set_cmdline(struct machine_config *config, const char *value)
{
	return config_set_string(&config->cmdline, value);
}

static int set_dma_test(struct machine_config *config, const char *value)
{
	config->dma_test = true;
	if (!parse_switch(value, &config->dma_test_iommu))
		return 0;
	log_error("--dma-test %s: must be on (behind the IOMMU) or off", value);
	return -EINVAL;
}

static int set_guest_fdt(struct machine_config *config, const char *value)
{
	if (!parse_switch(value, &config->guest_fdt))
		return 0;
	log_error("--guest-fdt %s: must be on or off", value);
	return -EINVAL;
}

int parse_command_nr(const char *text, unsigned *out)
{
	uint64_t nr;

	if (parse_number(text, 0xff, &nr)) {
		log_error("--viommu-command-nr %s: give an ioctl number from 0 to 0xff", text);
		return -EINVAL;
	}
	*out = (unsigned)nr;
	return 0;
}

static int set_command_nr(struct machine_config *config, const char *value)
{
	return parse_command_nr(value, &config->viommu_command_nr);
}

static int set_ctl(struct machine_config *config, const char *value)
{
	uint64_t fd;

	config->ctl_fd = -1;
	if (!*value) {
		log_error("--ctl: give the path of the socket, or fd=N");
		return -EINVAL;
	}
	if (strncmp(value, "fd=", 3) != 0)
		return config_set_string(&config->ctl_path, value);
	if (parse_number(value + 3, INT32_MAX, &fd)) {
		log_error("--ctl %s: give the number of a listening socket", value);
		return -EINVAL;
	}
	config->ctl_fd = (int)fd;
	return 0;
}

static int set_stats(struct machine_config *config, const char *value)
{
	(void)value;
	config->stats = true;
	return 0;
}

static int set_log_level(struct machine_config *config, const char *value)
{
	enum log_level level;

	(void)config;
	if (log_level_parse(value, &level)) {
		log_error("--log-level %s: must be one of error, warning, info, debug", value);
		return -EINVAL;
	}
	log_set_level(level);
	return 0;
}

const struct option_def run_options[] = {
	{"kernel", "FILE", "Kernel: an ELF vmlinux with a PVH entry, or a bzImage", set_kernel},
	{"initrd", "FILE", "Initial RAM disk", set_initrd},
	{"cmdline", "TEXT", "Kernel command line", set_cmdline},
	{"memory", "SIZE[,hugepages=on]", "Guest memory (512M, 4G)", config_set_memory},
	{"cpus", "N", "Virtual CPUs", config_set_cpus},
	{"pci-segments", "N", "PCI segments: root bridges, each with its own bus and devices",
	 config_set_segments},
	{"disk", "path=FILE[,readonly=on][,iommu=on][,id=NAME][,segment=N]",
	 "A virtio block device; may be repeated", config_add_disk},
	{"net", "tap=NAME|fd=N[:...][,mac=MAC][,mtu=N][,queues=N][,iommu=on][,id=NAME][,segment=N]",
	 "A virtio network device on a tap interface; may be repeated", config_add_net},
	{"vfio", "DEVICE|fd=N[,iommu=on][,id=NAME][,segment=N]",
	 "Assign a PCI device: BDF, sysfs directory or /dev/vfio/devices/vfioN; may be repeated",
	 config_add_vfio},
	{"viommu", "amd[,accel=auto|hw|soft|forward|hwmodel][,features=basic|v2|full][,segment=N]",
	 "Show the guest an AMD IOMMU; devices of its PCI segment with iommu=on are behind it; may "
	 "be repeated",
	 config_set_viommu},
	{"iommufd", "kernel|soft[,fd=N]",
	 "Whose iommufd assigned devices use; fd passes an open /dev/iommu", config_set_iommufd},
	{"viommu-command-nr", "NR", "ioctl number of IOMMU_VIOMMU_COMMAND on this kernel",
	 set_command_nr},
	{"config", "FILE", "Machine description (.dtb or .dts); options override it",
	 machine_file_read},
	{"event-loop", "auto|uring|poll", "Engine of the event loop", config_set_event_loop},
	{"serial", "stdio|file=PATH|off", "Where the first serial port goes", config_set_serial},
	{"dma-test", "on|off",
	 "Add a device that does nothing but DMA, behind the IOMMU (on) or beside it (off)",
	 set_dma_test},
	{"guest-fdt", "on|off", "Give the guest a flattened device tree (bzImage only)",
	 set_guest_fdt},
	{"trace", "viommu[=FILE]",
	 "Write each VIOMMU_COMMAND, and at the end how long they took, to FILE or standard error",
	 config_set_trace},
	{"ctl", "PATH|fd=N", "Control socket, see postern ctl; fd passes a listening one", set_ctl},
	{"stats", NULL, "Print counters when the machine ends", set_stats},
	{"log-level", "error|warning|info|debug", "What to say on standard error", set_log_level},
	{"help", NULL, "Show this text", NULL},
	{0},
};

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
	       "3 the guest crashed; 4 ended by the user.\n");
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
		if (!o->set) {
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
		rc = o->set(config, value);
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
	char path[512];
	int rc = 0;

	for (unsigned i = 0; !rc && i < MACHINE_SEGMENTS_MAX; i++) {
		if (config->viommu[i].present)
			rc = config_check_place(config, "viommu", "amd", i, false);
	}
	for (unsigned i = 0; !rc && i < config->disks; i++) {
		const struct disk_config *disk = &config->disk[i];

		snprintf(path, sizeof(path), "path=%s", disk->path);
		rc = config_check_place(config, "disk", path, disk->segment, disk->iommu);
	}
	for (unsigned i = 0; !rc && i < config->nets; i++) {
		const struct net_config *net = &config->net[i];

		rc = config_check_place(config, "net", net->name, net->segment, net->iommu);
	}
	for (unsigned i = 0; !rc && i < config->vfios; i++) {
		const struct vfio_config *vfio = &config->vfio[i];

		rc = config_check_place(config, "vfio", vfio->path ? vfio->path : "fd=N",
					vfio->segment, vfio->iommu);
	}
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
	rc = check_segments(config);
	if (!rc && config->dma_test)
		rc = config_check_place(config, "dma-test", "on", 0, config->dma_test_iommu);
	return rc;
}
