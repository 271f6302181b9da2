/* The report for people: a hundred columns, sentences wrapped beneath their row. */
#include "doctor/doctor_priv.h"

enum { WIDTH = 100, INDENT = 6 };

/* Text from column `at` on, broken between words; later lines begin at `indent`. Ends with a newline. */
static void wrap(FILE *out, const char *text, int at, int indent)
{
        struct span rest = span_of(text);
        bool first = true;
        while (rest.size > 0) {
                struct span word = span_cut(&rest, ' ');
                if (!first && at + 1 + (int)word.size > WIDTH) {
                        fprintf(out, "\n%*s", indent, "");
                        at = indent;
                } else if (!first) {
                        fputc(' ', out);
                        at++;
                }
                fprintf(out, "%.*s", (int)word.size, word.data);
                at += (int)word.size;
                first = false;
        }
        fputc('\n', out);
}

static void print_plan(FILE *out, const struct doctor_plan *plan)
{
        char line[512];
        struct text text = text_in(line, sizeof(line));
        text_format(&text, "Plan: %s connections, one end of each on this machine",
                    figure_count(plan->connections).text);
        if (!plan->connections_given)
                text_format(&text, " (%s; --connections asks for another number)",
                            plan->memory_from == DOCTOR_MEMORY_UNKNOWN ? "assumed"
                                                                       : "what memory holds, at most 1,000,000");
        wrap(out, line, 0, 6);
        if (plan->memory_from == DOCTOR_MEMORY_UNKNOWN)
                fputs("Memory: unknown.", out);
        else
                fprintf(out, "Memory: %s (%s).", figure_size(plan->memory_bytes).text,
                        doctor_memory_word(plan->memory_from));
        fprintf(out, " Processors: %s. Engine: %s.\n\n", figure_count(plan->processors).text, plan->engine);
}

/* A failing row says whether it has to change. */
static const char *verdict_text(const struct doctor_finding *finding, char room[32])
{
        bool weighs = doctor_fails(finding) || finding->verdict == DOCTOR_UNKNOWN;
        snprintf(room, 32, "%s%s", doctor_verdict_word(finding->verdict),
                 !weighs         ? ""
                 : finding->must ? " (must)"
                                 : " (advice)");
        return room;
}

static const char *now_text(const struct doctor_finding *finding)
{
        if (finding->now[0])
                return finding->now;
        return finding->verdict == DOCTOR_NOT_HERE ? "-" : "?";
}

static void print_row(FILE *out, const char *verdict, const char *name, const char *role, const char *now,
                      const char *needed)
{
        fprintf(out, "%-16s %-31s %-6s %-20s %s\n", verdict, name, role, now, needed);
}

static void print_findings(FILE *out, const struct doctor_report *report)
{
        char verdict[32];
        print_row(out, "VERDICT", "PARAMETER", "FOR", "NOW", "NEEDED");
        for (unsigned i = 0; i < report->count; i++) {
                const struct doctor_finding *finding = &report->findings[i];
                print_row(out, verdict_text(finding, verdict), finding->row->name, doctor_role_word(finding->row->role),
                          now_text(finding), finding->wanted);
                fprintf(out, "%*s", INDENT, "");
                wrap(out, finding->why, INDENT, INDENT);
                if (finding->verdict == DOCTOR_OK || finding->verdict == DOCTOR_NOT_HERE)
                        continue;
                fprintf(out, "%*sto change: ", INDENT, "");
                wrap(out, finding->how, INDENT + 11, INDENT + 11);
        }
        fputc('\n', out);
}

static void print_sum(FILE *out, const struct doctor_plan *plan, const struct doctor_capacity *capacity)
{
        struct figure connections = figure_count(plan->connections);
        fprintf(out, "  in the kernel  %s x %s bytes = %s\n", connections.text,
                figure_count(capacity->kernel_each).text, figure_size(capacity->kernel_bytes).text);
        fprintf(out, "  in berth       %s x %s bytes + %s of pools = %s\n", connections.text,
                figure_count(capacity->user_each).text, figure_size(capacity->fixed_bytes).text,
                figure_size(capacity->user_bytes).text);
        fprintf(out, "  together       %s", figure_size(capacity->needed_bytes).text);
        if (plan->memory_from == DOCTOR_MEMORY_UNKNOWN)
                fputs("; how much there is cannot be read\n", out);
        else
                fprintf(out, " of %s: %s; it holds %s connections\n", figure_size(plan->memory_bytes).text,
                        capacity->needed_bytes <= plan->memory_bytes ? "fits" : "does not fit",
                        figure_count(capacity->most).text);
        fprintf(out, "  and up to      %s more while a message goes to all at once, a page of data each\n\n",
                figure_size(capacity->buffer_bytes).text);
}

static void print_arithmetic(FILE *out, const struct doctor_plan *plan)
{
        struct doctor_capacity capacity = doctor_capacity_of(plan);
        char line[512];
        struct text parts = text_in(line, sizeof(line) - 1);
        text_format(&parts, "%s bytes:", figure_count(capacity.kernel_each).text);
        for (unsigned i = 0; i < capacity.part_count; i++)
                text_format(&parts, "%s %s %s", i ? "," : "", capacity.parts[i].what,
                            figure_count(capacity.parts[i].bytes).text);
        line[parts.used] = '\0';
        fputs("MEMORY OF QUIET CONNECTIONS\n  one            ", out);
        wrap(out, line, 17, 17);
        print_sum(out, plan, &capacity);
}

static void print_bounds(FILE *out, const struct doctor_report *report)
{
        const struct doctor_finding *bounds[DOCTOR_ROWS];
        unsigned count = doctor_bounds(report, bounds);
        fputs("WHAT GIVES FIRST, as things are now\n", out);
        if (count == 0)
                fputs("  nothing that can be read bounds the connections\n", out);
        for (unsigned i = 0; i < count; i++)
                fprintf(out, "  %15s connections  %s\n", figure_count(bounds[i]->bound).text, bounds[i]->row->name);
        fputc('\n', out);
}

static void print_symptom(FILE *out, const struct doctor_symptom *symptom)
{
        if (symptom->error) {
                fprintf(out, "  unknown  %s: %s\n", symptom->name, error_text(-symptom->error));
                return;
        }
        fprintf(out, "  %-8s %s: %s", symptom->bad ? "look" : "ok", symptom->name, figure_count(symptom->value).text);
        if (symptom->limit)
                fprintf(out, " of %s", figure_count(symptom->limit).text);
        fputc('\n', out);
        if (!symptom->bad)
                return;
        fprintf(out, "%*s", 11, "");
        wrap(out, symptom->meaning, 11, 11);
}

static void print_symptoms(FILE *out, const struct doctor_plan *plan)
{
        struct doctor_symptom symptoms[DOCTOR_SYMPTOMS];
        unsigned count = doctor_symptoms(plan, symptoms);
        fputs("SYMPTOMS, counted since the machine started, or now\n", out);
        for (unsigned i = 0; i < count; i++)
                print_symptom(out, &symptoms[i]);
        fputc('\n', out);
}

/* The names of the findings that `takes` wants, in one line. False when there are none. */
static bool list_names(const struct doctor_report *report, bool (*takes)(const struct doctor_finding *),
                       struct text *out)
{
        unsigned count = 0;
        for (unsigned i = 0; i < report->count; i++)
                if (takes(&report->findings[i]))
                        text_format(out, "%s%s", count++ ? ", " : "", report->findings[i].row->name);
        return count > 0;
}

static bool fails_and_must(const struct doctor_finding *finding)
{
        return finding->must && doctor_fails(finding);
}

static bool unknown_and_must(const struct doctor_finding *finding)
{
        return finding->must && finding->verdict == DOCTOR_UNKNOWN;
}

static bool fails_as_advice(const struct doctor_finding *finding)
{
        return !finding->must && doctor_fails(finding);
}

static bool applies(const struct doctor_finding *finding)
{
        return finding->apply[0] != '\0';
}

static void print_names(FILE *out, const char *title, const struct doctor_report *report,
                        bool (*takes)(const struct doctor_finding *))
{
        char line[2048];
        struct text names = text_in(line, sizeof(line) - 1);
        text_format(&names, "%s: ", title);
        if (!list_names(report, takes, &names))
                return;
        line[names.used] = '\0';
        wrap(out, line, 0, 2);
}

static void print_fit(FILE *out, const struct doctor_plan *plan, const struct doctor_report *report)
{
        static const char *const words[] = { "It fits", "It does not fit", "Cannot tell" };
        fprintf(out, "%s: %s connections", words[report->fit], figure_count(plan->connections).text);
        if (plan->memory_from == DOCTOR_MEMORY_UNKNOWN)
                fputs(".\n", out);
        else
                fprintf(out, " in %s of memory.\n", figure_size(plan->memory_bytes).text);
}

void doctor_print_conclusion(FILE *out, const struct doctor_plan *plan, const struct doctor_report *report)
{
        print_fit(out, plan, report);
        print_names(out, "Has to change", report, fails_and_must);
        print_names(out, "Cannot be read", report, unknown_and_must);
        print_names(out, "Better changed", report, fails_as_advice);
        print_names(out, "What --apply would raise", report, applies);
}

void doctor_print(FILE *out, const struct doctor_plan *plan, const struct doctor_report *report)
{
        print_fit(out, plan, report);
        print_plan(out, plan);
        print_findings(out, report);
        print_arithmetic(out, plan);
        print_bounds(out, report);
        print_symptoms(out, plan);
        doctor_print_conclusion(out, plan, report);
}
