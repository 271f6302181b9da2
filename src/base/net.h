/* Sockets as the system declares them: addresses, names, options. For who speaks to it; others use berth/port.h. */
#ifndef BASE_NET_H
#define BASE_NET_H

#ifdef _WIN32
#include <winsock2.h>

#include <afunix.h>
#include <ws2tcpip.h>

#define IN_LOOPBACKNET 127
#else
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#endif

#endif
