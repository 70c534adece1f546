// SPDX-License-Identifier: Apache-2.0
/* What each option of `postern run` does, and the table of them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "vmm/machine.h"
#include "vmm/options.h"
#include "vmm/service.h"

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
		return rc == -EPERM ? -EINVAL : rc;
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

static int kvm_fd_key(void *target, const char *value)
{
	uint64_t fd;
	int rc = parse_number(value, INT32_MAX, &fd);

	if (!rc)
		((struct machine_config *)target)->kvm_fd = (int)fd;
	return rc;
}

static int set_kvm(struct machine_config *config, const char *text)
{
	static const struct option_key keys[] = {{"fd", kvm_fd_key}, {0}};

	return parse_keys("kvm", text, config, keys, NULL) ? -EINVAL : 0;
}

static int sandbox_mode(void *target, const char *value)
{
	static const struct choice modes[] = {
		{"on", SANDBOX_ON}, {"off", SANDBOX_OFF}, {"log", SANDBOX_LOG}, {0}};
	int mode = choose("sandbox", value, modes);

	if (mode < 0)
		return -EPERM; /* said already */
	((struct machine_config *)target)->sandbox = (enum sandbox_mode)mode;
	return 0;
}

static int sandbox_path(void *target, const char *value)
{
	struct machine_config *config = target;

	if (config->sandbox_paths == MACHINE_SANDBOX_PATHS) {
		log_error("--sandbox path=%s: there can be %d paths", value, MACHINE_SANDBOX_PATHS);
		return -EPERM;
	}
	if (!*value)
		return -EINVAL;
	config->sandbox_path[config->sandbox_paths] = strdup(value);
	return config->sandbox_path[config->sandbox_paths++] ? 0 : -ENOMEM;
}

int config_set_sandbox(struct machine_config *config, const char *text)
{
	static const struct option_key keys[] = {{"path", sandbox_path}, {0}};
	int rc = parse_keys("sandbox", text, config, keys, sandbox_mode);

	return rc && rc != -ENOMEM ? -EINVAL : rc;
}

static int iommufd_fd_key(void *target, const char *value)
{
	return parse_fd(value, &((struct machine_config *)target)->iommufd_fd);
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
	int rc = parse_keys("iommufd", text, config, keys, iommufd_kind);

	return rc == -EPERM ? -EINVAL : rc;
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
	if (!strcmp(value + 3, "systemd")) {
		config->ctl_fd = service_listen_fd();
		return config->ctl_fd < 0 ? -EINVAL : 0;
	}
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

static int set_log_file(struct machine_config *config, const char *value)
{
	int fd = open(value, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
		      0600);

	(void)config;
	if (fd < 0) {
		log_error("--log-file %s: %s", value, strerror(errno));
		return -EINVAL;
	}
	log_to_file(fd);
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
	{"kernel", "FILE",
	 "Kernel: an ELF vmlinux with a PVH entry, a bzImage, or a Multiboot image", set_kernel},
	{"initrd", "FILE", "Initial RAM disk", set_initrd},
	{"cmdline", "TEXT", "Kernel command line", set_cmdline},
	{"module", "FILE[,cmdline=TEXT]",
	 "A file for a Multiboot or PVH kernel; may be repeated. TEXT goes to the end",
	 config_add_module},
	{"memory", "SIZE[,hugepages=on]", "Guest memory (512M, 4G)", config_set_memory},
	{"cpus", "N", "Virtual CPUs", config_set_cpus},
	{"pci-segments", "N", "PCI segments: root bridges, each with its own bus and devices",
	 config_set_segments},
	{"disk", "path=FILE[,readonly=on][,iommu=on][,id=NAME][,segment=N]",
	 "A virtio block device; may be repeated", NULL},
	{"net", "tap=NAME|fd=N[:...][,mac=MAC][,mtu=N][,queues=N][,iommu=on][,id=NAME][,segment=N]",
	 "A virtio network device on a tap interface; may be repeated", NULL},
	{"rng", "on|src=FILE[,rate=SIZE][,iommu=on][,id=NAME][,segment=N]",
	 "A virtio entropy device, from getrandom(2) or a character device; may be repeated", NULL},
	{"vfio", "DEVICE|fd=N|soft=NAME[,iommu=on][,irq=direct|loop][,id=NAME][,segment=N]",
	 "Assign a PCI device: BDF, sysfs directory or /dev/vfio/devices/vfioN; or "
	 "one that lives here (with --iommufd soft); may be repeated",
	 NULL},
	{"viommu", "amd[,accel=auto|hw|soft|forward|hwmodel][,features=basic|v2|full][,segment=N]",
	 "Show the guest an AMD IOMMU; devices of its PCI segment with iommu=on are behind it; may "
	 "be repeated",
	 config_set_viommu},
	{"iommufd", "kernel|soft[,fd=N]",
	 "Whose iommufd assigned devices use; fd passes an open /dev/iommu", config_set_iommufd},
	{"kvm", "fd=N", "Use this open /dev/kvm", set_kvm},
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
	{"ctl", "PATH|fd=N|fd=systemd",
	 "Control socket, see postern ctl; fd passes a listening one, systemd that of a .socket "
	 "unit",
	 set_ctl},
	{"sandbox", "on|off|log[,path=PATH]...",
	 "Confine the process: system calls, files, privileges; what postern ctl adds is opened "
	 "from PATH",
	 config_set_sandbox},
	{"stats", NULL, "Print counters when the machine ends", set_stats},
	{"log-level", "error|warning|info|debug", "What to say on standard error", set_log_level},
	{"log-file", "FILE", "Say it in FILE, with the time, instead", set_log_file},
	{"help", NULL, "Show this text", NULL},
	{0},
};
