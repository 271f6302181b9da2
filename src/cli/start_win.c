/* The process's beginning: sockets have to be asked for, and arguments come as UTF-16. */
#include "base/net.h"
#include "cli/start.h"

#include <windows.h>

#include <shellapi.h>
#include <stdlib.h>

static char *utf8_of(const wchar_t *wide)
{
        int size = WideCharToMultiByte(CP_UTF8, 0, wide, -1, NULL, 0, NULL, NULL);
        char *text = size > 0 ? malloc((size_t)size) : NULL;
        if (text)
                WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, size, NULL, NULL);
        return text;
}

/* They last as long as the process. */
char **start_process(int *argc, char **argv)
{
        static char name[] = "berth";
        WSADATA data;
        int count = 0;
        wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), &count);
        char **list = wide && WSAStartup(MAKEWORD(2, 2), &data) == 0 ? calloc((size_t)count + 1, sizeof(*argv)) : NULL;
        for (int i = 0; list && i < count; i++)
                if (!(list[i] = utf8_of(wide[i])))
                        return NULL;
        SetConsoleOutputCP(CP_UTF8);
        __argv[0] = name; /* getopt's messages begin with it */
        *argc = count;
        return list;
}
