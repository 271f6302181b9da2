/* The ports that outgoing connections are given. No call and no documented value of the registry tells them: netsh is
 * what the documentation says does. Its output is shorter than a pipe, so it is read when netsh has ended. */
#include "base/base.h"

#include <errno.h>
#include <windows.h>

enum { NETSH_MS = 5000, NETSH_BYTES = 4096 };

static bool start_netsh(HANDLE output, PROCESS_INFORMATION *process)
{
        static const wchar_t arguments[] = L"netsh.exe interface ipv4 show dynamicport tcp";
        wchar_t path[MAX_PATH + 16], line[array_count(arguments)];
        STARTUPINFOW startup = {
                .cb = sizeof(startup),
                .dwFlags = STARTF_USESTDHANDLES,
                .hStdOutput = output,
                .hStdError = output,
        };
        UINT length = GetSystemDirectoryW(path, MAX_PATH);
        if (length == 0 || length >= MAX_PATH)
                return false;
        wcscpy(path + length, L"\\netsh.exe"); /* whole, so that no other program of this name is started */
        wcscpy(line, arguments);
        return CreateProcessW(path, line, NULL, NULL, TRUE, CREATE_NO_WINDOW, NULL, NULL, &startup, process);
}

static int end_netsh(PROCESS_INFORMATION *process)
{
        bool ended = WaitForSingleObject(process->hProcess, NETSH_MS) == WAIT_OBJECT_0;
        if (!ended)
                TerminateProcess(process->hProcess, 1);
        CloseHandle(process->hThread);
        CloseHandle(process->hProcess);
        return ended ? 0 : -ETIMEDOUT;
}

static int read_ports(HANDLE input, uint64_t *first, uint64_t *count)
{
        char content[NETSH_BYTES];
        DWORD there = 0, got = 0;
        if (!PeekNamedPipe(input, NULL, 0, NULL, &there, NULL) || there == 0 ||
            !ReadFile(input, content, min_of(there, sizeof(content)), &got, NULL))
                return -ENODATA;
        return netsh_parse_ports((struct span){ content, got }, first, count);
}

const char *machine_port_denied(void)
{
        return "it may be reserved: netsh interface ipv4 show excludedportrange tcp";
}

int machine_ports(uint64_t *first, uint64_t *count)
{
        SECURITY_ATTRIBUTES inherited = { .nLength = sizeof(inherited), .bInheritHandle = TRUE };
        HANDLE input, output;
        PROCESS_INFORMATION process;
        if (!CreatePipe(&input, &output, &inherited, NETSH_BYTES))
                return -ENOMEM;
        SetHandleInformation(input, HANDLE_FLAG_INHERIT, 0);
        int error = start_netsh(output, &process) ? end_netsh(&process) : -ENODATA;
        CloseHandle(output);
        if (!error)
                error = read_ports(input, first, count);
        CloseHandle(input);
        return error;
}
