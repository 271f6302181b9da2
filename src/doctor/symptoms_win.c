/* What has gone wrong already: counters of the system since it started, and what is nearly full now. They do not decide
 * whether the plan fits: a counter does not tell when it counted. */
#include "doctor/doctor_priv.h"

#include <winsock2.h>
#include <ws2tcpip.h>

#include <iphlpapi.h>

#include <errno.h>
#include <psapi.h>
#include <stdlib.h>

/* Segments that were sent again are a sign of lost packets from this share on. */
enum { AGAIN_SHARE = 20, COMMIT_PERCENT = 90, TABLE_TRIES = 4 };

static ULONG read_4(void *rows, ULONG *size)
{
        return GetTcpTable(rows, size, FALSE);
}

static ULONG read_6(void *rows, ULONG *size)
{
        return GetTcp6Table(rows, size, FALSE);
}

/* The table grows between asking for its size and for itself. NULL: it cannot be had. */
static void *tcp_table(ULONG (*read)(void *rows, ULONG *size))
{
        void *rows = NULL;
        ULONG size = 0, result = ERROR_INSUFFICIENT_BUFFER;
        for (int i = 0; i < TABLE_TRIES && result == ERROR_INSUFFICIENT_BUFFER; i++) {
                free(rows);
                size += size / 8;
                rows = size > 0 ? malloc(size) : NULL;
                if (size > 0 && !rows)
                        return NULL;
                result = read(rows, &size);
        }
        if (result == NO_ERROR)
                return rows;
        free(rows);
        return NULL;
}

static void time_wait(const struct doctor_plan *plan, struct doctor_symptom *symptom)
{
        MIB_TCPTABLE *rows = tcp_table(read_4);
        MIB_TCP6TABLE *rows_6 = tcp_table(read_6); /* none where there is no IPv6 */
        symptom->limit = plan->ports;
        symptom->error = rows ? 0 : -ENODATA;
        for (DWORD i = 0; rows && i < rows->dwNumEntries; i++)
                symptom->value += rows->table[i].dwState == MIB_TCP_STATE_TIME_WAIT;
        for (DWORD i = 0; rows_6 && i < rows_6->dwNumEntries; i++)
                symptom->value += rows_6->table[i].State == MIB_TCP_STATE_TIME_WAIT;
        symptom->bad = symptom->value >= symptom->limit / 2;
        free(rows_6);
        free(rows);
}

static void sent_again(const struct doctor_plan *plan, struct doctor_symptom *symptom)
{
        MIB_TCPSTATS counters;
        (void)plan;
        if (GetTcpStatistics(&counters) != NO_ERROR) {
                symptom->error = -ENODATA;
                return;
        }
        symptom->value = counters.dwRetransSegs;
        uint64_t all = (uint64_t)counters.dwOutSegs + counters.dwRetransSegs; /* the former are without the latter */
        symptom->limit = max_of(all / AGAIN_SHARE, UINT64_C(1));
        symptom->bad = symptom->value >= symptom->limit;
}

static void committed(const struct doctor_plan *plan, struct doctor_symptom *symptom)
{
        PERFORMANCE_INFORMATION system = { .cb = sizeof(system) };
        (void)plan;
        if (!K32GetPerformanceInfo(&system, sizeof(system))) {
                symptom->error = -ENODATA;
                return;
        }
        symptom->value = system.CommitTotal;
        symptom->limit = system.CommitLimit;
        symptom->bad = symptom->value / 100.0 >= symptom->limit / 100.0 * COMMIT_PERCENT / 100;
}

static const struct {
        const char *name;
        void (*read)(const struct doctor_plan *plan, struct doctor_symptom *symptom);
        const char *meaning;
} table[] = {
        { "TIME_WAIT", time_wait,
          "As many connections are in TIME_WAIT as half of the dynamic ports: if all go to one address and port, "
          "connecting soon fails." },
        { "segments sent again", sent_again,
          "More than one TCP segment in twenty was sent again: the network loses packets, or somebody is overloaded." },
        { "committed pages", committed,
          "The system is near its commit limit; beyond it no program gets memory: enlarge the page file." },
};

_Static_assert(array_count(table) <= DOCTOR_SYMPTOMS, "room for all symptoms");

unsigned doctor_symptoms(const struct doctor_plan *plan, struct doctor_symptom symptoms[DOCTOR_SYMPTOMS])
{
        for (unsigned i = 0; i < array_count(table); i++) {
                symptoms[i] = (struct doctor_symptom){ .name = table[i].name, .meaning = table[i].meaning };
                table[i].read(plan, &symptoms[i]);
        }
        return array_count(table);
}
