"""`leadline completion`."""

from __future__ import annotations

import argparse

SUMMARY = "print what lets a shell complete commands, settings, studies and runs"
HELP = """\
bash:  leadline completion bash > ~/.local/share/bash-completion/completions/leadline
zsh:   leadline completion zsh > a folder of $fpath, as _leadline
fish:  leadline completion fish > ~/.config/fish/completions/leadline.fish

example: leadline completion bash
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def call(chosen: argparse.Namespace) -> int:
    """Print the script."""
    from leadline.cli.completion import script

    print(script(chosen.shell, chosen.top), end="")
    return 0
