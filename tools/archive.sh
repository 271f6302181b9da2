#!/bin/sh
# archive.sh ARCHIVE FOLDER OBJECT...: one archive of one member, in which hidden symbols have become local.
set -eu
archive=$1 folder=$2
shift 2
mkdir -p "$folder"
ld -r -o "$folder/berth.o" "$@"
objcopy --localize-hidden "$folder/berth.o"
rm -f "$archive"
ar rcsD "$archive" "$folder/berth.o"
