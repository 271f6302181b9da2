/* Choices as people read them. */
#include "doctor/doctor_priv.h"

const char *doctor_memory_word(enum doctor_memory_from from)
{
        switch (from) {
        case DOCTOR_MEMORY_GIVEN:
                return "--memory";
        case DOCTOR_MEMORY_AVAILABLE:
                return "MemAvailable";
        case DOCTOR_MEMORY_CGROUP:
                return "control group";
        case DOCTOR_MEMORY_AVAIL_PHYS:
                return "available physical memory";
        default:
                return "unknown";
        }
}

const char *doctor_verdict_word(enum doctor_verdict verdict)
{
        static const char *const words[] = {
                [DOCTOR_OK] = "ok",         [DOCTOR_RAISE] = "raise",     [DOCTOR_LOWER] = "lower",
                [DOCTOR_CHANGE] = "change", [DOCTOR_UNKNOWN] = "unknown", [DOCTOR_NOT_HERE] = "not here",
        };
        return words[verdict];
}

const char *doctor_role_word(enum doctor_role role)
{
        static const char *const words[] = { "server", "client", "both" };
        return words[role];
}

const char *doctor_fit_word(enum doctor_fit fit)
{
        static const char *const words[] = { "fits", "does not fit", "cannot tell" };
        return words[fit];
}
