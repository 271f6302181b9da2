/* --trust-proxy: from which addresses X-Forwarded-Proto and X-Forwarded-Host are believed. */
#include "serve/serve_priv.h"

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

/* The address, and how many bits of it count when nothing says otherwise: all. */
static bool read_address(struct trusted *trusted, const char *text, size_t size)
{
        char address[64];
        if (size >= sizeof(address))
                return false;
        memcpy(address, text, size);
        address[size] = '\0';
        if (inet_pton(AF_INET, address, trusted->address))
                trusted->size = 4;
        else if (inet_pton(AF_INET6, address, trusted->address))
                trusted->size = 16;
        else
                return false;
        trusted->bits = (uint8_t)(trusted->size * 8u);
        return true;
}

int proxy_take(struct serve_options *options, const char *text)
{
        const char *slash = strchr(text, '/');
        if (options->trusted_count == MAX_TRUSTED) {
                complain("--trust-proxy: at most %d times", MAX_TRUSTED);
                return -EINVAL;
        }
        struct trusted *trusted = &options->trusted[options->trusted_count];
        if (!read_address(trusted, text, slash ? (size_t)(slash - text) : strlen(text))) {
                complain("--trust-proxy: '%s' is no address, nor ADDRESS/BITS", text);
                return -EINVAL;
        }
        unsigned bits = trusted->bits;
        if (slash && option_number("trust-proxy", slash + 1, 0, bits, &bits) < 0)
                return -EINVAL;
        trusted->bits = (uint8_t)bits;
        options->trusted_count++;
        return 0;
}
