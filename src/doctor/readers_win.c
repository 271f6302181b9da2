/* Values of the registry. */
#include "doctor/doctor_priv.h"

#include <errno.h>
#include <windows.h>

enum { NAME_UNITS = 64 };

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
