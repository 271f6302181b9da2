/* The report as one JSON object (RFC 8259). */
#include "doctor/doctor_priv.h"

/* ASCII whatever comes: other bytes, which only a file of settings could bring, stand as their code points. */
static void put_string(FILE *out, const char *text)
{
        fputc('"', out);
        for (; *text; text++) {
                unsigned char byte = (unsigned char)*text;
                if (byte == '"' || byte == '\\')
                        fprintf(out, "\\%c", byte);
                else if (byte < 0x20 || byte >= 0x7f)
                        fprintf(out, "\\u%04x", byte);
                else
                        fputc(byte, out);
        }
        fputc('"', out);
}

/* Members of an object: `first` has no comma before it. */
static void put_key(FILE *out, bool first, const char *key)
{
        fprintf(out, "%s\"%s\": ", first ? "" : ", ", key);
}

static void put_text(FILE *out, bool first, const char *key, const char *value)
{
        put_key(out, first, key);
        if (value)
                put_string(out, value);
        else
                fputs("null", out);
}

static void put_number(FILE *out, bool first, const char *key, uint64_t value)
{
        put_key(out, first, key);
        fprintf(out, "%llu", (unsigned long long)value);
}

static void put_bool(FILE *out, bool first, const char *key, bool value)
{
        put_key(out, first, key);
        fputs(value ? "true" : "false", out);
}

/* null when it is not known. */
static void put_known(FILE *out, const char *key, bool known, uint64_t value)
{
        if (known)
                put_number(out, false, key, value);
        else
                put_text(out, false, key, NULL);
}

static void put_assumptions(FILE *out, const struct doctor_plan *plan)
{
        fputs("{\n\"assumptions\": {", out);
        put_number(out, true, "connections", plan->connections);
        put_bool(out, false, "connections_given", plan->connections_given);
        put_number(out, false, "ends", 1);
        put_known(out, "memory_bytes", plan->memory_from != DOCTOR_MEMORY_UNKNOWN, plan->memory_bytes);
        put_text(out, false, "memory_from", doctor_memory_word(plan->memory_from));
        put_text(out, false, "engine", plan->engine);
        put_bool(out, false, "descriptor_each", doctor_needs_descriptors(plan));
        put_number(out, false, "processors", plan->processors);
        put_number(out, false, "page_bytes", plan->page_bytes);
        fputs("},\n", out);
}

static void put_finding(FILE *out, const struct doctor_finding *finding)
{
        fputc('{', out);
        put_text(out, true, "name", finding->row->name);
        put_text(out, false, "role", doctor_role_word(finding->row->role));
        put_text(out, false, "now", finding->now[0] ? finding->now : NULL);
        put_text(out, false, "needed", finding->wanted);
        put_text(out, false, "verdict", doctor_verdict_word(finding->verdict));
        put_bool(out, false, "must", finding->must);
        put_known(out, "connections", finding->bound != UINT64_MAX, finding->bound);
        put_text(out, false, "error", finding->error ? error_text(-finding->error) : NULL);
        put_text(out, false, "why", finding->why);
        put_text(out, false, "how", finding->how);
        put_text(out, false, "apply", finding->apply[0] ? finding->apply : NULL);
        fputc('}', out);
}

static void put_bounds(FILE *out, const struct doctor_report *report)
{
        const struct doctor_finding *bounds[DOCTOR_ROWS];
        unsigned count = doctor_bounds(report, bounds);
        put_key(out, false, "gives_first");
        fputc('[', out);
        for (unsigned i = 0; i < count; i++) {
                fputs(i ? ", {" : "{", out);
                put_text(out, true, "name", bounds[i]->row->name);
                put_number(out, false, "connections", bounds[i]->bound);
                fputc('}', out);
        }
        fputc(']', out);
}

static void put_parts(FILE *out, const struct doctor_capacity *capacity)
{
        put_key(out, true, "parts");
        fputc('[', out);
        for (unsigned i = 0; i < capacity->part_count; i++) {
                fputs(i ? ", {" : "{", out);
                put_text(out, true, "what", capacity->parts[i].what);
                put_number(out, false, "bytes", capacity->parts[i].bytes);
                fputc('}', out);
        }
        fputc(']', out);
}

static void put_arithmetic(FILE *out, const struct doctor_plan *plan, const struct doctor_report *report)
{
        struct doctor_capacity capacity = doctor_capacity_of(plan);
        bool known = plan->memory_from != DOCTOR_MEMORY_UNKNOWN;
        fputs("\"arithmetic\": {", out);
        put_parts(out, &capacity);
        put_number(out, false, "kernel_bytes_per_connection", capacity.kernel_each);
        put_number(out, false, "user_bytes_per_connection", capacity.user_each);
        put_number(out, false, "fixed_bytes", capacity.fixed_bytes);
        put_number(out, false, "kernel_bytes", capacity.kernel_bytes);
        put_number(out, false, "user_bytes", capacity.user_bytes);
        put_number(out, false, "needed_bytes", capacity.needed_bytes);
        put_number(out, false, "buffer_bytes", capacity.buffer_bytes);
        put_known(out, "memory_bytes", known, plan->memory_bytes);
        if (known)
                put_bool(out, false, "fits", capacity.needed_bytes <= plan->memory_bytes);
        else
                put_text(out, false, "fits", NULL);
        put_known(out, "most_connections", known, capacity.most);
        put_number(out, false, "port_sets", doctor_port_sets(plan->connections, plan->ports));
        put_bounds(out, report);
        fputs("},\n", out);
}

static void put_symptoms(FILE *out, const struct doctor_plan *plan)
{
        struct doctor_symptom symptoms[DOCTOR_SYMPTOMS];
        unsigned count = doctor_symptoms(plan, symptoms);
        fputs("\"symptoms\": [\n", out);
        for (unsigned i = 0; i < count; i++) {
                const struct doctor_symptom *one = &symptoms[i];
                fputc('{', out);
                put_text(out, true, "name", one->name);
                put_known(out, "value", !one->error, one->value);
                put_known(out, "limit", !one->error && one->limit > 0, one->limit);
                put_bool(out, false, "bad", one->bad);
                put_text(out, false, "error", one->error ? error_text(-one->error) : NULL);
                put_text(out, false, "meaning", one->meaning);
                fputs(i + 1 < count ? "},\n" : "}\n", out);
        }
        fputs("],\n", out);
}

static void put_changes(FILE *out, const struct doctor_settings *settings)
{
        bool first = true;
        fputs("\"changes\": [", out);
        for (unsigned i = 0; settings && i < settings->count; i++) {
                const struct doctor_setting *one = &settings->list[i];
                if (!one->changed)
                        continue;
                fputs(first ? "{" : ", {", out);
                put_text(out, true, "name", one->name);
                put_text(out, false, "old", one->from);
                put_text(out, false, "new", one->to);
                put_text(out, false, "error", one->error ? error_text(-one->error) : NULL);
                fputc('}', out);
                first = false;
        }
        fputs("],\n", out);
}

void doctor_json(FILE *out, const struct doctor_plan *plan, const struct doctor_report *report,
                 const struct doctor_settings *settings)
{
        put_assumptions(out, plan);
        fputs("\"rows\": [\n", out);
        for (unsigned i = 0; i < report->count; i++) {
                put_finding(out, &report->findings[i]);
                fputs(i + 1 < report->count ? ",\n" : "\n", out);
        }
        fputs("],\n", out);
        put_arithmetic(out, plan, report);
        put_symptoms(out, plan);
        put_changes(out, settings);
        put_text(out, true, "verdict", doctor_fit_word(report->fit));
        fputs("\n}\n", out);
}
