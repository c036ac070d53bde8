"""``phloem init``: a new organism in a folder of the user's, small, running and tested.

Decides which files there are, what stands in their way, and that all are written or none.
Each template is a folder of real files under ``templates/``; of a new organism only its name
is written into them. Imports nothing that it makes.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import click

from .retyping import phloem_name, python_name, typed, typed_path
from .shell import Settings, common_options, pass_settings

__all__ = ["command"]

_TEMPLATES: Final[Mapping[str, Sequence[str]]] = {  # each with what it imports
    "minimal": ("handlers.py",),
    "pipeline": ("handlers.py",),
    "todo": ("handlers.py",),
    "debate": ("payloads.py", "stand_in.py"),
    "tool-user": ("handlers.py", "stand_in.py"),
    "research": ("handlers.py", "stand_in.py"),
}
_BESIDE: Final = ("test_organism.py", "README.md", ".env.example", "messages.ndjson")
_NAME_LINE: Final = "  name: my-organism\n"  # as it stands in each template, so that they run as they are
_PLAIN: Final = re.compile("[a-z][a-z0-9]*([-_][a-z0-9]+)*")  # what YAML may take for a text without quotes
_NOT_TEXT: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


@click.command("init", short_help="Make a new organism, with a test of it.")
@click.argument("name")
@click.option(
    "--template",
    type=click.Choice(tuple(_TEMPLATES)),
    default="minimal",
    show_default=True,
    help="What it begins as.",
)
@click.option("--force", is_flag=True, help="Overwrite these files where they are there already.")
@common_options
@pass_settings
def command(settings: Settings, name: str, template: str, force: bool) -> int:
    """Make a folder NAME with a new organism in it. NAME may be a path; its last part names the organism.

    \b
    minimal    one listener, which answers
    pipeline   three listeners, one of them an agent; constraints and budgets
    todo       an agent that leaves a todo, is reminded, and reads its history
    debate     a judge and two sides, agents without code, on a model
    tool-user  an agent with a tool, and one whose handler asks the model
    research   agents that work side by side; budgets of tokens and money
    The last three run without a key as well: a script stands in for the model.
    Nothing is overwritten without --force, and no other file is touched.
    """
    organism = _organism_name(name)
    folder = Path(name)
    if os.path.lexists(folder) and not folder.is_dir():
        raise click.UsageError(f"NAME {name}: there is a file of that name", click.get_current_context())
    files = _files(template)
    taken = [each for each in files if os.path.lexists(folder / each)]
    if taken and not force:
        many = "are there already; --force overwrites them"
        one = "is there already; --force overwrites it"
        raise click.UsageError(
            f"NAME {name}: {', '.join(taken)} {one if len(taken) == 1 else many}", click.get_current_context()
        )
    _write(folder, _contents(template, organism), force=force)
    if not settings.quiet:
        _tell(name, files)
    return 0


def _files(template: str) -> tuple[str, ...]:
    return ("organism.yaml", *_TEMPLATES[template], *_BESIDE)


def _organism_name(name: str) -> str:
    """The last part of the path. Raises BadParameter if no organism can be called so."""
    from phloem.loading.names import organism_name_problem

    last = os.path.basename(os.path.abspath(name)) if name else ""
    problem = organism_name_problem(last)
    if problem is not None:
        found, expected = problem
        raise click.BadParameter(f"found {found}, expected {expected}", param_hint="NAME")
    return last


def _contents(template: str, organism: str) -> dict[str, bytes]:
    """What each file is to hold. Raises OSError if this phloem was installed without its templates."""
    source = Path(__file__).with_name("templates") / template.replace("-", "_")  # as packages are called
    contents = {name: (source / name).read_bytes() for name in _files(template)}
    line = f"  name: {_yaml_text(organism)}\n".encode()
    contents["organism.yaml"] = contents["organism.yaml"].replace(_NAME_LINE.encode(), line, 1)
    return contents


def _yaml_text(text: str) -> str:
    """As YAML: without quotes where nobody could take it for anything but a text."""
    if _PLAIN.fullmatch(text) and text not in _NOT_TEXT:
        return text
    return json.dumps(text, ensure_ascii=False)  # YAML reads JSON's strings


def _write(folder: Path, contents: Mapping[str, bytes], *, force: bool) -> None:
    """All files or none: each is written beside its place first. Raises OSError, which names the file."""
    import secrets  # brings OpenSSL: not for --help, which loads this file for its one line

    mark = secrets.token_hex(4)  # nobody's file is called so, not even a draft that was left by a crash
    with ExitStack() as undo:
        for place in reversed([folder, *folder.parents]):
            if not place.exists():  # asked one by one: with NAME new/.. the last is there by then
                place.mkdir()
                undo.callback(_remove_folder, place)
        drafts: dict[Path, Path] = {}
        for name, content in contents.items():
            path = folder / name
            _refuse_folder(path)
            draft = drafts[path] = folder / f".{name}.{mark}"
            with _named(path), draft.open("xb") as file:
                undo.callback(draft.unlink, missing_ok=True)
                file.write(content)
        replaced: list[str] = []
        for path, draft in drafts.items():
            with _named(path, replaced):
                if not force:
                    path.touch(exist_ok=False)  # whoever came first keeps theirs
                    undo.callback(path.unlink, missing_ok=True)
                draft.replace(path)
            if force:
                replaced.append(path.name)
        undo.pop_all()


@contextmanager
def _named(path: Path, replaced: Sequence[str] = ()) -> Iterator[None]:
    """An error tells of the file that was asked for, not of its draft, and of what can not be undone."""
    try:
        yield
    except OSError as error:
        if replaced:
            done = ", ".join(replaced)
            raise click.ClickException(f"{path}: {error.strerror}; overwritten before it: {done}") from error
        error.filename = str(path)
        raise


def _refuse_folder(path: Path) -> None:
    """No file takes the place of a folder, and it must be known before the first one is replaced."""
    if path.is_dir() and not path.is_symlink():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def _remove_folder(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        return  # somebody has put something into it meanwhile: then it is theirs


def _tell(name: str, files: Sequence[str]) -> None:
    organism, messages, test = (
        typed_path(os.path.join(name, each))
        for each in ("organism.yaml", "messages.ndjson", "test_organism.py")
    )
    lines = (
        f"Made {typed([typed_path(name)])}: {', '.join(files)}.",
        "",
        "Next, run it over its messages, then its test:",
        f"  {typed([*phloem_name(), 'run', organism, '--batch', messages])}",
        f"  {typed([*python_name(), test])}",
    )
    # As bytes, as the folder's name is: a path may be no text of the terminal's encoding.
    click.echo(os.fsencode("\n".join(lines)))
