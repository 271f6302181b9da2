/* The command `berth doctor`. */
#include "doctor/doctor.h"
#include "doctor/doctor_priv.h"

#include <errno.h>

static int finish_output(int status)
{
        if (fflush(stdout) == 0 && !ferror(stdout))
                return status;
        complain("standard output: %s", strerror(errno));
        return DOCTOR_CANNOT_TELL;
}

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

static int tell(const struct doctor_plan *plan, const struct doctor_options *options)
{
        struct doctor_report report;
        doctor_judge(plan, &report);
        if (options->json)
                doctor_json(stdout, plan, &report, NULL);
        else
                doctor_print(stdout, plan, &report);
        return (int)report.fit;
}

int doctor_command(int argc, char **argv)
{
        struct doctor_options options;
        struct doctor_plan plan;
        if (doctor_options_parse(&options, argc, argv) < 0)
                return DOCTOR_CANNOT_TELL;
        if (options.help) {
                doctor_options_help();
                return finish_output(DOCTOR_FITS);
        }
        doctor_plan_make(&plan, &options);
        if (options.undo)
                return finish_output(undo(&plan, &options));
        return finish_output(options.apply ? apply(&plan, &options) : tell(&plan, &options));
}
