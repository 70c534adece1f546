// SPDX-License-Identifier: Apache-2.0
/* The control socket's file, and a socket that is given. */
#include <pthread.h>

#include "tests/unit/ctl_fixture.h"

TestSuite(ctl_file);

Test(ctl_file, private_and_removed)
{
	struct stat st;

	make(EVENT_LOOP_POLL);
	start();
	cr_assert_eq(lstat(fake.path, &st), 0);
	cr_expect(S_ISSOCK(st.st_mode));
	cr_expect_eq(st.st_mode & 07777, 0600);
	cr_expect_eq(open_ctl(), -EADDRINUSE, "somebody listens there");
	teardown();
}

Test(ctl_file, stale_file_is_replaced)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	make(EVENT_LOOP_AUTO);
	strcpy(address.sun_path, fake.path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	start();
	fd = connect_client();
	cr_expect(has(ask(fd, "{\"command\":\"info\"}\n"), "{\"ok\":true"));
	close(fd);
	teardown();
}

Test(ctl_file, other_files_are_left_alone)
{
	const struct ctl_config no_socket = {.loop = NULL, .fd = 0, .ops = &fake_ops};
	struct ctl_config config = {.fd = -1, .ops = &fake_ops};
	char path[200];
	struct stat st;
	int fd;

	make(EVENT_LOOP_POLL);
	config.loop = fake.loop;
	fd = open(fake.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	cr_expect_eq(open_ctl(), -EADDRINUSE);
	cr_expect(!lstat(fake.path, &st) && S_ISREG(st.st_mode));
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	config.path = path;
	cr_expect_eq(ctl_new(&config, &fake.ctl), -ENAMETOOLONG);
	config.path = "/nonexistent/socket";
	cr_expect_eq(ctl_new(&config, &fake.ctl), -ENOENT);
	config = no_socket;
	config.loop = fake.loop;
	config.fd = fd; /* no socket at all */
	cr_expect_eq(ctl_new(&config, &fake.ctl), -EINVAL);
	close(fd);
	unlink(fake.path);
	rmdir(fake.directory);
	event_loop_free(fake.loop);
}

Test(ctl_file, given_as_a_descriptor)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct ctl_config config = {.ops = &fake_ops};
	int fd;

	make(EVENT_LOOP_AUTO);
	config.loop = fake.loop;
	config.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(address.sun_path, fake.path);
	cr_assert_eq(bind(config.fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(config.fd, 1), 0);
	cr_assert_eq(ctl_new(&config, &fake.ctl), 0);
	cr_assert_eq(pthread_create(&fake.thread, NULL, serve, NULL), 0);
	fd = connect_client();
	cr_expect(has(ask(fd, "{\"command\":\"info\"}\n"), "{\"ok\":true"));
	close(fd);
	/* Whose file it is, removes it. */
	unlink(fake.path);
	teardown();
}
