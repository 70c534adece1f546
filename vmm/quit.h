/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user's way to end a machine, whatever holds it up: a thread that takes the signals, and from
 * the moment that MACHINE_QUIT is asked for allows QUIT_SECONDS for an orderly end. Internal to
 * vmm/.
 *
 * What may hold it up is the host: a file that does not answer. Its requests cannot be taken back;
 * with io_uring the loop waits for them, with poll it sits in them.
 */
#ifndef POSTERN_QUIT_H
#define POSTERN_QUIT_H

#define QUIT_SECONDS 10

struct machine;
struct quit;

/* Before any thread is made, so that none of them takes a signal. They wait for quit_start(). */
int quit_new(struct machine *m, struct quit **quit);
/* The process is in its sandbox, as the new thread will be. */
int quit_start(struct quit *quit);
/* The user wants the end. Any thread, signal handlers included. */
void quit_begin(struct quit *quit);
/* The loop has stopped: the end has come, and what follows may take its time. */
void quit_over(struct quit *quit);
/* NULL is allowed. */
void quit_free(struct quit *quit);

#endif
