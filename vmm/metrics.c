// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/json.h"
#include "vmm/metrics.h"

static void add(struct metrics *metrics, const struct metric *metric)
{
	if (metrics->count == metrics->room) {
		unsigned room = metrics->room ? 2 * metrics->room : 64;
		struct metric *more = reallocarray(metrics->metric, room, sizeof(*metrics->metric));

		if (!more)
			return;
		metrics->metric = more;
		metrics->room = room;
	}
	metrics->metric[metrics->count++] = *metric;
}

void metric_counter(struct metrics *metrics, const char *name, const char *device, uint64_t value)
{
	add(metrics, &(struct metric){.name = name, .device = device, .value = value});
}

void metric_gauge(struct metrics *metrics, const char *name, const char *device, uint64_t value)
{
	add(metrics,
	    &(struct metric){.name = name, .device = device, .gauge = true, .value = value});
}

void metrics_free(struct metrics *metrics)
{
	free(metrics->metric);
	*metrics = (struct metrics){0};
}

/* The next one of METRIC's name behind AT, or NULL. */
static const struct metric *next_same(const struct metrics *metrics, const struct metric *at)
{
	const struct metric *end = metrics->metric + metrics->count;

	for (const struct metric *m = at + 1; m < end; m++) {
		if (!strcmp(m->name, at->name))
			return m;
	}
	return NULL;
}

static bool first_of_name(const struct metrics *metrics, const struct metric *at)
{
	for (const struct metric *m = metrics->metric; m < at; m++) {
		if (!strcmp(m->name, at->name))
			return false;
	}
	return true;
}

void metrics_print(const struct metrics *metrics)
{
	for (unsigned i = 0; i < metrics->count; i++) {
		const struct metric *first = &metrics->metric[i];
		uint64_t sum = first->value;

		if (!first_of_name(metrics, first))
			continue;
		for (const struct metric *m = next_same(metrics, first); m;
		     m = next_same(metrics, m))
			sum += m->value;
		dprintf(STDERR_FILENO, "stat %s %llu\n", first->name, (unsigned long long)sum);
	}
}

void metrics_json(const struct metrics *metrics, struct json_out *out, const char *key)
{
	json_open(out, key, '[');
	for (unsigned i = 0; i < metrics->count; i++) {
		const struct metric *m = &metrics->metric[i];

		json_open(out, NULL, '{');
		json_string(out, "name", m->name);
		if (m->device)
			json_string(out, "device", m->device);
		json_string(out, "type", m->gauge ? "gauge" : "counter");
		json_number(out, "value", m->value);
		json_close(out, '}');
	}
	json_close(out, ']');
}

void metrics_prometheus(const struct metrics *metrics, struct json_out *out)
{
	for (unsigned i = 0; i < metrics->count; i++) {
		const struct metric *first = &metrics->metric[i];
		char name[96];

		if (!first_of_name(metrics, first))
			continue;
		snprintf(name, sizeof(name), "postern_%s%s", first->name,
			 first->gauge ? "" : "_total");
		for (char *c = name; *c; c++) {
			if (*c == '.')
				*c = '_';
		}
		json_text(out, "# TYPE %s %s\n", name, first->gauge ? "gauge" : "counter");
		/* The samples of a name stand together. Ids have no character to escape. */
		for (const struct metric *m = first; m; m = next_same(metrics, m)) {
			json_text(out, "%s", name);
			if (m->device)
				json_text(out, "{device=\"%s\"}", m->device);
			json_text(out, " %llu\n", (unsigned long long)m->value);
		}
	}
}
