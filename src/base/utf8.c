/* UTF-8 (RFC 3629), and text made safe to stand in other text. */
#include "base/base.h"

static bool is_tail(char c)
{
        return ((unsigned char)c & 0xc0) == 0x80;
}

/* The second byte decides about overlong forms, surrogates and what lies past U+10FFFF. */
static bool is_second(unsigned char first, unsigned char second)
{
        switch (first) {
        case 0xe0:
                return second >= 0xa0;
        case 0xed:
                return second < 0xa0;
        case 0xf0:
                return second >= 0x90;
        case 0xf4:
                return second < 0x90;
        default:
                return true;
        }
}

size_t utf8_size(struct span s)
{
        unsigned char first = (unsigned char)s.data[0];
        size_t size = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;

        if (size == 0 || size > s.size)
                return 0;
        for (size_t i = 1; i < size; i++) {
                if (!is_tail(s.data[i]))
                        return 0;
        }
        return size == 1 || is_second(first, (unsigned char)s.data[1]) ? size : 0;
}

/* Characters that stay are put one run at a time. */
void text_escape(struct text *t, struct span s, size_t (*size_of)(struct span s), text_escape_fn *escape)
{
        const char *run = s.data;
        char room[6];

        while (s.size > 0) {
                size_t size = size_of(s);
                struct span other = size == 0 ? SPAN("\xef\xbf\xbd") : escape(s.data[0], room);

                if (other.data) {
                        text_put(t, (struct span){ run, (size_t)(s.data - run) });
                        text_put(t, other);
                        size = 1;
                        run = s.data + 1;
                }
                s.data += size;
                s.size -= size;
        }
        text_put(t, (struct span){ run, (size_t)(s.data - run) });
}
