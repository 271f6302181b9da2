/* Numbers and choices as people read them. */
#include "doctor/doctor_priv.h"

struct doctor_word doctor_count(uint64_t value)
{
        struct doctor_word word;
        char digits[24];
        int size = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
        size_t used = 0;
        for (int i = 0; i < size; i++) {
                if (i > 0 && (size - i) % 3 == 0)
                        word.text[used++] = ',';
                word.text[used++] = digits[i];
        }
        word.text[used] = '\0';
        return word;
}

struct doctor_word doctor_size(uint64_t bytes)
{
        static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
        struct doctor_word word;
        double value = (double)bytes;
        unsigned unit = 0;
        while (value >= 1024 && unit + 1 < array_count(units)) {
                value /= 1024;
                unit++;
        }
        snprintf(word.text, sizeof(word.text), value < 10 && unit > 0 ? "%.1f %s" : "%.0f %s", value, units[unit]);
        return word;
}

const char *doctor_memory_word(enum doctor_memory_from from)
{
        switch (from) {
        case DOCTOR_MEMORY_GIVEN:
                return "--memory";
        case DOCTOR_MEMORY_AVAILABLE:
                return "MemAvailable";
        case DOCTOR_MEMORY_CGROUP:
                return "control group";
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
