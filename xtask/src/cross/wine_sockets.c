/* Preloaded into Wine, whose sockets of IPv4 have no IPV6_V6ONLY: reading it fails, where it succeeds on Windows and
   the crate quinn-udp, by which WebRTC's packets are sent, depends on that. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

int getsockopt(int socket, int level, int name, void *value, socklen_t *length) {
  static int (*next)(int, int, int, void *, socklen_t *);
  if (!next) {
    *(void **)&next = dlsym(RTLD_NEXT, "getsockopt");
  }
  const int status = next(socket, level, name, value, length);
  if (status == 0 || level != IPPROTO_IPV6 || name != IPV6_V6ONLY || errno != EOPNOTSUPP) {
    return status;
  }
  /* Wine asks for less than the whole number. */
  const int on = 1;
  *length = *length < sizeof on ? *length : sizeof on;
  memcpy(value, &on, *length);
  return 0;
}
