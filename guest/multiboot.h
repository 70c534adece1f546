/* SPDX-License-Identifier: Apache-2.0 */
/* Between the reader of Multiboot headers and the writer of the information. Internal to guest/. */
#ifndef POSTERN_GUEST_MULTIBOOT_H
#define POSTERN_GUEST_MULTIBOOT_H

#include <stdbool.h>
#include <stdint.h>

/* Whether every guest is given Multiboot 2 information of this type. */
bool multiboot_info_has(uint32_t type);

#endif
