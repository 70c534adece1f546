// SPDX-License-Identifier: Apache-2.0
/*
 * Devices, and the files that come with a kernel, as the command line, a machine file and the
 * control socket name them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/machine.h"
#include "vmm/options.h"

static int disk_path(void *target, const char *value)
{
	struct disk_config *disk = target;

	return *value ? config_set_string(&disk->path, value) : -EINVAL;
}

static int disk_readonly(void *target, const char *value)
{
	return parse_switch(value, &((struct disk_config *)target)->readonly);
}

static int disk_iommu(void *target, const char *value)
{
	return parse_switch(value, &((struct disk_config *)target)->iommu);
}

/* Whether there are that many is known when all options are. */
int parse_segment(const char *value, unsigned *segment)
{
	uint64_t number;
	int rc = parse_number(value, MACHINE_SEGMENTS_MAX - 1, &number);

	if (!rc)
		*segment = (unsigned)number;
	return rc;
}

static int disk_segment(void *target, const char *value)
{
	return parse_segment(value, &((struct disk_config *)target)->segment);
}

static int vfio_segment(void *target, const char *value)
{
	return parse_segment(value, &((struct vfio_config *)target)->segment);
}

static int take_id(char **id, const char *value)
{
	return machine_id_good(value) ? config_set_string(id, value) : -EINVAL;
}

static int disk_id(void *target, const char *value)
{
	return take_id(&((struct disk_config *)target)->id, value);
}

int config_parse_disk(struct disk_config *disk, const char *text)
{
	static const struct option_key keys[] = {
		{"path", disk_path}, {"readonly", disk_readonly}, {"iommu", disk_iommu},
		{"id", disk_id},     {"segment", disk_segment},	  {0}};
	int rc;

	*disk = (struct disk_config){0};
	rc = parse_keys("disk", text, disk, keys, NULL);
	if (!rc && !disk->path) {
		log_error("--disk %s: path=FILE is missing", text);
		rc = -EINVAL;
	}
	if (rc) {
		free(disk->path);
		free(disk->id);
		*disk = (struct disk_config){0};
	}
	return rc;
}

int config_add_disk(struct machine_config *config, const char *text)
{
	int rc;

	if (config->disks == MACHINE_DEVICES_MAX) {
		log_error("--disk %s: there are already %u disks", text, config->disks);
		return -EINVAL;
	}
	rc = config_parse_disk(&config->disk[config->disks], text);
	if (!rc)
		config->disks++;
	return rc;
}

static int vfio_path(void *target, const char *value)
{
	struct vfio_config *vfio = target;

	return *value ? config_set_string(&vfio->path, value) : -EINVAL;
}

static int vfio_device(void *target, const char *value)
{
	if (*value)
		return vfio_path(target, value);
	log_error("--vfio: the name of the device is empty");
	return -EPERM; /* said already */
}

static int vfio_fd(void *target, const char *value)
{
	uint64_t fd;
	int rc = parse_number(value, INT32_MAX, &fd);

	if (!rc)
		((struct vfio_config *)target)->fd = (int)fd;
	return rc;
}

static int vfio_soft(void *target, const char *value)
{
	return take_id(&((struct vfio_config *)target)->soft, value);
}

static int vfio_iommu(void *target, const char *value)
{
	return parse_switch(value, &((struct vfio_config *)target)->iommu);
}

static int vfio_irq(void *target, const char *value)
{
	bool loop = strcmp(value, "loop") == 0;

	if (!loop && strcmp(value, "direct") != 0)
		return -EINVAL;
	((struct vfio_config *)target)->irq_loop = loop;
	return 0;
}

static int vfio_id(void *target, const char *value)
{
	return take_id(&((struct vfio_config *)target)->id, value);
}

int config_parse_vfio(struct vfio_config *vfio, const char *text)
{
	static const struct option_key keys[] = {{"path", vfio_path},	{"fd", vfio_fd},
						 {"iommu", vfio_iommu}, {"irq", vfio_irq},
						 {"id", vfio_id},	{"segment", vfio_segment},
						 {"soft", vfio_soft},	{0}};
	int rc;

	*vfio = (struct vfio_config){.fd = -1};
	rc = parse_keys("vfio", text, vfio, keys, vfio_device);
	if (!rc && !!vfio->path + (vfio->fd >= 0) + !!vfio->soft != 1) {
		log_error("--vfio %s: give either a device (BDF, sysfs directory, "
			  "/dev/vfio/devices/vfioN), fd=N or soft=NAME",
			  text);
		rc = -EINVAL;
	}
	if (rc) {
		free(vfio->path);
		free(vfio->soft);
		free(vfio->id);
		*vfio = (struct vfio_config){.fd = -1};
	}
	return rc == -EPERM ? -EINVAL : rc;
}

int config_add_vfio(struct machine_config *config, const char *text)
{
	int rc;

	if (config->vfios == MACHINE_DEVICES_MAX) {
		log_error("--vfio %s: there are already %u assigned devices", text, config->vfios);
		return -EINVAL;
	}
	rc = config_parse_vfio(&config->vfio[config->vfios], text);
	if (!rc)
		config->vfios++;
	return rc;
}

int config_add_module(struct machine_config *config, const char *text)
{
	static const char path_key[] = "path=", cmdline_key[] = ",cmdline=";
	const char *path = text, *cmdline = strstr(text, cmdline_key), *comma;
	struct guest_module module = {0};
	size_t len;

	if (!strncmp(path, path_key, strlen(path_key)))
		path += strlen(path_key);
	len = cmdline ? (size_t)(cmdline - path) : strlen(path);
	comma = memchr(path, ',', len);
	if (comma) {
		log_error("--module %s: \"%.*s\" is not cmdline=TEXT", text,
			  (int)(len - (size_t)(comma + 1 - path)), comma + 1);
		return -EINVAL;
	}
	if (!len) {
		log_error("--module %s: give the path of a file", text);
		return -EINVAL;
	}
	if (config->modules == GUEST_MODULES_MAX) {
		log_error("--module %s: there can be %d modules at most", text, GUEST_MODULES_MAX);
		return -EINVAL;
	}
	module.path = strndup(path, len);
	if (cmdline)
		module.cmdline = strdup(cmdline + strlen(cmdline_key));
	if (!module.path || (cmdline && !module.cmdline)) {
		free((char *)(uintptr_t)module.path);
		free((char *)(uintptr_t)module.cmdline);
		return -ENOMEM;
	}
	config->module[config->modules++] = module;
	return 0;
}
