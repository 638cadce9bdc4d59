"""Parse the arguments of commands: help by topic, and errors of one line that say what to do."""

import argparse
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from difflib import get_close_matches
from types import NoneType
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

WIDTH = 100  # columns of the help at most
EXPECTED = {int: "a whole number", float: "a number"}  # of flags, by their type
METAVARS = {int: "N", float: "X"}
MISSING = "the following arguments are required:"  # how argparse begins this message
YES, NO = ("yes", "true", "t", "y", "1"), ("no", "false", "f", "n", "0")


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that is closest to `name`; `None` where none is close."""
    return next(iter(get_close_matches(name, list(names), n=1)), None)


def suggest(name: str, names: Iterable[str]) -> str:
    """Return the end of a message that lists the names closest to `name`; empty where none is close."""
    close = get_close_matches(name, list(names), n=3)
    return f", such as {', '.join(close)}" if close else ""


class Switch(argparse.Action):
    """A flag that is on or off: `--name`, `--name no`, and `--no_name` where it is on by default."""

    def __init__(self, option_strings: Sequence[str], dest: str, default: bool = False, help: str | None = None):
        strings = [*option_strings, f"--no_{dest}"] if default else option_strings
        super().__init__(strings, dest, nargs="?", default=default, help=help)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | None,
        option_string: str | None = None,
    ) -> None:
        """Store whether the flag is on."""
        is_on = not (option_string or "").startswith("--no_")
        if values is not None:
            if not is_on or values.lower() not in (*YES, *NO):
                expected = "no value" if not is_on else "yes or no"
                raise argparse.ArgumentError(self, f"got {values!r}, expected {expected}")
            is_on = values.lower() in YES
        setattr(namespace, self.dest, is_on)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Writes each flag once, with what it expects and its default."""

    def __init__(self, prog: str, **options: Any):
        width = min(shutil.get_terminal_size().columns, WIDTH)
        super().__init__(prog, **{**options, "max_help_position": 32, "width": width})

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return METAVARS.get(action.type, "TEXT" if action.choices is None else "NAME")

    def _metavar_formatter(self, action: argparse.Action, default_metavar: str) -> Any:
        metavar = action.metavar or default_metavar
        return lambda count: metavar if isinstance(metavar, tuple) else (metavar,) * count

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return (
            ", ".join(action.option_strings)
            if isinstance(action, Switch)
            else super()._format_action_invocation(action)
        )

    def _get_help_string(self, action: argparse.Action) -> str:
        text, notes = action.help or "", []
        if action.choices is not None:
            notes.append(f"one of {', '.join(map(str, action.choices))}")
        has_default = not any(action.default is value for value in (None, False, argparse.SUPPRESS))
        if action.option_strings and has_default and "default" not in text:
            notes.append(f"default: {_as_typed(action)}")
        return f"{text} ({'; '.join(notes)})".replace("%", "%%") if notes else text.replace("%", "%%")


class CommandParser(argparse.ArgumentParser):
    """The parser of a command. Flags may be written with dashes; the nearest flag is suggested for one it lacks.

    Args:
        prog: the command, such as "storyattn tell".
        description: what it does.
        examples: command lines that show its use.
    """

    def __init__(self, prog: str, description: str, *examples: str):
        epilog = "\n  ".join(["examples:" if len(examples) > 1 else "example:", *examples]) if examples else None
        super().__init__(
            prog=prog,
            description=textwrap.fill(description, WIDTH),
            epilog=epilog,
            formatter_class=HelpFormatter,
            allow_abbrev=False,
        )

    def add_topic(self, title: str) -> argparse._ArgumentGroup:
        """Return the group of the flags with this title, which is made where it is missing."""
        existing = [group for group in self._action_groups if group.title == title]
        return existing[0] if existing else self.add_argument_group(title)

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse the arguments of the command; a wrong one, an unknown one, and `--help` end the program."""
        args = [with_underscores(text) for text in (sys.argv[1:] if args is None else args)]
        for flag in (text.partition("=")[0] for text in args if text.startswith("--") and text != "--"):
            if flag not in self._option_string_actions:
                close = nearest(flag, self._option_string_actions)
                advice = f"did you mean {close}?" if close else f"{self.prog} --help lists the flags"
                self.error(f"got {flag!r}, which is no flag of this command; {advice}")
        arguments, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"got {unknown[0]!r}, expected nothing more; {self.prog} --help shows an example")
        return arguments, []

    def error(self, message: str) -> NoReturn:
        """Print the message as one line, and end the program with exit status 2."""
        print(f"{self.prog}: {self.one_line(message)}", file=sys.stderr)
        raise SystemExit(2)

    def one_line(self, message: str) -> str:
        """Return a message of argparse in one line that says what to do."""
        message = " ".join(message.removeprefix("argument ").split())
        if message.startswith(MISSING):
            return f"missing{message.removeprefix(MISSING)}; {self.prog} --help shows an example"
        message = re.sub(r"expected ((?:at least )?one) argument$", r"got no value, expected \1", message)
        return re.sub(r"expected (\d+) arguments?$", r"got another number of values, expected \1", message)

    def format_help(self) -> str:
        """Return the help, with topics before the other flags and a short usage."""
        required = [action for action in self._actions if action.required and action.option_strings]
        parts = [f"{action.option_strings[0]} {action.metavar or 'TEXT'}" for action in required]
        positional = [action.metavar or action.dest for action in self._actions if not action.option_strings]
        self.usage = self.usage or " ".join(["%(prog)s", *positional, *parts, "[flags]"])
        topics = [group for group in self._action_groups if group not in (self._positionals, self._optionals)]
        self._positionals.title = "arguments"
        self._optionals.title = "other" if topics else "flags"
        self._action_groups = [self._positionals, *topics, self._optionals]
        return super().format_help()

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            close = nearest(str(value), choices)
            advice = f"; did you mean {close!r}?" if close else ""
            expected = ", ".join(map(repr, choices))
            raise argparse.ArgumentError(action, f"got {value!r}, expected one of {expected}{advice}")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            expected = EXPECTED.get(action.type)
            if expected is None:
                raise
            raise argparse.ArgumentError(action, f"got {arg_string!r}, expected {expected}") from error


def with_underscores(argument: str) -> str:
    """Return a flag such as `--batch-size=4` as `--batch_size=4`; anything else as it is."""
    if not argument.startswith("--"):
        return argument
    flag, equals, value = argument.partition("=")
    return f"--{flag[2:].replace('-', '_')}{equals}{value}"


def _as_typed(action: argparse.Action) -> str:
    """Return the default of a flag as it is written on the command line."""
    default = action.default
    if isinstance(action, Switch):
        return action.option_strings[0]
    if isinstance(default, (list, tuple)):
        return " ".join(map(str, default))
    return str(default) if default != "" else "''"


def add_fields(parser: CommandParser, group: type, without: Collection[str] = ()) -> None:
    """Add a flag for each field of a dataclass, with the type of the field, and the help and topic of its metadata.

    Args:
        parser: the parser.
        group: the dataclass.
        without: fields that get no flag.
    """
    types, topic = get_type_hints(group), None
    for item in fields(group):
        topic = item.metadata["topic"] or topic
        if item.name in without:
            continue
        (kind,) = {*(get_args(types[item.name]) if _is_optional(types[item.name]) else [types[item.name]])} - {NoneType}
        options = {"default": item.default, "help": item.metadata["help"]}
        if kind is bool:
            options["action"] = Switch
        elif get_origin(kind) is Literal:
            options["choices"] = get_args(kind)
        else:
            options["type"] = kind
        parser.add_topic(topic).add_argument(f"--{item.name}", **options)


def _is_optional(kind: Any) -> bool:
    return NoneType in get_args(kind)


def portable_command(words: list[str], without: Collection[str]) -> str:
    """Return a command line without some flags, given by name, and without their values."""
    kept, flags = [], {f"--{name}" for name in without}
    rest = iter(words)
    for word in rest:
        flag, equals, _ = with_underscores(word).partition("=")
        if flag not in flags:
            kept.append(word)
        elif not equals:
            next(rest, None)
    return shlex.join(kept)
