#!/bin/sh
# Makes a Git repository with two commits in the folder `project`, unless there is one: sh make_project.sh FOLDER
set -e
[ -d "$1/.git" ] && exit 0
git init -q "$1"
cd "$1"
as_author() { git -c user.name="Ada Example" -c user.email=ada@example.com "$@"; }
printf 'echo "3 passed"\n' >tests.sh
printf 'The harbour opens at eight.\n' >HOURS.md
git add .
as_author commit -q -m "Open the harbour"
printf 'The harbour opens at seven.\nWarnings are sent by radio.\n' >HOURS.md
git add .
as_author commit -q -m "Open an hour earlier, and warn by radio"
