/* --apply and --undo as commands: what is changed, and what it came to. */
#include "doctor/doctor_priv.h"

static int undo(const struct doctor_plan *plan, const struct doctor_options *options)
{
        struct doctor_settings done;
        struct doctor_report report;
        int error = doctor_undo(plan, &done, options->json ? NULL : stdout);
        if (options->json) {
                doctor_judge(plan, &report);
                doctor_json(stdout, plan, &report, &done);
        }
        return error ? DOCTOR_CANNOT_TELL : DOCTOR_FITS;
}

static int apply(const struct doctor_plan *plan, const struct doctor_options *options)
{
        struct doctor_settings done;
        struct doctor_report report;
        doctor_judge(plan, &report);
        int error = doctor_apply(plan, &report, &done, options->json ? NULL : stdout);
        /* What could be changed is, so judge anew, by the same plan. */
        doctor_judge(plan, &report);
        if (options->json)
                doctor_json(stdout, plan, &report, &done);
        else if (!error)
                doctor_print_conclusion(stdout, plan, &report);
        return error ? DOCTOR_CANNOT_TELL : (int)report.fit;
}

int doctor_change(const struct doctor_plan *plan, const struct doctor_options *options)
{
        return options->undo ? undo(plan, options) : apply(plan, options);
}
