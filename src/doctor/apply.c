/* --apply and --undo: one file for the next start, and the values now.
 *
 * Order matters. What changes is shown first; then the file is written, whole or not at all, with what was before; only
 * then the kernel is told. Whatever stops it half-way, the file knows how to go back.
 */
#include "doctor/doctor_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_BYTES = 16 << 10 };

static int write_all(int descriptor, struct span content)
{
        while (content.size > 0) {
                ssize_t written = write(descriptor, content.data, content.size);
                if (written < 0 && errno != EINTR)
                        return -errno;
                content.data += max_of(written, 0);
                content.size -= (size_t)max_of(written, 0);
        }
        return 0;
}

/* A file that is there whole, or as it was before. */
static int replace_file(const char *path, struct span content)
{
        char temporary[DOCTOR_PATH_BYTES + 16];
        snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path); /* no *.conf, so sysctl passes it by */
        int descriptor = mkostemp(temporary, O_CLOEXEC);
        if (descriptor < 0)
                return -errno;
        int error = write_all(descriptor, content);
        if (!error && (fchmod(descriptor, 0644) < 0 || fsync(descriptor) < 0))
                error = -errno;
        close(descriptor);
        if (!error && rename(temporary, path) < 0)
                error = -errno;
        if (error)
                unlink(temporary);
        return error;
}

/* 0 when there is no file, too; *there tells. */
static int load(const struct doctor_plan *plan, struct doctor_settings *settings, bool *there)
{
        char path[DOCTOR_PATH_BYTES], content[FILE_BYTES];
        struct stat status;
        doctor_path(plan, path, "%s", DOCTOR_SETTINGS_FILE);
        *settings = (struct doctor_settings){ 0 };
        if (lstat(path, &status) == 0 && !S_ISREG(status.st_mode)) {
                complain("%s: no regular file; nothing is changed", DOCTOR_SETTINGS_FILE);
                return -EINVAL;
        }
        int size = proc_read(path, content, sizeof(content));
        *there = size != -ENOENT;
        if (size >= FILE_BYTES - 1)
                size = -EFBIG;
        if (size >= 0)
                doctor_settings_parse(settings, (struct span){ content, (size_t)size });
        else if (*there)
                complain("%s: %s; nothing is changed", DOCTOR_SETTINGS_FILE, error_text(-size));
        return *there ? min_of(size, 0) : 0;
}

static int save(const struct doctor_plan *plan, const struct doctor_settings *settings)
{
        char path[DOCTOR_PATH_BYTES], content[FILE_BYTES];
        struct text text = text_in(content, sizeof(content));
        doctor_settings_format(settings, plan->connections, &text);
        ensure(!text.overflow);
        if (mkdir(doctor_path(plan, path, "/etc/sysctl.d"), 0755) < 0 && errno != EEXIST)
                return -errno;
        return replace_file(doctor_path(plan, path, "%s", DOCTOR_SETTINGS_FILE), (struct span){ text.data, text.used });
}

static int write_value(const struct doctor_plan *plan, const char *name, const char *value)
{
        char path[DOCTOR_PATH_BYTES];
        doctor_sysctl_path(plan, path, name);
        int descriptor = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
        if (descriptor < 0)
                return -errno;
        /* In one piece: the kernel takes each write for a whole value. */
        ssize_t written = write(descriptor, value, strlen(value));
        int error = written < 0 ? -errno : 0;
        close(descriptor);
        return error;
}

/* What is now, its numbers apart by one space as in the file. */
static int read_value(const struct doctor_plan *plan, const char *name, char *out, size_t size)
{
        char path[DOCTOR_PATH_BYTES];
        doctor_sysctl_path(plan, path, name);
        int got = proc_read(path, out, size);
        if (got < 0)
                return got;
        size_t used = 0;
        for (int i = 0; i < got; i++) {
                bool space = out[i] == ' ' || out[i] == '\t' || out[i] == '\n';
                if (!space)
                        out[used++] = out[i];
                else if (used > 0 && out[used - 1] != ' ')
                        out[used++] = ' ';
        }
        used -= used > 0 && out[used - 1] == ' ';
        out[used] = '\0';
        return 0;
}

/* Names come from a file that people may have changed: only those of our own rows are written to. */
static bool is_ours(const char *name)
{
        for (unsigned i = 0; i < doctor_row_count; i++)
                if (!doctor_rows[i].how && strcmp(doctor_rows[i].name, name) == 0)
                        return true;
        return false;
}

/* One complaint for the usual reason instead of one for each value. */
static int check_rights(const struct doctor_plan *plan, const char *option)
{
        char path[DOCTOR_PATH_BYTES];
        if (access(doctor_path(plan, path, "/etc/sysctl.d"), W_OK) == 0)
                return 0;
        if (errno == ENOENT && access(doctor_path(plan, path, "/etc"), W_OK) == 0)
                return 0;
        int error = -errno;
        complain("%s: /etc/sysctl.d: %s%s; nothing is changed", option, error_text(-error),
                 error == -EACCES ? " (it needs root)" : "");
        return error;
}

/* ---- apply ---- */

/* More connections than the machine has memory for would make limits of no use: 0, or -errno after a complaint. */
static int check_memory(const struct doctor_plan *plan)
{
        if (!plan->machine_bytes) {
                complain("--apply: how much memory the machine has cannot be read, so nothing is changed");
                return -ENODATA;
        }
        uint64_t most = doctor_capacity_most(plan, plan->machine_bytes);
        if (plan->connections <= most)
                return 0;
        complain("--apply: this machine's memory (%s) holds %s connections at most, so nothing is changed",
                 figure_size(plan->machine_bytes).text, figure_count(most).text);
        return -E2BIG;
}

/* The changes of one finding, unless it cannot be written at all. */
static int take_change(const struct doctor_plan *plan, const struct doctor_finding *finding,
                       struct doctor_settings *settings, FILE *out)
{
        char path[DOCTOR_PATH_BYTES];
        const char *name = finding->row->name;
        doctor_sysctl_path(plan, path, name);
        if (access(path, W_OK) < 0) {
                int error = -errno;
                complain("%s: %s: left as it is", name, error_text(-error));
                return error;
        }
        if (!doctor_settings_change(settings, name, finding->now, finding->apply))
                return -ENOSPC;
        if (out)
                fprintf(out, "%s: %s -> %s\n", name, finding->now, finding->apply);
        return 0;
}

/* Tells the kernel; a value that it refuses leaves the run failed and the rest done. */
static int put_changes(const struct doctor_plan *plan, struct doctor_settings *settings)
{
        int first_error = 0;
        for (unsigned i = 0; i < settings->count; i++) {
                struct doctor_setting *setting = &settings->list[i];
                if (!setting->changed)
                        continue;
                setting->error = write_value(plan, setting->name, setting->value);
                if (!setting->error)
                        continue;
                complain("%s: %s", setting->name, error_text(-setting->error));
                first_error = first_error ? first_error : setting->error;
        }
        return first_error;
}

static unsigned count_changes(const struct doctor_report *report)
{
        unsigned count = 0;
        for (unsigned i = 0; i < report->count; i++)
                count += report->findings[i].apply[0] != '\0';
        return count;
}

/* From the findings into the settings. Their number in *changes; the first error. */
static int take_changes(const struct doctor_plan *plan, const struct doctor_report *report,
                        struct doctor_settings *settings, unsigned *changes, FILE *out)
{
        int first_error = 0;
        *changes = 0;
        for (unsigned i = 0; i < report->count; i++) {
                if (!report->findings[i].apply[0])
                        continue;
                int error = take_change(plan, &report->findings[i], settings, out);
                *changes += !error;
                first_error = first_error ? first_error : error;
        }
        if (out)
                fflush(out); /* before any complaint about what comes */
        return first_error;
}

int doctor_apply(const struct doctor_plan *plan, const struct doctor_report *report, struct doctor_settings *settings,
                 FILE *out)
{
        bool there;
        unsigned changes;
        *settings = (struct doctor_settings){ 0 };
        if (count_changes(report) == 0) {
                if (out)
                        fputs("No sysctl needs to be raised: nothing is changed.\n", out);
                return 0;
        }
        int error = check_memory(plan);
        if (!error)
                error = check_rights(plan, "--apply");
        if (!error)
                error = load(plan, settings, &there);
        if (error)
                return error;
        int refused = take_changes(plan, report, settings, &changes, out);
        if (changes == 0)
                return refused;
        error = save(plan, settings);
        if (error) {
                complain("%s: %s; nothing is changed", DOCTOR_SETTINGS_FILE, error_text(-error));
                settings->count = 0;
                return error;
        }
        error = put_changes(plan, settings);
        if (out)
                fputs("Written to " DOCTOR_SETTINGS_FILE "; 'berth doctor --undo' puts back what was.\n\n", out);
        return refused ? refused : error;
}

/* ---- undo ---- */

/* Puts one value back, unless somebody has changed it since. */
static int put_back(const struct doctor_plan *plan, struct doctor_setting *setting, FILE *out)
{
        char now[sizeof(setting->value)];
        if (!setting->was[0] || !is_ours(setting->name)) {
                complain("%s = %s: left as it is, since it is not of berth's making", setting->name, setting->value);
                return 0;
        }
        int error = read_value(plan, setting->name, now, sizeof(now));
        if (error || strcmp(now, setting->was) == 0)
                return error == -ENOENT ? 0 : error; /* a module that is gone has taken its value along */
        if (strcmp(now, setting->value) != 0) {
                complain("%s = %s: left as it is, since somebody has changed it after berth", setting->name, now);
                return 0;
        }
        if (out)
                fprintf(out, "%s: %s -> %s\n", setting->name, now, setting->was);
        setting->changed = true;
        memcpy(setting->from, now, sizeof(now));
        memcpy(setting->to, setting->was, sizeof(setting->to));
        return write_value(plan, setting->name, setting->was);
}

static int remove_file(const struct doctor_plan *plan, FILE *out)
{
        char path[DOCTOR_PATH_BYTES];
        if (unlink(doctor_path(plan, path, "%s", DOCTOR_SETTINGS_FILE)) < 0) {
                int error = -errno;
                complain("%s: %s", DOCTOR_SETTINGS_FILE, error_text(-error));
                return error;
        }
        if (out)
                fputs("Removed " DOCTOR_SETTINGS_FILE ".\n", out);
        return 0;
}

int doctor_undo(const struct doctor_plan *plan, struct doctor_settings *settings, FILE *out)
{
        bool there;
        int first_error = load(plan, settings, &there);
        if (first_error)
                return first_error;
        if (!there) {
                if (out)
                        fputs("Nothing to undo: there is no " DOCTOR_SETTINGS_FILE ".\n", out);
                return 0;
        }
        first_error = check_rights(plan, "--undo");
        if (first_error)
                return first_error;
        for (unsigned i = settings->count; i-- > 0;) {
                struct doctor_setting *setting = &settings->list[i];
                setting->error = put_back(plan, setting, out);
                if (!setting->error)
                        continue;
                complain("%s: %s", setting->name, error_text(-setting->error));
                first_error = first_error ? first_error : setting->error;
        }
        if (first_error)
                complain("%s stays, so that --undo can be run again", DOCTOR_SETTINGS_FILE);
        else
                first_error = remove_file(plan, out);
        return first_error;
}
