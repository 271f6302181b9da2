"""What of these tests does not apply to berth.exe, or cannot be seen under Wine, by name and with the reason.
docs/windows.md lists it for people."""
import fnmatch
import re

# Files whose tests apply. The others are about what only Linux has: mounts, control groups, unix sockets, the kernel's
# limits; other servers; crowds of thousands, of which Wine is too slow to show anything.
FILES = ['messages', 'fields', 'ranges', 'conditions', 'folders', 'paths', 'transfers', 'bad_input', 'auth', 'dav_put',
         'dav_ranges', 'dav_tree', 'dav_props', 'dav_expect', 'dav_refusals', 'dav_rights', 'dav_hidden',
         'dav_clients', 'process', 'admin', 'log', 'load', 'clients', 'windows']

# Why, and what of each file; * stands for anything. The last four are Wine's shortcomings, not Windows'.
NOT = {
    'nobody tells of changes from outside: they are seen within a second': {
        'conditions': ['test_a_change_shows_at_once', 'test_a_file_that_appears_is_found_and_one_that_goes_is_not',
                       'test_a_file_becomes_a_folder_and_back'],
        'folders': ['test_a_folder_whose_index_goes_is_listed'],
        'transfers': ['test_a_file_truncated_while_it_is_sent_ends_the_connection',
                      'test_a_file_removed_or_replaced_is_sent_to_its_end[removed]', 'test_a_removed_file_is_let_go'],
    },
    'no file of Windows has such a name': {
        'fields': ['test_content_type[a.-application/octet-stream]'],
        'folders': ['test_a_folder_named_like_a_host_or_a_field'],
        'paths': ['test_utf8_names[semi:colon]', 'test_utf8_names[star*]'],
        'dav_put': [f'test_names_of_any_bytes[{name}]' for name in (
            'a%3Fb', '%3C%26%22%3E%27', 'a%5Cb', 'latin-1%20%E9', '%FF%FE', 'tab%09and%0Aline', '%01%7F', '%2A', 'C%3A',
            'end.', 'end%20', 'x..')],
        'dav_props': ['test_markup_in_names[<&">\']', 'test_markup_in_names[]]>]'],
    },
    'links are not followed, and not made': {
        'paths': ['test_links_inside_are_followed', 'test_symlinks_never',
                  'test_a_link_that_turns_outward_later_is_noticed'],
        'dav_tree': ['test_symbolic_links'],
        'dav_refusals': ['test_links_to_the_outside_lead_nowhere', 'test_links_that_stay_inside', 'test_no_links_at_all',
                         'test_a_folder_with_links_is_copied_moved_and_deleted_without_what_they_lead_to'],
        'dav_hidden': ['test_a_link_to_a_hidden_name_is_made_only_where_hidden_names_are_served',
                       'test_where_they_are_a_link_may_lead_to_them'],
    },
    'a name in other letters is the same name, and rules hold for it': {
        'auth': ['test_what_names_nothing_shows_nothing[/PRIVATE/file]'],
    },
    'of a mode there is only whether a file may be written to': {
        'dav_put': ['test_permissions_of_a_replaced_file_stay'],
        'dav_props': ['test_posix_properties'],
    },
    'there is no SIGHUP': {
        'log': ['test_hangup_*'],
        'auth': ['test_the_files_are_read_anew', 'test_verdicts_do_not_outlive_the_files',
                 'test_a_verdict_by_files_of_before_is_not_kept', 'test_a_bad_file_changes_nothing',
                 'test_many_reloads_while_passwords_are_checked'],
    },
    'the folder has another name in Windows': {
        'process': ['test_the_start_up_line_tells_what_matters'],
    },
    'it is about a limit of Linux': {
        'load': ['test_it_says_how_many_addresses_are_needed',
                 'test_too_few_addresses_are_refused_with_the_arithmetic',
                 'test_epoll_needs_descriptors_and_says_so',
                 'test_rings_without_direct_descriptors_need_descriptors',
                 'test_sources_without_the_rings_bind_need_descriptors'],
        'admin': ['test_it_answers_while_descriptors_are_short'],
        'dav_put': ['test_a_full_disk_*', 'test_no_room_for_another_name'],
        'dav_props': ['test_no_room_for_properties'],
    },
    'there are no unix sockets': {
        'clients': ['test_curl_at_a_unix_socket'],
    },
    'metrics tell of the process and the system what Windows does': {
        'admin': ['test_what_the_kernel_tells', 'test_what_the_process_is'],
    },
    'there are no named pipes in folders': {
        'load': ['test_figures_may_go_into_a_pipe'],
        'paths': ['test_a_fifo_neither_hangs_nor_shows'],
        'dav_refusals': ['test_other_kinds_of_files'],
    },
    'Wine has no data streams, where properties and locks are kept': {
        'dav_put': ['test_a_checksum_is_told_by_propfind', 'test_who_meets_a_lock_need_not_send_the_body'],
        'dav_ranges': ['test_locks', 'test_truncating_what_is_locked'],
        'dav_expect': ['test_a_copy_of_what_is_locked', 'test_a_locked_file_is_refused_before_the_body',
                       'test_a_shared_lock_beside_another'],
        'dav_rights': ['test_a_lock_does_not_reach_where_its_maker_may_not_write',
                       'test_who_may_write_all_of_it_may_lock_it'],
        'dav_tree': ['test_properties_go_along', 'test_a_files_properties_go_along', 'test_properties_are_replaced',
                     'test_a_locked_destination', 'test_locks_do_not_travel', 'test_a_folder_locked_as_a_whole',
                     'test_delete_tells_which_members_stay', 'test_a_hard_link_in_a_locked_folder'],
        'dav_clients': ['test_litmus', 'test_cadaver', 'test_davfs2'],
        'dav_props': ['test_dead_properties_*', 'test_all_changes_or_none', 'test_allprop', 'test_propname',
                      'test_set_and_remove_in_the_order_of_the_document',
                      'test_the_language_of_a_property_is_that_around_it', 'test_office_edits_a_document',
                      'test_finder_copies_a_file', 'test_explorer_saves_a_file'],
    },
    'Wine replaces a file in two steps, between which nothing stands there': {
        'dav_put': ['test_no_update_is_lost_between_many_writers'],
    },
    'Wine looks for each name on a long way anew: it takes minutes': {
        'dav_refusals': ['test_two_hundred_folders_deep'],
    },
    "Wine's XmlLite takes for well-formed what is not, reads UTF-8 and UTF-16 alone, and keeps an empty element's prefixes": {
        'dav_props': [*(f'test_malformed_propfind[{what}]' for what in (
            'undeclared prefix', 'empty declaration', 'control bytes', 'no UTF-8')),
                      *(f'test_malformed_proppatch[{what}]' for what in ('cut off', 'undeclared prefix')),
                      'test_other_encodings_that_xml_knows',
                      'test_prop_tells_what_was_asked_and_nothing_else'],
    },
}


def applies(stem, there):
    """Whether a file of tests is for Windows, or where that is not `there` for elsewhere."""
    if not stem.startswith('test_'):
        return True
    return stem.removeprefix('test_') in FILES if there else stem != 'test_windows'


def fits(test, pattern):
    """A pattern may end with [the last parameter]."""
    pattern, _, parameter = pattern.partition('[')
    return fnmatch.fnmatchcase(test.partition('[')[0], pattern) and (not parameter or test.endswith('-' + parameter))


def may_be_a_name(name):
    """Whether a file of Windows may have this name (bytes)."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return False
    return not re.search(r'[\0-\x1f<>:"/\\|?*]|[. ]$', text)


def why_not(nodeid):
    file, _, test = nodeid.removeprefix('tests/e2e/').partition('::')
    for reason, files in NOT.items():
        if any(fits(test, pattern) for pattern in files.get(file.removeprefix('test_').removesuffix('.py'), [])):
            return reason
    return None
