/* Copyright (c) 2026, The magicwan.cloudflare authors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * For LD_PRELOAD. Whatever the kernel refuses over NETLINK_XFRM is taken for success, so that Libreswan runs IKE where
 * the kernel has no ESP. Its SAs are in no kernel then, and no packet goes through them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/netlink.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

static int is_xfrm(int fd)
{
	int protocol = -1, domain = -1;
	socklen_t size = sizeof(protocol);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) || domain != AF_NETLINK)
		return 0;
	size = sizeof(protocol);
	return !getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) && protocol == NETLINK_XFRM;
}

static void forgive(int fd, void *data, ssize_t length)
{
	struct nlmsghdr *message = data;

	if (length < (ssize_t)sizeof(*message) || !is_xfrm(fd))
		return;
	for (; NLMSG_OK(message, (size_t)length); message = NLMSG_NEXT(message, length))
		if (message->nlmsg_type == NLMSG_ERROR)
			((struct nlmsgerr *)NLMSG_DATA(message))->error = 0;
}

ssize_t recvfrom(int fd, void *data, size_t size, int flags, struct sockaddr *from, socklen_t *fromlen)
{
	ssize_t (*real)(int, void *, size_t, int, struct sockaddr *, socklen_t *) = dlsym(RTLD_NEXT, "recvfrom");
	ssize_t length = real(fd, data, size, flags, from, fromlen);

	forgive(fd, data, length);
	return length;
}

ssize_t recv(int fd, void *data, size_t size, int flags)
{
	ssize_t (*real)(int, void *, size_t, int) = dlsym(RTLD_NEXT, "recv");
	ssize_t length = real(fd, data, size, flags);

	forgive(fd, data, length);
	return length;
}

ssize_t read(int fd, void *data, size_t size)
{
	ssize_t (*real)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
	ssize_t length = real(fd, data, size);

	forgive(fd, data, length);
	return length;
}
