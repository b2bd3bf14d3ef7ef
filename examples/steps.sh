# What the demos have in common: lines on the screen (3), also where a command's result goes to a file.
exec 3>&1

step() { printf '\n== %s\n' "$*" >&3; }
show() {
    printf '$ %s\n' "$*" >&3
    "$@"
}
no_tune() { # $1: the exit code
    if [ "$1" = 2 ]; then
        echo "If $run is of an older demo, model or data set, remove it (rm -r $run) and run the demo again." >&2
    fi
    exit "$1"
}
