/* Names that differ in the case of letters alone are one name: they are folded by the system's own table, letter by
 * letter, as file systems do it. */
#include "base/base.h"

#include <stdlib.h>
#include <windows.h>

/* winternl.h has it not. */
WCHAR NTAPI RtlUpcaseUnicodeChar(WCHAR letter);

struct span path_fold(struct span path, char *room, size_t size)
{
        struct span folded = { NULL, 0 };
        if (path.size == 0)
                return SPAN("");
        WCHAR *wide = path.size <= INT32_MAX ? malloc(path.size * sizeof(*wide)) : NULL;
        int n = wide ? MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path.data, (int)path.size, wide,
                                           (int)path.size)
                     : 0;
        for (int i = 0; i < n; i++)
                wide[i] = RtlUpcaseUnicodeChar(wide[i]);
        int bytes = n > 0 ? WideCharToMultiByte(CP_UTF8, 0, wide, n, room, (int)size, NULL, NULL) : 0;
        if (bytes > 0)
                folded = (struct span){ room, (size_t)bytes };
        free(wide);
        return folded;
}
