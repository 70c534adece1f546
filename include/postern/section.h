/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists that the linker makes: each file puts a pointer into the section NAME with SECTION_ENTRY(),
 * and whoever uses the list walks it. Which files are linked is Kconfig's choice.
 *
 * The section's bounds are __start_NAME and __stop_NAME; SECTION_DECLARE(TYPE, NAME) declares them.
 */
#ifndef POSTERN_SECTION_H
#define POSTERN_SECTION_H

#define SECTION_ENTRY(type, name, symbol)                                                          \
	static const type *const symbol##_entry __attribute__((used, retain, section(#name))) =    \
		&(symbol)

#define SECTION_DECLARE(type, name)                                                                \
	extern const type *const __start_##name[] __attribute__((weak));                           \
	extern const type *const __stop_##name[] __attribute__((weak))

/* ENTRY, a const TYPE *const *, is each entry's address in turn. */
#define section_for_each(entry, name)                                                              \
	for ((entry) = __start_##name; (entry) != __stop_##name; (entry)++)

#endif
