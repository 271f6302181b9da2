"""What `meson install` leaves is complete, and a program can be built on it through pkg-config."""
import os
import shutil
import subprocess
import tempfile

import echo
import tap

with tempfile.TemporaryDirectory() as top:
    tap.output('meson', 'install', '-C', tap.release, '--no-rebuild', '--destdir', top)
    prefix = f'{top}/usr/local'
    files = {os.path.relpath(os.path.join(folder, name), prefix): os.path.join(folder, name)
             for folder, _, names in os.walk(prefix) for name in names}
    library = os.path.dirname(next((path for path in files.values() if path.endswith('/libberth.a')), prefix))

    pages = ['berth.1', 'berth-serve.1', 'berth-load.1', 'berth-doctor.1', 'berth-mount.1', 'berth-unmount.1']
    wanted = ['bin/berth', 'include/berth/port.h'] + [f'share/man/man1/{page}' for page in pages] + [
        os.path.relpath(f'{library}/{name}', prefix)
        for name in ['libberth.a', 'libberth.so', 'libberth.so.0', 'pkgconfig/berth.pc']]
    tap.check('everything is installed', [name for name in wanted if name not in files])
    helper = f'{top}/sbin/mount.berth'
    tap.check('mount(8) finds mount.berth', [] if os.path.islink(helper) and os.readlink(helper) == '/usr/local/bin/berth' else [
        'not a link to /usr/local/bin/berth'])
    tap.check('nothing else is installed', [name for name in files
                                            if name not in wanted and not name.split('/')[-1].startswith('libberth.so.')])

    environment = {**os.environ, 'PKG_CONFIG_LIBDIR': f'{library}/pkgconfig:{tap.output("pkg-config", "--variable=pc_path", "pkg-config").strip()}',
                   'PKG_CONFIG_SYSROOT_DIR': '', 'LD_LIBRARY_PATH': library}

    def flags(*options):
        return tap.output('pkg-config', '--define-variable=prefix=' + prefix, *options, 'berth', env=environment).split()

    version = tap.output(f'{prefix}/bin/berth', '--version')
    tap.check('the program and pkg-config agree on the version',
              [] if flags('--modversion')[0] in version.split() else [version])

    example = f'{tap.source}/examples/echo.c'
    tap.output('gcc', '-Wall', '-Wextra', '-Werror', example, '-o', f'{top}/shared', *flags('--cflags', '--libs'))
    tap.check('echo.c runs with the shared library', echo.talk(f'{top}/shared', environment=environment))

    os.makedirs(f'{top}/static-only')
    shutil.copy(f'{library}/libberth.a', f'{top}/static-only')
    tap.output('gcc', example, '-o', f'{top}/static', f'-L{top}/static-only', *flags('--static', '--cflags', '--libs-only-l'))
    linked = subprocess.run(['ldd', f'{top}/static'], stdout=subprocess.PIPE, text=True, check=False).stdout
    tap.check('echo.c runs with the archive', echo.talk(f'{top}/static') + ([linked] if 'libberth' in linked else []))
tap.finish()
