/* The command `berth doctor`. */
#include "doctor/doctor.h"
#include "doctor/doctor_priv.h"

#include <errno.h>

static int finish_output(int status)
{
        if (fflush(stdout) == 0 && !ferror(stdout))
                return status;
        complain("standard output: %s", error_text(errno));
        return DOCTOR_CANNOT_TELL;
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
        bool changes = options.apply || options.undo;
        return finish_output(changes ? doctor_change(&plan, &options) : tell(&plan, &options));
}
