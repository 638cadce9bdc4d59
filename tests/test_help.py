"""What the commands print for `--help` and for a mistyped flag, and what they import for it."""

import argparse
import re
import subprocess
import sys
from importlib import import_module

import pytest
from storyattn.training.arguments import Parser
from storyattn.training.cli import COMMANDS, data
from storyattn.training.common.command_line import WIDTH, CommandParser
from storyattn.training.common.defaults import SCONE_DOMAINS
from storyattn.training.scone import DOMAINS

GROUPS = ("data",)  # commands that have commands
MODULES = {name: module for name, module in COMMANDS.items() if name not in (*GROUPS, "train")}
MODULES |= {f"data {name}": module for name, module in data.COMMANDS.items()}
PARSERS = {
    "train": Parser,
    **{name: import_module(module, "storyattn.training.cli").build_parser for name, module in MODULES.items()},
}
HEAVY = ("torch", "transformers", "datasets", "matplotlib", "accelerate", "huggingface_hub", "fastapi")


@pytest.fixture(params=PARSERS)
def parser(request, monkeypatch) -> CommandParser:
    """The parser of each command."""
    monkeypatch.setenv("COLUMNS", "200")
    return PARSERS[request.param]()


def flags_of(parser: CommandParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings]


def test_help_is_narrow_and_ends_with_an_example(parser):
    text = parser.format_help()
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.startswith(f"usage: {parser.prog} ")
    description, _, examples = text.partition("\nexample")
    assert description and f"  {parser.prog} " in examples


def test_help_lists_every_flag_once_with_its_default(parser):
    text = parser.format_help().partition("\n\n")[2].partition("\nexample")[0]
    for action in flags_of(parser):
        assert len(re.findall(rf"^  (?:-+\w+, )?{action.option_strings[-1]}(?![\w-])", text, re.MULTILINE)) == 1
        assert action.help
        if not any(action.default is value for value in (None, False, argparse.SUPPRESS)):
            entry_of = rf"^  (?:-+\w+, )?{action.option_strings[-1]}(?![\w-]).*(?:\n {{20,}}.*)*"
            (entry,) = re.findall(entry_of, text, re.MULTILINE)
            assert "default: " in " ".join(entry.split()), entry


def test_a_mistyped_flag_is_one_line_with_the_nearest(parser, capsys):
    flag = flags_of(parser)[-1].option_strings[-1]
    with pytest.raises((SystemExit, ValueError)) as ended:
        parser.parse_args([f"{flag}x"])
    (line,) = (capsys.readouterr().err or str(ended.value)).splitlines()
    assert f"got '{flag}x'" in line and f"did you mean {flag}?" in line


def test_a_missing_flag_is_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        PARSERS["tell"]().parse_args(["--frames", "a.png"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "storyattn tell: missing --model; storyattn tell --help shows an example\n"


def test_flags_may_be_written_with_dashes():
    flags = PARSERS["tell"]().parse_args(["--model", "a-b", "--max-new-tokens=4", "--do-sample"])
    assert flags.model == "a-b" and flags.max_new_tokens == 4 and flags.do_sample


def test_a_switch_that_is_on_says_how_to_turn_it_off():
    text = Parser().format_help()
    assert text.count("--use_ema, --no_use_ema") == 1 and "with --no_use_ema the last weights" in " ".join(text.split())


def test_the_domains_of_the_flag_are_those_of_scone():
    assert tuple(DOMAINS) == SCONE_DOMAINS


PROGRAM = """
import sys
from storyattn.training.cli import main

for command in sys.argv[1:]:
    for argument in ("--help", "--stepz"):
        try:
            main([*command.split(), argument])
        except SystemExit:
            pass
print(*sys.modules, file=sys.stderr)
"""


def test_help_and_mistyped_flags_import_no_large_library():
    commands = [*PARSERS, *GROUPS, ""]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *commands], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(done.stderr.splitlines()[-1].split()).isdisjoint(HEAVY)
    assert done.stdout.count("usage: storyattn ") == len(PARSERS)
