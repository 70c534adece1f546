// SPDX-License-Identifier: Apache-2.0
/*
 * --config: a machine described by a flattened device tree (Devicetree Specification 0.4), binding
 * in docs/machine-file.md. Every node and property must be known: a misspelt one is an error that
 * names it, never a default that silently applies.
 */
#include <errno.h>
#include <fcntl.h>
#include <libfdt.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/machine.h"
#include "vmm/options.h"

#define MACHINE_FILE_MAX (1 * MIB)
#define FDT_VERSION_MIN	 16u /* since dtc of 2005 */

struct reader {
	struct machine_config *config;
	const char *path; /* of the file, for messages */
	const void *fdt;
	char directory[512]; /* that relative paths start from, "" or with a final slash */
};

/* What a property does. TEXT is its string, or its number in decimal, or "on" for an empty one. */
struct property {
	const char *name;
	enum {
		PROPERTY_TEXT,
		PROPERTY_PATH,
		PROPERTY_NUMBER,
		PROPERTY_FLAG,
		PROPERTY_REST, /* text with commas: the last of its device's keys */
	} type;
	int (*set)(struct machine_config *config, const char *text); /* NULL: part of a device */
	const char *key; /* for devices: the key of the command-line option */
};

struct node {
	const char *name; /* without unit address */
	const struct property *properties;
	/* Takes the assembled "key=value,..." text. NULL: the device option of
	 * this name does, where there is one. */
	int (*add)(struct machine_config *config, const char *text);
};

static int fdt_set_kernel(struct machine_config *config, const char *text)
{
	return config_set_string(&config->kernel, text);
}

static int fdt_set_initrd(struct machine_config *config, const char *text)
{
	return config_set_string(&config->initrd, text);
}

static int fdt_set_cmdline(struct machine_config *config, const char *text)
{
	return config_set_string(&config->cmdline, text);
}

static int fdt_set_hugepages(struct machine_config *config, const char *text)
{
	return parse_switch(text, &config->hugepages);
}

static int fdt_set_guest_fdt(struct machine_config *config, const char *text)
{
	return parse_switch(text, &config->guest_fdt);
}

static int ignore(struct machine_config *config, const char *text)
{
	(void)config;
	(void)text;
	return 0;
}

static const struct property root_properties[] = {
	{"compatible", PROPERTY_TEXT, ignore, NULL}, {"model", PROPERTY_TEXT, ignore, NULL}, {0}};
static const struct property chosen_properties[] = {
	{"postern,kernel", PROPERTY_PATH, fdt_set_kernel, NULL},
	{"postern,initrd", PROPERTY_PATH, fdt_set_initrd, NULL},
	{"bootargs", PROPERTY_TEXT, fdt_set_cmdline, NULL},
	{"postern,guest-fdt", PROPERTY_FLAG, fdt_set_guest_fdt, NULL},
	{"postern,event-loop", PROPERTY_TEXT, config_set_event_loop, NULL},
	{"postern,iommufd", PROPERTY_TEXT, config_set_iommufd, NULL},
	{0}};
static const struct property memory_properties[] = {
	{"size", PROPERTY_TEXT, config_set_memory, NULL},
	{"hugepages", PROPERTY_FLAG, fdt_set_hugepages, NULL},
	{0}};
static const struct property cpus_properties[] = {{"count", PROPERTY_NUMBER, config_set_cpus, NULL},
						  {0}};
static const struct property serial_properties[] = {
	{"output", PROPERTY_TEXT, config_set_serial, NULL}, {0}};
static const struct property viommu_properties[] = {{"type", PROPERTY_TEXT, NULL, "type"},
						    {"accel", PROPERTY_TEXT, NULL, "accel"},
						    {"features", PROPERTY_TEXT, NULL, "features"},
						    {"segment", PROPERTY_NUMBER, NULL, "segment"},
						    {0}};
static const struct property module_properties[] = {
	{"path", PROPERTY_PATH, NULL, "path"}, {"cmdline", PROPERTY_REST, NULL, "cmdline"}, {0}};
static const struct property disk_properties[] = {{"path", PROPERTY_PATH, NULL, "path"},
						  {"readonly", PROPERTY_FLAG, NULL, "readonly"},
						  {"iommu", PROPERTY_FLAG, NULL, "iommu"},
						  {"segment", PROPERTY_NUMBER, NULL, "segment"},
						  {0}};
static const struct property net_properties[] = {{"tap", PROPERTY_TEXT, NULL, "tap"},
						 {"mac", PROPERTY_TEXT, NULL, "mac"},
						 {"mtu", PROPERTY_NUMBER, NULL, "mtu"},
						 {"queues", PROPERTY_NUMBER, NULL, "queues"},
						 {"iommu", PROPERTY_FLAG, NULL, "iommu"},
						 {"segment", PROPERTY_NUMBER, NULL, "segment"},
						 {0}};
static const struct property rng_properties[] = {{"src", PROPERTY_PATH, NULL, "src"},
						 {"rate", PROPERTY_TEXT, NULL, "rate"},
						 {"iommu", PROPERTY_FLAG, NULL, "iommu"},
						 {"segment", PROPERTY_NUMBER, NULL, "segment"},
						 {0}};
static const struct property vfio_properties[] = {{"device", PROPERTY_TEXT, NULL, "path"},
						  {"iommu", PROPERTY_FLAG, NULL, "iommu"},
						  {"irq", PROPERTY_TEXT, NULL, "irq"},
						  {"segment", PROPERTY_NUMBER, NULL, "segment"},
						  {0}};
static const struct property pci_properties[] = {
	{"segments", PROPERTY_NUMBER, config_set_segments, NULL}, {0}};

static const struct node nodes[] = {
	{"", root_properties, NULL},
	{"chosen", chosen_properties, NULL},
	{"memory", memory_properties, NULL},
	{"cpus", cpus_properties, NULL},
	{"serial", serial_properties, NULL},
	{"pci", pci_properties, NULL},
	{"viommu", viommu_properties, config_set_viommu},
	{"module", module_properties, config_add_module},
	{"disk", disk_properties, NULL},
	{"net", net_properties, NULL},
	{"rng", rng_properties, NULL},
	{"vfio", vfio_properties, NULL},
};

/* The property's value as text in OUT. */
static int property_text(const struct reader *r, const struct property *p, const char *value,
			 int len, char *out, size_t size)
{
	int n;

	switch (p->type) {
	case PROPERTY_FLAG:
		n = len ? -1 : snprintf(out, size, "on");
		break;
	case PROPERTY_NUMBER:
		n = len == 4 ? snprintf(out, size, "%u",
					fdt32_ld((const fdt32_t *)(const void *)value))
			     : -1;
		break;
	default:
		/* One string; a list (compatible) counts as its first. */
		if (len < 2 || value[len - 1] || !*value)
			return -EINVAL;
		n = snprintf(out, size, "%s%s",
			     p->type == PROPERTY_PATH && *value != '/' ? r->directory : "", value);
	}
	return n < 0 || (size_t)n >= size ? -EINVAL : 0;
}

/* A device as its option has it, "key=value,key=value". */
struct device_text {
	char text[2048], rest[1100];
};

static int device_text_add(char *out, size_t size, const char *key, const char *value)
{
	size_t used = strlen(out);
	int n = snprintf(out + used, size - used, "%s%s=%s", used ? "," : "", key, value);

	return n < 0 || (size_t)n >= size - used ? -EINVAL : 0;
}

static int read_property(const struct reader *r, const struct node *node, const char *shown,
			 int offset, struct device_text *device)
{
	static const char *const kinds[] = {"a string", "a path", "one 32-bit cell", "empty",
					    "a string"};
	const struct property *p = node->properties;
	const char *name, *value;
	char text[1024];
	int len, rc;

	value = fdt_getprop_by_offset(r->fdt, offset, &name, &len);
	if (!value)
		return -EINVAL;
	while (p->name && strcmp(p->name, name) != 0)
		p++;
	if (!p->name) {
		log_error("%s: node %s: unknown property \"%s\"", r->path, shown, name);
		return -EINVAL;
	}
	if (property_text(r, p, value, len, text, sizeof(text))) {
		log_error("%s: node %s: property \"%s\" must be %s", r->path, shown, name,
			  kinds[p->type]);
		return -EINVAL;
	}
	if (p->set)
		rc = p->set(r->config, text);
	else if (p->type == PROPERTY_REST)
		rc = device_text_add(device->rest, sizeof(device->rest), p->key, text);
	else
		rc = strchr(text, ',')
			     ? -EINVAL
			     : device_text_add(device->text, sizeof(device->text), p->key, text);
	if (rc)
		log_error("%s: node %s: property \"%s\" = \"%s\" is not accepted", r->path, shown,
			  name, text);
	return rc;
}

static int read_node(const struct reader *r, int offset)
{
	const char *full = fdt_get_name(r->fdt, offset, NULL), *at;
	const char *shown = full && *full ? full : "/";
	const struct device_option *option;
	const struct node *node = NULL;
	struct device_text device = {"", ""};
	char whole[sizeof(device) + 1];
	size_t len;
	int property;

	if (!full)
		return -EINVAL;
	at = strchr(full, '@');
	len = at ? (size_t)(at - full) : strlen(full);
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		if (strlen(nodes[i].name) == len && !strncmp(nodes[i].name, full, len))
			node = &nodes[i];
	}
	if (!node || (offset && fdt_parent_offset(r->fdt, offset) != 0)) {
		log_error("%s: unknown node %s", r->path, shown);
		return -EINVAL;
	}
	fdt_for_each_property_offset(property, r->fdt, offset)
	{
		int rc = read_property(r, node, shown, property, &device);

		if (rc)
			return rc;
	}
	option = device_option_find(node->name);
	if (!node->add && !option)
		return 0;
	snprintf(whole, sizeof(whole), "%s%s%s", device.text, *device.rest ? "," : "", device.rest);
	if (option ? config_add_device(r->config, option, whole) : node->add(r->config, whole)) {
		log_error("%s: node %s does not describe a device", r->path, shown);
		return -EINVAL;
	}
	return 0;
}

static int read_tree(struct reader *r)
{
	static const char compatible[] = "postern,machine";
	const char *slash = strrchr(r->path, '/');

	if (fdt_node_check_compatible(r->fdt, 0, compatible)) {
		log_error("%s: not a machine description: / lacks compatible = \"%s\"", r->path,
			  compatible);
		return -EINVAL;
	}
	if (slash && (size_t)(slash - r->path) + 2 > sizeof(r->directory))
		return -ENAMETOOLONG;
	if (slash)
		snprintf(r->directory, sizeof(r->directory), "%.*s", (int)(slash - r->path) + 1,
			 r->path);
	for (int offset = 0, depth = 0; offset >= 0;
	     offset = fdt_next_node(r->fdt, offset, &depth)) {
		int rc = depth >= 0 ? read_node(r, offset) : 0;

		if (rc)
			return rc;
	}
	return 0;
}

/* The source goes through dtc into a memfd. */
static int compile(const char *path)
{
	char *const argv[] = {(char[]){"dtc"}, (char[]){"-q"},		(char[]){"-I"},
			      (char[]){"dts"}, (char[]){"-O"},		(char[]){"dtb"},
			      (char[]){"--"},  (char *)(uintptr_t)path, NULL};
	posix_spawn_file_actions_t actions;
	int fd = memfd_create("machine", MFD_CLOEXEC), status, rc;
	pid_t pid;

	if (fd < 0)
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fd, STDOUT_FILENO);
	rc = -posix_spawnp(&pid, "dtc", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (rc) {
		log_error("%s: dtc, which compiles it, cannot be started: %s; install "
			  "device-tree-compiler or give a .dtb",
			  path, strerror(-rc));
		goto err;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		log_error("%s: dtc does not accept it; its message is above", path);
		rc = -EINVAL;
		goto err;
	}
	return fd;
err:
	close(fd);
	return rc;
}

int machine_file_read(struct machine_config *config, const char *path)
{
	struct reader r = {.config = config, .path = path};
	size_t len = strlen(path);
	struct stat st;
	void *map;
	int fd, rc;

	if (len > 4 && !strcmp(path + len - 4, ".dts"))
		fd = access(path, R_OK) ? -errno : compile(path);
	else
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		rc = fd == -1 ? -errno : fd;
		if (rc == -ENOENT || rc == -EACCES)
			log_error("--config %s: %s", path, strerror(-rc));
		return -EINVAL;
	}
	rc = -EINVAL;
	if (fstat(fd, &st) || st.st_size < (off_t)sizeof(struct fdt_header) ||
	    st.st_size > (off_t)MACHINE_FILE_MAX) {
		log_error("--config %s: not a flattened device tree (size)", path);
		goto out;
	}
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED) {
		log_error("--config %s: cannot be read: %s", path, strerror(errno));
		goto out;
	}
	/* libfdt 1.6 follows a null pointer where the root node of an older version has no path. */
	if (fdt_version(map) < FDT_VERSION_MIN || fdt_check_full(map, (size_t)st.st_size)) {
		log_error("--config %s: not a valid flattened device tree; a source file must end "
			  "in .dts",
			  path);
	} else {
		r.fdt = map;
		rc = read_tree(&r);
	}
	munmap(map, (size_t)st.st_size);
out:
	close(fd);
	return rc;
}
