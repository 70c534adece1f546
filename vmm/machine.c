// SPDX-License-Identifier: Apache-2.0
/*
 * Assembly and life of the machine. The main thread runs the event loop; each vCPU has a thread.
 *
 * Reset and the end of the machine take the same way: somebody calls machine_finish(), the loop
 * stops the vCPUs, has every device finish what is in flight, and then either starts over or stops.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/console.h"
#include "vmm/machine.h"
#include "vmm/metrics.h"
#include "vmm/options.h"
#include "vmm/quit.h"
#include "vmm/service.h"

SECTION_DECLARE(struct device_class, device_classes);

#define CLASSES_MAX 8

/* What machine_run() owns besides the machine that devices see. */
struct machine_life {
	struct machine m;
	struct console *console;
	struct event_work finish;
	const struct device_class *class[CLASSES_MAX];
	unsigned classes; /* created */
	struct guest_boot boot;
	struct guest_entry entry;
	void *fdt;
	/* The user's pause, done or under way; a drain, for it or for a reset or the end. */
	bool paused, pausing, draining;
};

static struct machine_life *life_of(struct machine *m)
{
	return container_of(m, struct machine_life, m);
}

/* ---- the end, and starting over ---- */

bool machine_finish(struct machine *m, enum machine_end end)
{
	int found = MACHINE_RUNNING;

	if (end == MACHINE_QUIT && m->quit)
		quit_begin(m->quit);
	while (!atomic_compare_exchange_strong(&m->end, &found, (int)end)) {
		/* A reset that is under way can still end the machine in place of restarting it. */
		if (found != MACHINE_RUNNING &&
		    !(found == MACHINE_RESET && (end == MACHINE_QUIT || end == MACHINE_FAILED)))
			return false;
	}
	if (found == MACHINE_RUNNING)
		event_loop_post(m->loop, &life_of(m)->finish);
	return true;
}

static void reset_devices(struct machine *m)
{
	struct machine_life *life = life_of(m);

	for (unsigned i = 0; i < life->classes; i++) {
		if (life->class[i] -> reset)
			life->class[i]->reset(m);
	}
	for (unsigned i = 0; i < m->config->segments; i++)
		pci_root_reset(m->segment[i].root);
	ioapic_reset(m->ioapic);
	acpi_regs_reset(m->acpi_regs);
	if (m->uart)
		uart_reset(m->uart);
}

/* Tables, kernel and vCPUs as at power-on. */
static int power_on(struct machine_life *life)
{
	struct machine *m = &life->m;
	int rc = guest_acpi_build(&m->acpi);

	if (!rc)
		rc = guest_boot_load(&life->boot, &life->entry);
	for (unsigned i = 0; !rc && i < m->config->cpus; i++)
		rc = vcpu_reset(&m->vcpu[i], i ? NULL : &life->entry);
	return rc;
}

static void finished(struct machine *m)
{
	struct machine_life *life = life_of(m);
	int reset = MACHINE_RESET;

	if (m->end == MACHINE_RESET) {
		log_info("the guest resets");
		machine_hotplug_reset(m);
		reset_devices(m);
		if (power_on(life)) {
			m->end = MACHINE_FAILED;
		} else if (atomic_compare_exchange_strong(&m->end, &reset, MACHINE_RUNNING)) {
			/* One that the user has paused stays so: pauses are counted. */
			machine_resume_vcpus(m);
			return;
		}
	}
	event_loop_stop(m->loop);
}

static void drain(struct machine_life *life)
{
	struct machine *m = &life->m;

	life->draining = true;
	/* One more than the classes, so that it cannot reach 0 before all have been asked. */
	m->drains = 1;
	for (unsigned i = 0; i < life->classes; i++) {
		if (life->class[i] -> drain) {
			atomic_fetch_add(&m->drains, 1);
			life->class[i]->drain(m);
		}
	}
	machine_drained(m);
}

static void finish(struct machine_life *life)
{
	machine_pause_vcpus(&life->m);
	drain(life);
}

static void finish_work(struct event_work *work)
{
	struct machine_life *life = container_of(work, struct machine_life, finish);

	/*
	 * A pause that is under way ends first, and then looks whether this came; it may have done
	 * all of it by now.
	 */
	if (!life->draining && life->m.end != MACHINE_RUNNING)
		finish(life);
}

/* ---- the user's pause ---- */

/*
 * Time goes on for the guest as it does for a host that sleeps: its TSC cannot be stopped, and a
 * kvmclock that stood still would disagree with it. Only its watchdogs are told (and only where it
 * uses kvmclock), so that they do not take the pause for a lock-up.
 */
static void tell_watchdogs(struct machine *m)
{
	for (unsigned i = 0; i < m->config->cpus; i++)
		ioctl(m->vcpu[i].fd, KVM_KVMCLOCK_CTRL, 0);
}

static void pause_done(struct machine_life *life)
{
	struct machine *m = &life->m;

	tell_watchdogs(m);
	if (m->watcher)
		m->watcher->paused(m->watcher->opaque);
	/* Unless the watcher has begun another pause: that one looks. */
	if (!life->draining && m->end != MACHINE_RUNNING)
		finish(life);
}

void machine_drained(struct machine *m)
{
	struct machine_life *life = life_of(m);

	if (atomic_fetch_sub(&m->drains, 1) != 1)
		return;
	life->draining = false;
	if (life->pausing) {
		life->pausing = false;
		pause_done(life);
	} else {
		finished(m);
	}
}

enum machine_state machine_state(const struct machine *m)
{
	const struct machine_life *life = container_of(m, const struct machine_life, m);

	if (m->end == MACHINE_RESET)
		return MACHINE_STATE_RESETTING;
	if (m->end != MACHINE_RUNNING)
		return MACHINE_STATE_ENDING;
	if (life->pausing)
		return MACHINE_STATE_PAUSING;
	return life->paused ? MACHINE_STATE_PAUSED : MACHINE_STATE_RUNNING;
}

int machine_pause(struct machine *m)
{
	struct machine_life *life = life_of(m);

	if (!life->paused) {
		life->paused = life->pausing = true;
		machine_pause_vcpus(m);
		drain(life);
	}
	return life->pausing ? -EINPROGRESS : 0;
}

int machine_resume(struct machine *m)
{
	struct machine_life *life = life_of(m);

	if (life->pausing)
		return -EBUSY;
	if (!life->paused)
		return 0;
	life->paused = false;
	for (unsigned i = 0; i < life->classes; i++) {
		if (life->class[i] -> resume)
			life->class[i]->resume(m);
	}
	machine_resume_vcpus(m);
	return 0;
}

/* ---- device classes ---- */

static int compare_classes(const void *a, const void *b)
{
	const struct device_class *const *x = a, *const *y = b;

	return ((*x)->order > (*y)->order) - ((*x)->order < (*y)->order);
}

static int create_devices(struct machine_life *life)
{
	const struct device_class *sorted[CLASSES_MAX] = {NULL}, *const * c;
	unsigned count = 0;

	section_for_each (c, device_classes) {
		if (count < CLASSES_MAX)
			sorted[count++] = *c;
	}
	qsort(sorted, count, sizeof(sorted[0]), compare_classes);
	for (unsigned i = 0; i < count; i++) {
		const unsigned said = log_errors();
		int rc = sorted[i]->create(&life->m);

		if (rc && log_errors() == said)
			log_error("%s: cannot be made: %s", sorted[i]->name, strerror(-rc));
		if (rc)
			return rc;
		life->class[life->classes++] = sorted[i];
	}
	return 0;
}

/* ---- boot ---- */

static void describe_boot(struct machine_life *life)
{
	struct machine *m = &life->m;
	struct guest_boot *boot = &life->boot;

	*boot = (struct guest_boot){
		.memory = &m->memory,
		.kernel = m->config->kernel,
		.initrd = m->config->initrd,
		.cmdline = m->config->cmdline,
		.module = m->config->module,
		.modules = m->config->modules,
		/*
		 * File pages in place of RAM would be other pages than those of the memfd that
		 * assigned devices reach, and huge page mappings cannot be split.
		 */
		.map_files = !config_device(m->config, &vfio_option, 0) && !m->hotplug &&
			     !m->config->hugepages,
	};
	boot->reserved[boot->reserved_count++] =
		(struct guest_e820_entry){MACHINE_ECAM_BASE, MACHINE_ECAM_BUSES * MIB, 2};
	if (m->config->segments > 1)
		boot->reserved[boot->reserved_count++] = (struct guest_e820_entry){
			MACHINE_ECAM_OTHERS, (m->config->segments - 1) * MIB, 2};
	if (machine_config_viommu(m->config))
		boot->reserved[boot->reserved_count++] = (struct guest_e820_entry){
			MACHINE_IOMMU_WINDOW, m->config->segments * MACHINE_IOMMU_SIZE, 2};
}

static int build_fdt(struct machine_life *life)
{
	struct machine *m = &life->m;
	struct guest_fdt fdt = {
		.memory = &m->memory,
		.cmdline = m->config->cmdline,
		.cpus = m->config->cpus,
		.uart_base = MACHINE_UART_BASE,
	};

	if (!m->config->guest_fdt)
		return 0;
	life->boot.fdt = NULL;
	int rc = guest_fdt_build(&fdt, &life->fdt, &life->boot.fdt_size);

	life->boot.fdt = life->fdt;
	return rc;
}

/* ---- assembly ---- */

static int make_loop(struct machine_life *life)
{
	int rc = event_loop_new(life->m.config->loop, &life->m.loop);

	if (rc == -ENOSYS || rc == -EPERM)
		log_error("--event-loop uring: this host forbids io_uring (%s); use --event-loop "
			  "poll",
			  strerror(-rc));
	if (!rc)
		service_open(life->m.loop);
	return rc;
}

static int make_quit(struct machine_life *life)
{
	return quit_new(&life->m, &life->m.quit);
}

static int make_memory(struct machine_life *life)
{
	struct machine *m = &life->m;

	dma_identity_init(&m->identity, &m->memory);
	return memory_new(&m->memory, m->config->memory, m->config->hugepages);
}

static int make_kvm(struct machine_life *life)
{
	int rc = kvm_open_fd(&life->m.kvm, life->m.config->kvm_fd);

	if (!rc)
		rc = machine_check_cpus(&life->m);
	return rc ? rc : ram_slots_add(&life->m);
}

static int make_fixed(struct machine_life *life)
{
	int rc = irq_new(&life->m.kvm, &life->m.irq);

	return rc ? rc : machine_fixed_new(&life->m, &life->console);
}

static int make_hotplug(struct machine_life *life)
{
	return machine_hotplug_new(&life->m);
}

static int assign_addresses(struct machine_life *life)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < life->m.config->segments; i++)
		rc = pci_root_assign(life->m.segment[i].root);
	return rc;
}

static int make_fdt(struct machine_life *life)
{
	describe_boot(life);
	return build_fdt(life);
}

static int make_vcpus(struct machine_life *life)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < life->m.config->cpus; i++)
		rc = vcpu_new(&life->m, i, &life->m.vcpu[i]);
	return rc;
}

/* From here on no file is opened. */
static int enter_sandbox(struct machine_life *life)
{
	int rc = guest_boot_open(&life->boot);

	return rc ? rc : machine_sandbox_enter(&life->m);
}

static int start_quit(struct machine_life *life)
{
	return quit_start(life->m.quit);
}

static int start_console(struct machine_life *life)
{
	return console_start(life->console);
}

/* For what goes wrong without a word of those who know better. */
static int assemble(struct machine_life *life)
{
	static const struct {
		const char *part;
		int (*make)(struct machine_life *life);
	} steps[] = {
		{"the event loop", make_loop},
		{"the watch for signals", make_quit},
		{"guest memory", make_memory},
		{"a virtual machine of KVM", make_kvm},
		{"interrupt routes, PCI buses, IOAPIC, serial port, ACPI registers", make_fixed},
		{"devices", create_devices},
		{"hot-plug", make_hotplug},
		{"addresses of PCI devices", assign_addresses},
		{"the guest's device tree", make_fdt},
		{"virtual CPUs", make_vcpus},
		{"the sandbox", enter_sandbox},
		{"a thread for signals", start_quit},
		{"what the guest finds in memory", power_on},
		{"the serial port's input", start_console},
	};
	const unsigned said = log_errors();
	int rc = machine_check_classes(life->m.config);

	for (size_t i = 0; !rc && i < ARRAY_SIZE(steps); i++) {
		rc = steps[i].make(life);
		if (rc && log_errors() == said)
			log_error("%s: cannot be made: %s", steps[i].part, strerror(-rc));
	}
	return rc;
}

static void take_apart(struct machine_life *life)
{
	struct machine *m = &life->m;

	for (unsigned i = 0; i < m->config->cpus; i++) {
		if (m->vcpu[i].started)
			pthread_join(m->vcpu[i].thread, NULL);
	}
	for (unsigned i = life->classes; i-- > 0;)
		life->class[i]->destroy(m);
	machine_hotplug_free(m);
	for (unsigned i = 0; i < m->config->cpus; i++)
		vcpu_free(&m->vcpu[i]);
	console_free(life->console);
	acpi_regs_free(m->acpi_regs);
	ioapic_free(m->ioapic);
	for (unsigned i = 0; i < m->config->segments; i++)
		pci_root_free(m->segment[i].root);
	irq_free(m->irq);
	kvm_close(&m->kvm);
	memory_free(&m->memory);
	quit_free(m->quit);
	if (m->loop)
		event_loop_free(m->loop);
	guest_boot_close(&life->boot);
	free(life->fdt);
}

/* ---- counters ---- */

void machine_metrics(struct machine *m, struct metrics *out)
{
	struct machine_life *life = life_of(m);
	struct event_loop_stats loop;
	struct irq_stats irq;
	uint64_t mmio = 0, pio = 0, other = 0;

	for (unsigned i = 0; i < m->config->cpus; i++) {
		mmio += m->vcpu[i].exits_mmio;
		pio += m->vcpu[i].exits_pio;
		other += m->vcpu[i].exits_other;
	}
	metric_counter(out, "vcpu.exits_mmio", NULL, mmio);
	metric_counter(out, "vcpu.exits_pio", NULL, pio);
	metric_counter(out, "vcpu.exits_other", NULL, other);
	event_loop_stats(m->loop, &loop);
	metric_counter(out, "loop.wakeups", NULL, loop.wakeups);
	metric_counter(out, "loop.submissions", NULL, loop.submissions);
	metric_counter(out, "loop.completions", NULL, loop.completions);
	irq_stats(m->irq, &irq);
	metric_counter(out, "irq.messages", NULL, irq.messages);
	metric_counter(out, "irq.refused", NULL, irq.refused);
	metric_counter(out, "irq.route_updates", NULL, irq.route_updates);
	metric_counter(out, "log.repeats", NULL, log_repeats());
	for (unsigned i = 0; i < life->classes; i++) {
		if (life->class[i] -> stats)
			life->class[i]->stats(m, out);
	}
}

static void print_stats(struct machine *m)
{
	struct metrics metrics = {0};

	machine_metrics(m, &metrics);
	metrics_print(&metrics);
	metrics_free(&metrics);
}

static int exit_status(int end)
{
	switch (end) {
	case MACHINE_POWER_OFF:
		return EXIT_POWER_OFF;
	case MACHINE_CRASHED:
		return EXIT_GUEST_CRASH;
	case MACHINE_QUIT:
		return EXIT_KILLED;
	default:
		return EXIT_ERROR;
	}
}

int machine_run(struct machine_config *config)
{
	struct machine_life *life = calloc(1, sizeof(*life));
	struct machine *m;
	int rc, status;

	if (!life) {
		log_error("the machine: cannot be made: %s", strerror(ENOMEM));
		return EXIT_ERROR;
	}
	m = &life->m;
	m->config = config;
	m->kvm.fd = m->kvm.vm = -1;
	life->finish.run = finish_work;
	pthread_mutex_init(&m->pause_lock, NULL);
	pthread_cond_init(&m->pause_cond, NULL);
	bus_init(&m->mmio);
	bus_init(&m->pio);
	kvm_window_init(m);

	rc = assemble(life);
	m->pausing = 1; /* no guest code before this thread's filter */
	if (!rc)
		rc = vcpus_start(m);
	if (!rc)
		rc = machine_sandbox_loop(m);
	if (rc) {
		m->end = MACHINE_FAILED;
	} else {
		machine_resume_vcpus(m);
		service_ready();
		rc = event_loop_run(m->loop);
	}
	service_stop();
	if (rc && m->end == MACHINE_RUNNING) {
		log_error("the event loop broke: %s", strerror(-rc));
		m->end = MACHINE_FAILED;
	}
	while (m->pausing)
		machine_resume_vcpus(m); /* those that wait see that the end has come */
	status = exit_status(m->end);
	for (unsigned i = 0; i < config->cpus; i++) {
		if (m->vcpu[i].started) {
			vcpu_kick(&m->vcpu[i]);
			pthread_join(m->vcpu[i].thread, NULL);
			m->vcpu[i].started = false;
		}
	}
	/* What is taken apart now may take long, a large guest's memory above all. */
	if (m->quit)
		quit_over(m->quit);
	if (config->stats && m->irq && m->loop)
		print_stats(m);
	take_apart(life);
	free(life);
	return status;
}
