/* Walks the table: reads, compares, and leaves a finding for each row. */
#include "doctor/doctor_priv.h"

#include <errno.h>

static void read_now(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        const struct doctor_row *row = finding->row;
        finding->error = row->read ? row->read(plan, finding) : doctor_read_setting(plan, finding);
        if (finding->error)
                finding->now[0] = '\0';
        else if (!finding->now[0])
                snprintf(finding->now, sizeof(finding->now), "%llu", (unsigned long long)finding->value[0]);
}

static bool satisfied(const struct doctor_row *row, uint64_t now, uint64_t needed)
{
        switch (row->rule) {
        case DOCTOR_AT_LEAST:
                return now >= needed;
        case DOCTOR_AT_MOST:
                return now <= needed;
        default:
                return now == needed;
        }
}

static enum doctor_verdict verdict_of(const struct doctor_finding *finding)
{
        static const enum doctor_verdict otherwise[] = {
                [DOCTOR_AT_LEAST] = DOCTOR_RAISE,
                [DOCTOR_AT_MOST] = DOCTOR_LOWER,
                [DOCTOR_EXACTLY] = DOCTOR_CHANGE,
        };
        const struct doctor_row *row = finding->row;
        if (finding->error == -ENOENT && row->may_be_away)
                return DOCTOR_NOT_HERE;
        if (finding->error)
                return DOCTOR_UNKNOWN;
        return satisfied(row, finding->value[row->judged], finding->needed) ? DOCTOR_OK : otherwise[row->rule];
}

static bool is_must(const struct doctor_plan *plan, const struct doctor_row *row)
{
        switch (row->demand) {
        case DOCTOR_MUST:
                return true;
        case DOCTOR_MUST_ON_EPOLL:
                return plan->uring_error != 0;
        case DOCTOR_MUST_WITH_DESCRIPTORS:
                return doctor_needs_descriptors(plan);
        case DOCTOR_MUST_IF_TRACKED:
                return plan->tracked != 0 || plan->tracked_error;
        default:
                return false;
        }
}

/* The most connections for which the value is still enough: what is needed rises with them, so halving finds it. */
static uint64_t bound_of(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        struct doctor_plan tried = *plan;
        uint64_t low = 0, high = UINT64_C(1) << 32; /* low is enough, high is not */
        uint64_t now = finding->value[finding->row->judged];
        if (finding->row->rule != DOCTOR_AT_LEAST || finding->error)
                return UINT64_MAX;
        tried.connections = high;
        if (finding->row->needed(&tried, finding) <= now)
                return UINT64_MAX;
        while (high - low > 1) {
                uint64_t middle = low + (high - low) / 2;
                tried.connections = middle;
                if (finding->row->needed(&tried, finding) <= now)
                        low = middle;
                else
                        high = middle;
        }
        return low;
}

static void tell_why(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        const struct doctor_row *row = finding->row;
        struct text why = text_in(finding->why, sizeof(finding->why));
        if (finding->verdict == DOCTOR_UNKNOWN)
                text_format(&why, "Cannot be read: %s%s. ", error_text(-finding->error),
                            finding->error == -ENOENT && strncmp(row->name, "net.", 4) == 0
                                    ? " (inside a container some of net.* is hidden)"
                                    : "");
        if (row->explain)
                row->explain(plan, finding, &why);
        else
                text_format(&why, "%s", row->why);
        ensure(!why.overflow);
}

static void tell_how(struct doctor_finding *finding)
{
        const struct doctor_row *row = finding->row;
        struct text how = text_in(finding->how, sizeof(finding->how));
        bool fails = doctor_fails(finding);
        const char *value = fails ? finding->wanted : "VALUE";
        const char *quote = strchr(value, ' ') ? "\"" : "";
        if (row->how)
                text_format(&how, "%s", row->how);
        else
                text_format(&how, "sysctl -w %s=%s%s%s%s", row->name, quote, value, quote,
                            finding->apply[0] ? ", or --apply" : "");
}

static void want(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        const struct doctor_row *row = finding->row;
        if (row->want)
                row->want(plan, finding, finding->wanted, sizeof(finding->wanted));
        else if (finding->needed == 0 && row->rule == DOCTOR_AT_LEAST)
                snprintf(finding->wanted, sizeof(finding->wanted), "any");
        else
                snprintf(finding->wanted, sizeof(finding->wanted), "%llu", (unsigned long long)finding->needed);
        /* Only raises: what should be lowered or changed is a choice for whoever runs the machine. */
        bool is_sysctl = !row->how;
        if (finding->verdict == DOCTOR_RAISE && is_sysctl && strcmp(finding->wanted, finding->now) != 0)
                snprintf(finding->apply, sizeof(finding->apply), "%s", finding->wanted);
}

static void judge_row(const struct doctor_plan *plan, const struct doctor_row *row, struct doctor_finding *finding)
{
        *finding = (struct doctor_finding){ .row = row, .bound = UINT64_MAX, .must = is_must(plan, row) };
        read_now(plan, finding);
        finding->needed = row->needed(plan, finding);
        finding->verdict = verdict_of(finding);
        if (finding->must)
                finding->bound = bound_of(plan, finding);
        want(plan, finding);
        tell_why(plan, finding);
        tell_how(finding);
}

void doctor_judge(const struct doctor_plan *plan, struct doctor_report *report)
{
        bool fails = false, unknown = false;
        ensure(doctor_row_count <= DOCTOR_ROWS);
        for (unsigned i = 0; i < doctor_row_count; i++) {
                struct doctor_finding *finding = &report->findings[i];
                judge_row(plan, &doctor_rows[i], finding);
                fails |= finding->must && doctor_fails(finding);
                unknown |= finding->must && finding->verdict == DOCTOR_UNKNOWN;
        }
        report->count = doctor_row_count;
        report->fit = fails ? DOCTOR_DOES_NOT_FIT : unknown ? DOCTOR_CANNOT_TELL : DOCTOR_FITS;
}

bool doctor_fails(const struct doctor_finding *finding)
{
        return finding->verdict == DOCTOR_RAISE || finding->verdict == DOCTOR_LOWER ||
               finding->verdict == DOCTOR_CHANGE;
}

unsigned doctor_bounds(const struct doctor_report *report, const struct doctor_finding *bounds[DOCTOR_ROWS])
{
        unsigned count = 0;
        for (unsigned i = 0; i < report->count; i++) {
                const struct doctor_finding *finding = &report->findings[i];
                if (!finding->must || finding->bound == UINT64_MAX)
                        continue;
                unsigned at = count++;
                for (; at > 0 && bounds[at - 1]->bound > finding->bound; at--)
                        bounds[at] = bounds[at - 1];
                bounds[at] = finding;
        }
        return count;
}
