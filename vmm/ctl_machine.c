// SPDX-License-Identifier: Apache-2.0
/* --ctl: the control socket of a machine. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "config.h"
#include "vmm/ctl.h"

/* After all devices: the first to go. */
enum { CONTROL_ORDER = 7 };

struct control {
	struct ctl *ctl;
	struct machine_watcher watcher;
};

static enum machine_state control_state(void *opaque)
{
	return machine_state(opaque);
}

static int control_pause(void *opaque)
{
	return machine_pause(opaque);
}

static int control_resume(void *opaque)
{
	return machine_resume(opaque);
}

static int control_power_button(void *opaque)
{
	acpi_regs_power_button(((struct machine *)opaque)->acpi_regs);
	return 0;
}

static int control_reset(void *opaque)
{
	machine_finish(opaque, MACHINE_RESET);
	return 0;
}

static int control_quit(void *opaque)
{
	machine_finish(opaque, MACHINE_QUIT);
	return 0;
}

static int control_add(void *opaque, const char *kind, const char *options,
		       struct ctl_device *device)
{
	struct machine_device *dev;
	int rc = machine_device_add(opaque, kind, options, &dev);

	if (rc)
		return rc;
	*device = (struct ctl_device){.id = dev->id, .segment = dev->segment, .devfn = dev->devfn};
	return 0;
}

static int control_remove(void *opaque, const char *id)
{
	struct machine_device *dev = machine_device_find(opaque, id);
	int rc;

	if (!dev)
		return -ENOENT;
	rc = machine_device_ask(opaque, dev);
	return rc ? rc : -EINPROGRESS;
}

static void control_info(void *opaque, struct json_out *out)
{
	const struct machine *m = opaque;
	unsigned devices = 0;

	for (const struct machine_device *dev = m->devices; dev; dev = dev->next)
		devices++;
	json_string(out, "version", POSTERN_VERSION);
	json_number(out, "pid", (uint64_t)getpid());
	json_number(out, "cpus", m->config->cpus);
	json_number(out, "memory_bytes", m->config->memory);
	json_string(out, "kernel", m->config->kernel);
	json_string(out, "event_loop", event_loop_name(m->loop));
	json_bool(out, "viommu", machine_config_viommu(m->config));
	json_number(out, "devices", devices);
}

static void control_list(void *opaque, struct json_out *out)
{
	const struct machine *m = opaque;

	for (const struct machine_device *dev = m->devices; dev; dev = dev->next) {
		json_open(out, NULL, '{');
		json_string(out, "id", dev->id);
		json_string(out, "kind", dev->kind);
		json_string(out, "source", dev->what);
		ctl_put_address(out, dev->segment, dev->devfn);
		json_bool(out, "iommu", dev->iommu);
		json_string(out, "state", dev->asked || dev->leaving ? "removing" : "present");
		json_close(out, '}');
	}
}

static void control_metrics(void *opaque, struct metrics *metrics)
{
	machine_metrics(opaque, metrics);
}

static const struct ctl_ops control_ops = {
	.state = control_state,
	.pause = control_pause,
	.resume = control_resume,
	.power_button = control_power_button,
	.reset = control_reset,
	.quit = control_quit,
	.add = control_add,
	.remove = control_remove,
	.info = control_info,
	.list = control_list,
	.metrics = control_metrics,
};

static void control_paused(void *opaque)
{
	ctl_paused(((struct control *)opaque)->ctl);
}

static void control_removed(void *opaque, const char *id)
{
	ctl_removed(((struct control *)opaque)->ctl, id);
}

static int control_create(struct machine *m)
{
	struct ctl_config config = {
		.loop = m->loop,
		.path = m->config->ctl_path,
		.fd = m->config->ctl_fd,
		.ops = &control_ops,
		.opaque = m,
	};
	struct control *control;
	int rc;

	if (!config.path && config.fd < 0)
		return 0;
	control = calloc(1, sizeof(*control));
	if (!control)
		return -ENOMEM;
	rc = ctl_new(&config, &control->ctl);
	if (rc) {
		free(control);
		return rc;
	}
	control->watcher = (struct machine_watcher){
		.paused = control_paused, .removed = control_removed, .opaque = control};
	m->watcher = &control->watcher;
	m->private[CONTROL_ORDER] = control;
	return 0;
}

static void control_destroy(struct machine *m)
{
	struct control *control = m->private[CONTROL_ORDER];

	if (!control)
		return;
	m->watcher = NULL;
	ctl_free(control->ctl);
	free(control);
	m->private[CONTROL_ORDER] = NULL;
}

static const struct device_class control_class = {
	.name = "control",
	.order = CONTROL_ORDER,
	.create = control_create,
	.destroy = control_destroy,
};
DEVICE_CLASS(control_class);
