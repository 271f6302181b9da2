/* Ctrl-C, Ctrl-Break and the end of the console or of the session. The system calls the handler on a thread of its own;
 * after the last three it ends the process as soon as the handler returns, or some seconds later: so the handler stays,
 * and the process is gone before when it has finished. Nothing asks to read files anew. */
#include "base/base.h"

#include <windows.h>

enum { MOST_ENDS = 1000, FINISH_MS = 30 * 1000 };

static HANDLE ends, wakes;

static BOOL WINAPI told(DWORD event)
{
        ReleaseSemaphore(ends, 1, NULL);
        if (event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT)
                Sleep(FINISH_MS);
        return TRUE;
}

void signals_take(bool reload)
{
        (void)reload;
        ends = CreateSemaphoreW(NULL, 0, MOST_ENDS, NULL);
        wakes = CreateSemaphoreW(NULL, 0, MOST_ENDS, NULL);
        ensure(ends && wakes);
        SetConsoleCtrlHandler(NULL, FALSE); /* who started us may have had Ctrl-C ignored */
        SetConsoleCtrlHandler(told, TRUE);
}

enum told signals_wait(int timeout_ms)
{
        HANDLE both[] = { ends, wakes };
        DWORD wait = timeout_ms < 0 ? INFINITE : (DWORD)timeout_ms;
        return WaitForMultipleObjects(array_count(both), both, FALSE, wait) == WAIT_OBJECT_0 ? TOLD_END : TOLD_NOTHING;
}

void signals_wake(void)
{
        ReleaseSemaphore(wakes, 1, NULL);
}
