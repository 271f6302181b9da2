/* What Windows tells in other ways than by a call: values of the registry, and netsh's word on ports. */
#include "doctor/doctor_priv.h"

#include <errno.h>
#include <windows.h>

enum { NETSH_MS = 5000, NETSH_BYTES = 4096, NAME_UNITS = 64 };

int doctor_read_setting(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        static const wchar_t key[] = L"SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters";
        wchar_t name[NAME_UNITS];
        DWORD value, size = sizeof(value);
        (void)plan;
        ensure(MultiByteToWideChar(CP_UTF8, 0, finding->row->name, -1, name, NAME_UNITS) > 0);
        switch (RegGetValueW(HKEY_LOCAL_MACHINE, key, name, RRF_RT_REG_DWORD, NULL, &value, &size)) {
        case ERROR_SUCCESS:
                finding->value[0] = value;
                return 0;
        case ERROR_FILE_NOT_FOUND:
                return -ENOENT;
        case ERROR_UNSUPPORTED_TYPE:
                return -EINVAL;
        default:
                return -EACCES;
        }
}

/* ---- netsh ----
 *
 * No call and no documented value of the registry tells the dynamic range; netsh is what the documentation says tells
 * it. Its output is shorter than a pipe, so it is read when netsh has ended. */

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

static int read_ports(struct doctor_windows *windows, HANDLE input)
{
        char content[NETSH_BYTES];
        DWORD there = 0, got = 0;
        if (!PeekNamedPipe(input, NULL, 0, NULL, &there, NULL) || there == 0 ||
            !ReadFile(input, content, min_of(there, sizeof(content)), &got, NULL))
                return -ENODATA;
        return doctor_parse_ports(windows, (struct span){ content, got });
}

int doctor_ask_ports(struct doctor_windows *windows)
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
                error = read_ports(windows, input);
        CloseHandle(input);
        return error;
}
