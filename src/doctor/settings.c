/* The settings file: bytes in, settings out, and back. No I/O.
 *
 *     # was: net.core.somaxconn = 128
 *     net.core.somaxconn = 4096
 *
 * sysctl(8) reads the second line and passes the first by; undoing reads both. A setting without a `was` is not berth's
 * and stays as it is.
 */
#include "doctor/doctor_priv.h"

static bool copy(char *out, size_t size, struct span text)
{
        if (text.size == 0 || text.size >= size)
                return false;
        memcpy(out, text.data, text.size);
        out[text.size] = '\0';
        return true;
}

struct doctor_setting *doctor_settings_find(struct doctor_settings *settings, const char *name)
{
        for (unsigned i = 0; i < settings->count; i++)
                if (strcmp(settings->list[i].name, name) == 0)
                        return &settings->list[i];
        return NULL;
}

static struct doctor_setting *find_or_add(struct doctor_settings *settings, const char *name)
{
        struct doctor_setting *setting = doctor_settings_find(settings, name);
        if (setting || settings->count == array_count(settings->list))
                return setting;
        setting = &settings->list[settings->count++];
        *setting = (struct doctor_setting){ 0 };
        copy(setting->name, sizeof(setting->name), span_of(name));
        return setting;
}

static void take_line(struct doctor_settings *settings, struct span line)
{
        static const struct span mark = { "# was:", 6 };
        char name[sizeof(settings->list[0].name)], value[sizeof(settings->list[0].value)];
        bool was = line.size > mark.size && memcmp(line.data, mark.data, mark.size) == 0;
        if (was)
                line = (struct span){ line.data + mark.size, line.size - mark.size };
        else if (line.size == 0 || *line.data == '#' || *line.data == ';')
                return;
        struct span left = span_trim(span_cut(&line, '='));
        if (!line.data || !copy(name, sizeof(name), left) || !copy(value, sizeof(value), span_trim(line)))
                return;
        struct doctor_setting *setting = find_or_add(settings, name);
        if (setting)
                memcpy(was ? setting->was : setting->value, value, sizeof(value));
}

void doctor_settings_parse(struct doctor_settings *settings, struct span content)
{
        *settings = (struct doctor_settings){ 0 };
        while (content.size > 0)
                take_line(settings, span_trim(span_cut(&content, '\n')));
        unsigned kept = 0; /* a `was` alone says nothing */
        for (unsigned i = 0; i < settings->count; i++)
                if (settings->list[i].value[0])
                        settings->list[kept++] = settings->list[i];
        settings->count = kept;
}

void doctor_settings_format(const struct doctor_settings *settings, uint64_t connections, struct text *out)
{
        text_format(
                out,
                "# Written by 'berth doctor --apply' for %llu connections. 'berth doctor --undo' puts back what was\n"
                "# and removes this file.\n",
                (unsigned long long)connections);
        for (unsigned i = 0; i < settings->count; i++) {
                const struct doctor_setting *setting = &settings->list[i];
                text_char(out, '\n');
                if (setting->was[0])
                        text_format(out, "# was: %s = %s\n", setting->name, setting->was);
                text_format(out, "%s = %s\n", setting->name, setting->value);
        }
}

struct doctor_setting *doctor_settings_change(struct doctor_settings *settings, const char *name, const char *now,
                                              const char *value)
{
        struct doctor_setting *setting = find_or_add(settings, name);
        if (!setting)
                return NULL;
        if (!setting->was[0])
                copy(setting->was, sizeof(setting->was), span_of(now));
        copy(setting->value, sizeof(setting->value), span_of(value));
        copy(setting->from, sizeof(setting->from), span_of(now));
        copy(setting->to, sizeof(setting->to), span_of(value));
        setting->changed = true;
        return setting;
}
