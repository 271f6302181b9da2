/* Command-line options: what --help prints, and values, each of which says on stderr what was expected where it is not
 * that. */
#include "base/base.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef _WIN32
static const char here[] = "@windows ", elsewhere[] = "@linux ";
#else
static const char here[] = "@linux ", elsewhere[] = "@windows ";
#endif

void option_help(const char *text)
{
        for (const char *end; *text; text = end) {
                end = strchr(text, '\n') + 1;
                if (strncmp(text, elsewhere, strlen(elsewhere)) == 0)
                        continue;
                if (strncmp(text, here, strlen(here)) == 0)
                        text += strlen(here);
                fwrite(text, 1, (size_t)(end - text), stdout);
        }
}

int option_number(const char *option, const char *text, unsigned least, unsigned most, unsigned *out)
{
        char *end;
        errno = 0;
        unsigned long value = strtoul(text, &end, 10);
        if (*text < '0' || *text > '9' || *end || errno || value < least || value > most) {
                complain("--%s %s: expected a number from %u to %u", option, text, least, most);
                return -EINVAL;
        }
        *out = (unsigned)value;
        return 0;
}

int option_size(const char *option, const char *text, uint64_t least, uint64_t *out)
{
        static const char units[] = "KMGT";
        char *end;
        errno = 0;
        uint64_t value = strtoull(text, &end, 10);
        const char *unit = *end ? strchr(units, *end & ~0x20) : NULL; /* k is K */
        bool good = *text >= '0' && *text <= '9' && !errno && (!*end || (unit && *unit && !end[1]));
        for (int i = 0; good && unit && i <= unit - units; i++)
                good = !__builtin_mul_overflow(value, 1024, &value);
        if (!good || value < least) {
                complain("--%s %s: expected a size of at least %llu bytes, such as 512M or 8G", option, text,
                         (unsigned long long)least);
                return -EINVAL;
        }
        *out = value;
        return 0;
}

int option_word(const char *option, const char *text, const char *const *words, unsigned count)
{
        char expected[128];
        struct text list = text_in(expected, sizeof(expected) - 1);
        for (unsigned i = 0; i < count; i++) {
                if (strcmp(text, words[i]) == 0)
                        return (int)i;
                text_format(&list, "%s%s", i == 0 ? "" : i + 1 == count ? " or " : ", ", words[i]);
        }
        expected[list.used] = '\0';
        complain("--%s %s: expected %s", option, text, expected);
        return -EINVAL;
}
