/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --trace viommu: every VIOMMU_COMMAND as a line of text, and a histogram of them at the end.
 */
#ifndef POSTERN_VIOMMU_TRACE_H
#define POSTERN_VIOMMU_TRACE_H

#include "iommufd/iommufd.h"

struct viommu_trace;

/* To PATH, which is replaced, or standard error where it is NULL. -errno, said why. */
int viommu_trace_new(const char *path, struct viommu_trace **trace);
/* Writes the histogram. */
void viommu_trace_free(struct viommu_trace *trace);
/* One command of the vIOMMU of PCI segment UNIT, which is called viommuUNIT if not 0; any thread.
 */
void viommu_trace_unit_command(struct viommu_trace *trace, unsigned unit, bool get, uint16_t index,
			       uint64_t value, int rc, uint64_t ns);
/* The same for the one of segment 0, as an iommufd_viommu_trace_fn. */
void viommu_trace_command(void *trace, bool get, uint16_t index, uint64_t value, int rc,
			  uint64_t ns);

#endif
