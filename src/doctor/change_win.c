/* --apply and --undo: not here. */
#include "doctor/doctor_priv.h"

int doctor_change(const struct doctor_plan *plan, const struct doctor_options *options)
{
        (void)plan;
        complain("--%s: only on Linux; on Windows each row of the report tells the command to change it by",
                 options->undo ? "undo" : "apply");
        return DOCTOR_CANNOT_TELL;
}
