// SPDX-License-Identifier: Apache-2.0
/*
 * Devices, and the files that come with a kernel, as the command line, a machine file and the
 * control socket name them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/machine.h"
#include "vmm/options.h"

/* Whether there are that many is known when all options are. */
int parse_segment(const char *value, unsigned *segment)
{
	uint64_t number;
	int rc = parse_number(value, MACHINE_SEGMENTS_MAX - 1, &number);

	if (!rc)
		*segment = (unsigned)number;
	return rc;
}

int parse_fd(const char *text, int *fd)
{
	uint64_t number;
	int rc = parse_number(text, INT32_MAX, &number);

	if (!rc)
		*fd = (int)number;
	return rc;
}

/* ---- what all devices have ---- */

int device_iommu(void *target, const char *value)
{
	return parse_switch(value, &((struct device_config *)target)->iommu);
}

int device_id(void *target, const char *value)
{
	if (!machine_id_good(value))
		return -EINVAL;
	return config_set_string(&((struct device_config *)target)->id, value);
}

int device_segment(void *target, const char *value)
{
	return parse_segment(value, &((struct device_config *)target)->segment);
}

int device_source(struct device_config *dev, const char *value)
{
	if (*value && !dev->source)
		return config_set_string(&dev->source, value);
	if (*value)
		log_error("--%s: %s and %s: give one of them", dev->option->name, dev->source,
			  value);
	else
		log_error("--%s: an empty name; give %s", dev->option->name, dev->option->source);
	return -EPERM; /* said already */
}

int device_fd(struct device_config *dev, const char *value, int *fd)
{
	char text[16];
	int rc = parse_fd(value, fd);

	if (rc)
		return rc;
	snprintf(text, sizeof(text), "fd=%d", *fd);
	dev->fds = true;
	return device_source(dev, text);
}

static int parse_device(const struct device_option *option, const char *text,
			struct device_config **out)
{
	struct device_config *dev = calloc(1, option->size);
	int rc;

	if (!dev)
		return -ENOMEM;
	dev->option = option;
	if (option->init)
		option->init(dev);
	rc = parse_keys(option->name, text, dev, option->keys, option->bare);
	if (!rc && !dev->source && option->standard)
		rc = config_set_string(&dev->source, option->standard);
	if (!rc && !dev->source) {
		log_error("--%s %s: %s is missing", option->name, text, option->source);
		rc = -EINVAL;
	}
	if (!rc && option->check)
		rc = option->check(dev, text);
	if (rc)
		config_free_device(dev);
	else
		*out = dev;
	return rc == -EPERM ? -EINVAL : rc;
}

void config_free_device(struct device_config *dev)
{
	if (!dev)
		return;
	free(dev->source);
	free(dev->id);
	free(dev);
}

int config_add_device(struct machine_config *config, const struct device_option *option,
		      const char *text)
{
	struct device_config **at = &config->devices;
	unsigned count = 0;

	for (; *at; at = &(*at)->next)
		count++;
	if (count < MACHINE_DEVICES_MAX)
		return parse_device(option, text, at);
	log_error("--%s %s: there are already %u devices", option->name, text, count);
	return -EINVAL;
}

int config_parse_device(const struct machine_config *config, const struct device_option *option,
			const char *text, struct device_config **dev)
{
	int rc = parse_device(option, text, dev);

	if (rc)
		return rc;
	if ((*dev)->fds) {
		/* The number would be one of this process, not of whoever asks. */
		log_error("--%s %s: fd= is for the command line; name the device", option->name,
			  text);
		rc = -EINVAL;
	}
	if (!rc)
		rc = config_check_place(config, option->name, (*dev)->source, (*dev)->segment,
					(*dev)->iommu);
	if (rc)
		config_free_device(*dev);
	return rc;
}

const struct device_config *config_device(const struct machine_config *config,
					  const struct device_option *option, unsigned n)
{
	const struct device_config *dev = config->devices;

	while (dev && (dev->option != option || n--))
		dev = dev->next;
	return dev;
}

/* ---- --disk ---- */

static int disk_path(void *target, const char *value)
{
	return device_source(target, value);
}

static int disk_readonly(void *target, const char *value)
{
	return parse_switch(value, &((struct disk_config *)target)->readonly);
}

const struct device_option disk_option = {
	.name = "disk",
	.symbol = "VIRTIO_BLK",
	.source = "path=FILE",
	.size = sizeof(struct disk_config),
	.keys = (const struct option_key[]){{"path", disk_path},
					    {"readonly", disk_readonly},
					    DEVICE_KEYS},
};

/* ---- --vfio ---- */

static int vfio_path(void *target, const char *value)
{
	return device_source(target, value);
}

static int vfio_fd(void *target, const char *value)
{
	return device_fd(target, value, &((struct vfio_config *)target)->fd);
}

static int vfio_irq(void *target, const char *value)
{
	bool loop = strcmp(value, "loop") == 0;

	if (!loop && strcmp(value, "direct") != 0)
		return -EINVAL;
	((struct vfio_config *)target)->irq_loop = loop;
	return 0;
}

static int vfio_soft(void *target, const char *value)
{
	if (!machine_id_good(value))
		return -EINVAL;
	((struct vfio_config *)target)->soft = true;
	return device_source(target, value);
}

static void vfio_init(struct device_config *dev)
{
	container_of(dev, struct vfio_config, dev)->fd = -1;
}

const struct device_option vfio_option = {
	.name = "vfio",
	.symbol = "VFIO",
	.source = "a device (BDF, sysfs directory, /dev/vfio/devices/vfioN), fd=N or soft=NAME",
	.size = sizeof(struct vfio_config),
	.keys = (const struct option_key[]){{"path", vfio_path},
					    {"fd", vfio_fd},
					    {"irq", vfio_irq},
					    {"soft", vfio_soft},
					    DEVICE_KEYS},
	.bare = vfio_path,
	.init = vfio_init,
};

/* ---- --rng ---- */

static int rng_src(void *target, const char *value)
{
	((struct rng_config *)target)->file = true;
	return device_source(target, value);
}

static int rng_rate(void *target, const char *value)
{
	return parse_size(value, &((struct rng_config *)target)->rate);
}

/* With nothing to be said, it is there all the same. */
static int rng_on(void *target, const char *value)
{
	(void)target;
	if (!*value || !strcmp(value, "on"))
		return 0;
	log_error("--rng %s: give on, src=FILE or rate=SIZE", value);
	return -EPERM; /* said already */
}

static void rng_init(struct device_config *dev)
{
	container_of(dev, struct rng_config, dev)->rate = MIB;
}

const struct device_option rng_option = {
	.name = "rng",
	.symbol = "VIRTIO_RNG",
	.source = "src=FILE",
	.standard = "getrandom",
	.size = sizeof(struct rng_config),
	.keys = (const struct option_key[]){{"src", rng_src}, {"rate", rng_rate}, DEVICE_KEYS},
	.bare = rng_on,
	.init = rng_init,
};

/* ---- all of them ---- */

const struct device_option *device_option_find(const char *name)
{
	static const struct device_option *const options[] = {
		&disk_option,
		&net_option,
		&rng_option,
		&vfio_option,
	};

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (!strcmp(options[i]->name, name))
			return options[i];
	}
	return NULL;
}

int config_add_module(struct machine_config *config, const char *text)
{
	static const char path_key[] = "path=", cmdline_key[] = ",cmdline=";
	const char *path = text, *cmdline = strstr(text, cmdline_key), *comma;
	char *module_path, *module_cmdline;
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
	module_path = strndup(path, len);
	module_cmdline = cmdline ? strdup(cmdline + strlen(cmdline_key)) : NULL;
	if (!module_path || (cmdline && !module_cmdline)) {
		free(module_path);
		free(module_cmdline);
		return -ENOMEM;
	}
	config->module[config->modules++] = (struct guest_module){module_path, module_cmdline};
	return 0;
}
