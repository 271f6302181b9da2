/* Dates, RFC 9110 5.6.7, and the calendar under them. No libc: its time functions know locales,
 * time zones and locks.
 *
 * Days are counted from 1 January of year 1 in the Gregorian calendar, carried back unchanged. The
 * three forms of a date are three templates; a letter of a template stands for a part of the date,
 * everything else for itself.
 */
#include "http/http_priv.h"

enum {
        SECONDS_A_DAY = 86400,
        DAYS_TO_1970 = 719162,
        DAYS_IN_4_YEARS = 4 * 365 + 1,
        DAYS_IN_100_YEARS = 25 * DAYS_IN_4_YEARS - 1,
        DAYS_IN_400_YEARS = 4 * DAYS_IN_100_YEARS + 1,
};

static const int64_t first_second = -(int64_t)DAYS_TO_1970 * SECONDS_A_DAY; /* 0001-01-01 00:00:00 */
static const int64_t last_second = 253402300799;                            /* 9999-12-31 23:59:59 */

static const char days[7][10] = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" };
static const char months[12][4] = {
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
};

/* Days of a common year before each month. */
static const int days_before[13] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365 };

struct moment {
        int year, month, day; /* 1.., 0..11, 1..31 */
        int hour, minute, second;
        int weekday; /* 0 is Sunday; not used by to_seconds() */
};

static bool is_leap(int year)
{
        return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int days_in_month(int year, int month)
{
        return days_before[month + 1] - days_before[month] + (month == 1 && is_leap(year));
}

static int64_t to_seconds(const struct moment *m)
{
        int64_t before = m->year - 1;
        int64_t day = before * 365 + before / 4 - before / 100 + before / 400;

        day += days_before[m->month] + (m->month > 1 && is_leap(m->year)) + m->day - 1;
        return (day - DAYS_TO_1970) * SECONDS_A_DAY + m->hour * 3600 + m->minute * 60 + m->second;
}

/* The last day of a leap cycle would count as the first of a year, or century, too many. */
static int whole_periods(int *day, int period_days, int most)
{
        int periods = min_of(*day / period_days, most);

        *day -= periods * period_days;
        return periods;
}

static struct moment from_seconds(int64_t unix_seconds)
{
        int64_t seconds = max_of(first_second, min_of(unix_seconds, last_second)) - first_second;
        int day = (int)(seconds / SECONDS_A_DAY), second = (int)(seconds % SECONDS_A_DAY);
        struct moment m = { .weekday = (day + 1) % 7 };

        m.year = 1 + 400 * whole_periods(&day, DAYS_IN_400_YEARS, 24);
        m.year += 100 * whole_periods(&day, DAYS_IN_100_YEARS, 3);
        m.year += 4 * whole_periods(&day, DAYS_IN_4_YEARS, 24);
        m.year += whole_periods(&day, 365, 3);
        while (day >= days_in_month(m.year, m.month))
                day -= days_in_month(m.year, m.month++);
        m.day = day + 1;
        m.hour = second / 3600;
        m.minute = second / 60 % 60;
        m.second = second % 60;
        return m;
}

static void put_digits(char *out, int value, int count)
{
        while (count-- > 0) {
                out[count] = (char)('0' + value % 10);
                value /= 10;
        }
}

void http_format_date(char out[HTTP_DATE_BYTES], int64_t unix_seconds)
{
        struct moment m = from_seconds(unix_seconds);

        memcpy(out, "Sun, 06 Nov 1994 08:49:37 GMT", HTTP_DATE_BYTES);
        memcpy(out, days[m.weekday], 3);
        put_digits(out + 5, m.day, 2);
        memcpy(out + 8, months[m.month], 3);
        put_digits(out + 12, m.year, 4);
        put_digits(out + 17, m.hour, 2);
        put_digits(out + 20, m.minute, 2);
        put_digits(out + 23, m.second, 2);
}

/* ---- parsing: each take_ function moves *rest behind what it read ---- */

static bool take_text(struct span *rest, const char *text, size_t size)
{
        if (rest->size < size || memcmp(rest->data, text, size) != 0)
                return false;
        rest->data += size;
        rest->size -= size;
        return true;
}

static bool take_digits(struct span *rest, int count, int *value)
{
        *value = 0;
        if (rest->size < (size_t)count)
                return false;
        for (int i = 0; i < count; i++) {
                if (!http_is_digit(rest->data[i]))
                        return false;
                *value = *value * 10 + (rest->data[i] - '0');
        }
        return take_text(rest, rest->data, (size_t)count);
}

static bool take_day_name(struct span *rest, bool whole)
{
        for (size_t i = 0; i < array_count(days); i++) {
                if (take_text(rest, days[i], whole ? strlen(days[i]) : 3))
                        return true;
        }
        return false;
}

static bool take_month(struct span *rest, int *month)
{
        for (*month = 0; *month < 12; ++*month) {
                if (take_text(rest, months[*month], 3))
                        return true;
        }
        return false;
}

static bool take_time(struct span *rest, struct moment *m)
{
        return take_digits(rest, 2, &m->hour) && take_text(rest, ":", 1) && take_digits(rest, 2, &m->minute) &&
               take_text(rest, ":", 1) && take_digits(rest, 2, &m->second);
}

/* a A: the day's name, short and long. D e: the day, padded with zero and with space. m: the month.
 * Y y: the year in four digits and two. t: the time. */
static bool take_part(struct span *rest, char part, struct moment *m)
{
        switch (part) {
        case 'a':
        case 'A':
                return take_day_name(rest, part == 'A');
        case 'e':
                if (take_text(rest, " ", 1))
                        return take_digits(rest, 1, &m->day);
                return take_digits(rest, 2, &m->day);
        case 'D':
                return take_digits(rest, 2, &m->day);
        case 'm':
                return take_month(rest, &m->month);
        case 'Y':
                return take_digits(rest, 4, &m->year);
        case 'y':
                return take_digits(rest, 2, &m->year);
        case 't':
                return take_time(rest, m);
        default:
                return take_text(rest, &part, 1);
        }
}

static bool matches(struct span value, const char *form, struct moment *m)
{
        *m = (struct moment){ 0 };
        for (; *form != '\0'; form++) {
                if (!take_part(&value, *form, m))
                        return false;
        }
        return value.size == 0;
}

/* The latest year with these two digits that puts the moment no more than 50 years ahead. */
static void complete_year(struct moment *m, int64_t now)
{
        struct moment limit = from_seconds(now);

        limit.year += 50;
        m->year += limit.year - limit.year % 100;
        if (m->year > limit.year)
                m->year -= 100;
        if (to_seconds(m) > to_seconds(&limit))
                m->year -= 100;
}

/* A leap second (:60) is the first second of the next minute. */
static bool is_real(const struct moment *m)
{
        return m->year >= 1 && m->year <= 9999 && m->day >= 1 && m->day <= days_in_month(m->year, m->month) &&
               m->hour <= 23 && m->minute <= 59 && m->second <= 60;
}

bool http_parse_date(struct span value, int64_t now, int64_t *unix_seconds)
{
        struct moment m;

        if (matches(value, "A, D-m-y t GMT", &m))
                complete_year(&m, now);
        else if (!matches(value, "a, D m Y t GMT", &m) && !matches(value, "a m e t Y", &m))
                return false;
        if (!is_real(&m))
                return false;
        *unix_seconds = to_seconds(&m);
        return true;
}
