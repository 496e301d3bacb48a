"""`mlrun completion SHELL`: the script that completes commands, choices, keys and options in bash, zsh or fish."""

from __future__ import annotations

import argparse
import io
import re
from contextlib import redirect_stdout, suppress
from importlib import import_module

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
# zsh compares candidates with the whole word.
_ZSH = """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_mlrun() {
    local -a found
    found=("${(@f)$(mlrun completion --line "${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)}")
    if [[ -z $found[1] ]]; then
        compset -P '*='
        _files
        return
    fi
    compadd -S '' -- ${(M)found:#*[=.]}
    compadd -- ${found:#*[=.]}
}
compdef _mlrun mlrun
"""
SCRIPTS = {
    "bash": _BASH,
    "zsh": _ZSH,
    "fish": "complete -c mlrun -f -a '(mlrun completion --line (commandline -cp) 2>/dev/null)'\n"
    "complete -c mlrun -n '__fish_seen_subcommand_from predict evaluate errors diagnose resume sync' -F\n",
}
RUN_OPTIONS = [
    "--cfg", "--config-dir", "--help", "--hydra-help", "--info", "--multirun", "--package", "--resolve", "--version", "-m",
]  # fmt: skip
_LINES = {
    "bash": 'eval "$(mlrun completion bash)"    in ~/.bashrc',
    "zsh": 'eval "$(mlrun completion zsh)"    in ~/.zshrc',
    "fish": "mlrun completion fish | source    in ~/.config/fish/config.fish",
}


def options(command: str | None) -> list[str]:
    """The options of a command, as its help lists them; None: those of a run."""
    if command is None:
        return RUN_OPTIONS
    text = io.StringIO()
    with redirect_stdout(text), suppress(SystemExit):
        import_module(f"mlrun.commands.{command}").run(["--help"])
    heads = re.findall(r"^ +(-.*?)(?:  |$)", text.getvalue(), re.MULTILINE)
    return sorted({option for head in heads for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", head)})


def run(argv: list[str]) -> int:
    """Prints the script, or the completions of a line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="mlrun completion",
        description="Prints the script that completes commands, choices, keys and options.",
        epilog="\n".join(["To install it, add one line:", *(f"  {shell:5} {line}" for shell, line in _LINES.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", nargs="?", choices=tuple(SCRIPTS))
    parser.add_argument("--line", help=argparse.SUPPRESS)  # the line up to the cursor: from the scripts
    arguments = parser.parse_args(argv)
    if arguments.line is not None:
        from mlrun.commands import verbs
        from mlrun.config.completion import completions

        words = arguments.line.split()[1:] + [""] * arguments.line.endswith(" ")
        print("\n".join(completions(words, verbs(), options)))
    elif arguments.shell is None:
        parser.print_help()
    else:
        print(SCRIPTS[arguments.shell], end="")
    return 0
