"""Scripts that complete `leadline` in a shell, written from the parser itself.

Every word is in the script: a shell that completes starts no Python. Only runs are looked up, by
the shell, as the folders of `runs/`. A script must be printed again after an update.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

from leadline.config import SCHEMAS
from leadline.config.shipped import options, shipped, studies

# Commands whose words are settings, and those whose words are runs or studies.
SETTINGS, RUNS = ("run", "ablate", "plan"), ("show", "compare", "predict")
STUDIES = ("ablate", "plan", "report")
KEYS = ("seed=", "runs_dir=", "data_dir=", "data.path=", "data.label=", "data.fraction=")


TOP_FLAGS = ("--help", "--version")
# How a shell lists the runs that are there.
RUNS_OF_BASH, RUNS_OF_ZSH = '" $(ls runs 2>/dev/null)"', " runs/*(N/:t)"


@dataclass(frozen=True, slots=True)
class Words:
    """What may follow each command: its flags, and other words."""

    flags: tuple[str, ...]
    others: tuple[str, ...]
    runs: bool

    def said(self) -> list[str]:
        """Return all words."""
        return [*self.flags, *self.others]


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """Write the script for one shell."""
    return {"bash": bash, "zsh": zsh, "fish": fish}[shell](words_of(parser))


def words_of(parser: argparse.ArgumentParser) -> dict[str, Words]:
    """Read the commands, their flags and their words off the parser."""
    subparsers = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    found = {}
    for name, command in subparsers.choices.items():
        flags = tuple(flag for a in command._actions for flag in a.option_strings if "--" in flag)
        chosen = [str(c) for a in command._actions if not a.option_strings for c in a.choices or ()]
        others = [*chosen]
        if name in SETTINGS:
            others += settings()
        if name in STUDIES:
            others += studies()
        if name == "doctor":
            others += options("data")
        found[name] = Words(flags, tuple(others), name in RUNS)
    return found


def settings() -> list[str]:
    """Give the settings that are worth completing, with the names that groups offer."""
    launchers = sorted(path.stem for path in (shipped("conf") / "hydra/launcher").glob("*.yaml"))
    groups = [f"{group}={name}" for group in SCHEMAS for name in options(group)]
    return [*groups, *(f"hydra/launcher={name}" for name in launchers), *KEYS]


def bash(commands: Mapping[str, Words]) -> str:
    """Write it for bash."""
    cases = "\n".join(
        f"    {name}) known={quoted(words.said())}{RUNS_OF_BASH * words.runs} ;;"
        for name, words in commands.items()
    )
    return f"""\
# leadline completion for bash
_leadline() {{
  # The word up to the cursor, also where bash takes '=' for the end of a word.
  local line=${{COMP_LINE:0:COMP_POINT}} known
  local word=${{line##* }}
  case ${{COMP_WORDS[1]}} in
{cases}
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then known={quoted([*commands, *TOP_FLAGS])}; fi
  COMPREPLY=($(compgen -W "$known" -- "$word"))
  case "${{COMPREPLY[*]}}" in
    *=) compopt -o nospace 2>/dev/null ;;
  esac
  if [[ $word == *=* && $COMP_WORDBREAKS == *=* ]]; then
    COMPREPLY=("${{COMPREPLY[@]#"${{word%%=*}}="}}")
    word=${{word#*=}}
  fi
  if [ -z "${{COMPREPLY[*]}}" ]; then COMPREPLY=($(compgen -f -- "$word")); fi
}}
complete -F _leadline leadline
"""


def zsh(commands: Mapping[str, Words]) -> str:
    """Write it for zsh."""
    cases = "\n".join(
        f"    {name}) known=({' '.join(words.said())}{RUNS_OF_ZSH * words.runs}) ;;"
        for name, words in commands.items()
    )
    return f"""\
#compdef leadline
# leadline completion for zsh
_leadline() {{
  local -a known
  if (( CURRENT == 2 )); then
    compadd -- {" ".join([*commands, *TOP_FLAGS])}
    return
  fi
  case ${{words[2]}} in
{cases}
  esac
  compadd -- $known
  _files
}}
if [ "$funcstack[1]" = _leadline ]; then _leadline "$@"; else compdef _leadline leadline; fi
"""


def fish(commands: Mapping[str, Words]) -> str:
    """Write it for fish."""
    lines = ["# leadline completion for fish", "complete -c leadline -n __fish_use_subcommand -f"]
    lines.append(f"complete -c leadline -n __fish_use_subcommand -a '{' '.join(commands)}'")
    for name, words in commands.items():
        here = f"complete -c leadline -n '__fish_seen_subcommand_from {name}'"
        lines += [f"{here} -l {flag.removeprefix('--')}" for flag in words.flags]
        if words.others:
            lines.append(f"{here} -a '{' '.join(words.others)}'")
        if words.runs:
            lines.append(f"{here} -a '(ls runs 2>/dev/null)'")
    return "\n".join(lines) + "\n"


def quoted(words: list[str]) -> str:
    """Quote words as one."""
    return '"' + " ".join(words) + '"'


def call(chosen: argparse.Namespace) -> int:
    """Print the script."""
    print(script(chosen.shell, chosen.top), end="")
    return 0
