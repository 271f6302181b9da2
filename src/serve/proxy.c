/* --trust-proxy: from which addresses X-Forwarded-Proto and X-Forwarded-Host are believed. */
#include "serve/serve_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

/* The bytes of an address; an IPv4 one in IPv6's clothes is taken as IPv4. */
static const uint8_t *bytes_of(const struct sockaddr *address, uint8_t *size)
{
        if (address->sa_family == AF_INET) {
                *size = 4;
                return (const uint8_t *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
        }
        if (address->sa_family != AF_INET6)
                return NULL;
        const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        bool mapped = IN6_IS_ADDR_V4MAPPED(six);
        *size = mapped ? 4 : 16;
        return six->s6_addr + (mapped ? 12 : 0);
}

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
        unsigned whole = bits / 8, rest = bits % 8;
        if (memcmp(a, b, whole) != 0)
                return false;
        return rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0;
}

bool proxy_is_trusted(const struct serve_options *options, const struct sockaddr *peer)
{
        uint8_t size;
        const uint8_t *bytes = bytes_of(peer, &size);
        for (unsigned i = 0; bytes && i < options->trusted_count; i++) {
                const struct trusted *trusted = &options->trusted[i];
                if (trusted->size == size && same_bits(trusted->address, bytes, trusted->bits))
                        return true;
        }
        return false;
}

int proxy_take(struct serve_options *options, const char *text)
{
        char address[64];
        const char *slash = strchr(text, '/');
        size_t size = slash ? (size_t)(slash - text) : strlen(text);
        unsigned bits = 0;
        if (options->trusted_count == MAX_TRUSTED) {
                complain("--trust-proxy: at most %d times", MAX_TRUSTED);
                return -EINVAL;
        }
        struct trusted *trusted = &options->trusted[options->trusted_count];
        bool good = size < sizeof(address);
        if (good) {
                memcpy(address, text, size);
                address[size] = '\0';
                trusted->size = inet_pton(AF_INET, address, trusted->address)    ? 4
                                : inet_pton(AF_INET6, address, trusted->address) ? 16
                                                                                 : 0;
                good = trusted->size > 0;
        }
        if (!good) {
                complain("--trust-proxy: '%s' is no address, nor ADDRESS/BITS", text);
                return -EINVAL;
        }
        bits = trusted->size * 8u;
        if (slash && option_number("trust-proxy", slash + 1, 0, bits, &bits) < 0)
                return -EINVAL;
        trusted->bits = (uint8_t)bits;
        options->trusted_count++;
        return 0;
}
