/* Bytes that are written as text. */
#include "base/base.h"

#define BASE64 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

static size_t padding_of(struct span s)
{
        size_t padding = 0;
        while (padding < 2 && padding < s.size && s.data[s.size - 1 - padding] == '=')
                padding++;
        return padding;
}

/* Its six bits, or -1. */
static int base64_digit(char c)
{
        const char *found = memchr(BASE64, c, sizeof(BASE64) - 1);
        return found ? (int)(found - BASE64) : -1;
}

int base64_decode(void *out, size_t room, struct span s)
{
        unsigned char *to = out;
        size_t letters = s.size - padding_of(s), size = letters * 3 / 4, used = 0;
        uint32_t bits = 0;
        if (s.size % 4 != 0 || size > room || size > INT32_MAX)
                return -1;
        for (size_t i = 0; i < letters; i++) {
                int digit = base64_digit(s.data[i]);
                if (digit < 0)
                        return -1;
                bits = bits << 6 | (uint32_t)digit;
                if (i % 4 != 0)
                        to[used++] = (unsigned char)(bits >> (6 - i % 4 * 2));
        }
        ensure(used == size);
        return (int)size;
}

void base64_put(struct text *out, struct span bytes)
{
        for (size_t i = 0; i < bytes.size; i += 3) {
                size_t have = min_of(bytes.size - i, (size_t)3);
                uint32_t bits = 0;
                char group[4];
                for (size_t j = 0; j < 3; j++)
                        bits = bits << 8 | (j < have ? (unsigned char)bytes.data[i + j] : 0);
                for (size_t j = 0; j < 4; j++)
                        group[j] = j <= have ? BASE64[bits >> (18 - 6 * j) & 63] : '=';
                text_put(out, (struct span){ group, sizeof(group) });
        }
}
