// SPDX-License-Identifier: Apache-2.0
/*
 * Preloaded into unit tests that run under ThreadSanitizer. Criterion hands its settings to the
 * process of a test in memory at a random address between 2000_0000_0000h and 6000_0000_0000h, in
 * units of 16 MiB, drawn with rand_r(). TSan lets a program map only 5500_0000_0000h up to
 * 5680_0000_0000h of that range, the lower end of which a program's own image may take.
 */
int rand_r(unsigned int *seed);

int rand_r(unsigned int *seed)
{
	*seed = *seed * 1103515245u + 12345u;
	return (int)(0x360000u | (*seed >> 8 & 0x7fffu));
}
