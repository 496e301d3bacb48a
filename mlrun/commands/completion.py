"""`mlrun completion SHELL`: the script that completes commands, choices and keys in bash, zsh or fish."""

from __future__ import annotations

import argparse

SUMMARY = "print the completion script of a shell: bash, zsh or fish"
# COMP_WORDBREAKS contains "=" and ":", so bash replaces only what follows the last of them.
_BASH = """\
_mlrun() {
    local line="${COMP_LINE:0:COMP_POINT}" current candidate
    current="${line##* }"
    local kept=""
    case "$current" in *[=:]*) kept="${current%[=:]*}"; kept="$kept${current:${#kept}:1}" ;; esac
    COMPREPLY=()
    while IFS= read -r candidate; do
        COMPREPLY+=("${candidate#"$kept"}")
        case "$candidate" in *[=.]) compopt -o nospace 2>/dev/null ;; esac
    done < <(mlrun completion --line "$line" 2>/dev/null)
}
complete -o default -F _mlrun mlrun
"""
SCRIPTS = {
    "bash": _BASH,
    "zsh": f"autoload -U +X bashcompinit && bashcompinit\n{_BASH}",
    "fish": "complete -c mlrun -f -a '(mlrun completion --line (commandline -cp) 2>/dev/null)'\n"
    "complete -c mlrun -n '__fish_seen_subcommand_from predict evaluate errors diagnose resume sync' -F\n",
}
_LINES = {
    "bash": 'eval "$(mlrun completion bash)"    in ~/.bashrc',
    "zsh": 'eval "$(mlrun completion zsh)"    in ~/.zshrc',
    "fish": "mlrun completion fish | source    in ~/.config/fish/config.fish",
}


def run(argv: list[str]) -> int:
    """Prints the script, or the completions of a line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="mlrun completion",
        description="Prints the script that completes commands, choices and keys. To install it, add one line:",
        epilog="\n".join(f"  {shell}: {line}" for shell, line in _LINES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", nargs="?", choices=tuple(SCRIPTS))
    parser.add_argument("--line", help=argparse.SUPPRESS)  # the line up to the cursor: from the scripts
    arguments = parser.parse_args(argv)
    if arguments.line is not None:
        from mlrun.commands import verbs
        from mlrun.config.completion import completions

        words = arguments.line.split()[1:] + [""] * arguments.line.endswith(" ")
        print("\n".join(completions(words, verbs())))
    elif arguments.shell is None:
        parser.print_help()
    else:
        print(SCRIPTS[arguments.shell], end="")
    return 0
