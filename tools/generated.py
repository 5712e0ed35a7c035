"""Writes the parts of the documentation that are made from the code: ``python -m tools.generated``. ``--check`` only compares.

Each part is between ``<!-- generated: NAME -->`` and ``<!-- end -->`` in a page of ``docs/``. A part without an end is not in the
repository. It is made when the site is built: MkDocs loads this file and calls its ``on_`` functions.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import json
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT))  # MkDocs loads only this file, and benchmarks/ and tools/ are not installed

import typer  # noqa: E402

import mien  # noqa: E402
from mien.assets import demo_photo  # noqa: E402
from mien.bundles import open_bundle  # noqa: E402
from mien.cli import app  # noqa: E402
from mien.results import Emotions, ErrorResult, Face, FrameResult, ModelRef, csv_columns  # noqa: E402
from tools.docstrings import markdown  # noqa: E402

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

PLACEHOLDER = re.compile(r"^<!-- generated: (\w+) -->$(?:\n\n((?:(?!<!-- generated).)*?)\n\n<!-- end -->$)?", re.MULTILINE | re.DOTALL)
EXACT = {"card"}  # blocks in which every digit must be equal
DECIMALS = re.compile(r"\d+\.\d+(?:e-?\d+)?")
NUMBERS = re.compile(r"\[[\d.,\s]+\]")  # lists that are easier to read on one line
COMMAND = re.compile(r"``(python -m (?:benchmarks|tools)[^`]+)``")
Command = Any  # Typer contains its own copy of click, and the classes of that copy are not public


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that have no file in docs/."""
    from mkdocs.structure.files import File

    for name, text in {
        "contributing.md": (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        "releasing.md": (ROOT / "RELEASING.md").read_text(encoding="utf-8"),
    }.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(text: str, /, **_: object) -> str:
    """Fill the placeholders of a page."""
    return PLACEHOLDER.sub(lambda match: BLOCKS[match[1]](), text)


def main() -> None:
    """Write the blocks into the pages, or check that they match the code."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if a page is old")
    check = parser.parse_args().check
    for page in sorted((ROOT / "docs").glob("*.md")):
        old = page.read_text(encoding="utf-8")
        new = written(old)
        if check and old_blocks(old):
            raise SystemExit(f"{page.name} is old; run: python -m tools.generated")
        if not check and old != new:
            page.write_text(new, encoding="utf-8")


def written(text: str) -> str:
    """Return a page in which every outdated block is replaced."""

    def fill(match: re.Match[str]) -> str:
        if match[2] is None or _same(match[1], match[2], block := BLOCKS[match[1]]()):
            return match[0]
        return f"<!-- generated: {match[1]} -->\n\n{block}\n\n<!-- end -->"

    return PLACEHOLDER.sub(fill, text)


def old_blocks(text: str) -> list[str]:
    """Return the names of the blocks of a page that do not match the code."""
    held = [(match[1], match[2]) for match in PLACEHOLDER.finditer(text) if match[2] is not None]
    return [name for name, block in held if not _same(name, block, BLOCKS[name]())]


def _same(name: str, held: str, new: str) -> bool:
    """Return whether two versions of a block are equal. In most blocks, decimals may differ, because they depend on the processor."""
    return held == new if name in EXACT else DECIMALS.sub("", held) == DECIMALS.sub("", new)


def command_line() -> str:
    """Return every verb and option with its help text."""
    root: Command = typer.main.get_command(app)
    parts = [str(root.help)]
    for name, command in verbs(root):
        parts += [f"## mien {name}", str(command.help or ""), f"`{usage(name, command)}`"]
        if rows := [_row(parameter) for parameter in command.params if parameter.name != "help"]:
            parts.append(table(("", "", "default"), rows))
    parts.append(
        "Data goes to stdout, words and progress to stderr. `-` is stdin. Nothing that exists is replaced without `--overwrite`. "
        "The exit status is 0 when all went well, 1 when something failed, a missing file, model or data set included, 2 when the "
        "call was wrong."
    )
    return "\n\n".join(parts)


def card() -> str:
    """Return the shipped model's card, without its title."""
    return (open_bundle().folder / "card.md").read_text(encoding="utf-8").split("\n", 1)[1].strip()


def verbs(command: Command, prefix: str = "") -> Iterator[tuple[str, Command]]:
    """Yield every verb of a group and of the groups inside it as (words after ``mien``, command)."""
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from verbs(child, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", child


def usage(name: str, command: Command) -> str:
    """Return the usage line of a verb."""
    arguments = [p.metavar or p.name.upper() + ("..." if p.nargs == -1 else "") for p in command.params if p.param_type_name == "argument"]
    return " ".join(["mien", name, "[OPTIONS]", *arguments])


def _row(parameter: Command) -> tuple[str, str, str]:
    is_option = parameter.param_type_name == "option"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts)) if is_option else f"`{parameter.name.upper()}`"
    default = "required" if parameter.required else "" if parameter.default in (None, False, (), []) else f"`{parameter.default}`"
    return names, (parameter.help or "").replace("|", "\\|"), default


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def schema() -> str:
    """Return the fields of every record, with types and meaning, from the dataclasses."""
    parts = []
    for kind in (FrameResult, Face, Emotions, ModelRef, ErrorResult):
        rows = [(f"`{f.name}`", f"`{f.type}`".replace("|", "\\|"), _default(f)) for f in dataclasses.fields(kind)]
        text = markdown(str(kind.__doc__).split(">>>", maxsplit=1)[0])
        parts.append(f"### {kind.__name__}\n\n{_unindented(text)}\n\n{table(('field', 'type', 'default'), rows)}")
    return "\n\n".join(parts)


def _default(field: dataclasses.Field[Any]) -> str:
    return "" if field.default is dataclasses.MISSING else f"`{field.default!r}`"


def _unindented(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


def record() -> str:
    """Return the record of the bundled photograph, as JSON."""
    return _json(mien.analyze(demo_photo()).to_dict() | {"source": "photo.jpg"})


def error_record() -> str:
    """Return the record of a missing file, as JSON."""
    (result,) = mien.Pipeline().analyze_many(["missing.jpg"])
    return _json(result.to_dict())


def columns() -> str:
    """Return the CSV and Parquet columns for the labels of the shipped model."""
    return _fenced("text", textwrap.fill(", ".join(csv_columns(open_bundle().spec.labels)), 110))


def spec() -> str:
    """Return the spec.json of the shipped bundle."""
    return _fenced("json", (open_bundle().folder / "spec.json").read_text(encoding="utf-8"))


def errors() -> str:
    """Return the tree of errors, and the error codes in records."""
    from mien import errors

    tree = str(errors.__doc__).split("::\n", 1)[1].split("\n\nEach", 1)[0]
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.MienError)]
    rows = [(f"`{kind.code}`", f"`{kind.__name__}`") for kind in kinds]
    return _fenced("text", "\n".join(line[4:] for line in tree.splitlines())) + "\n\n" + table(("code", "class"), rows)


def benchmarks() -> str:
    """Return the command of every benchmark and what it measures, from the start of its docstring."""
    return table(("command", "what it measures"), _commands_in("benchmarks"))


def tools() -> str:
    """Return every command of tools/ and what it does, from the start of its docstring."""
    return table(("command", "what it does"), _commands_in("tools"))


def _commands_in(place: str) -> list[tuple[str, str]]:
    """Return the commands of a folder of the repository, each with the text of its docstring before the command."""
    rows = []
    folder = ROOT / place
    for file in sorted([*folder.glob("*.py"), *folder.glob("*/__main__.py")]):
        name = file.parent.name if file.stem == "__main__" else file.stem
        said = str(ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))))
        command = COMMAND.search(said)
        if command and f".{name}" in command[1]:
            rows.append((f"`{command[1]}`", said[: command.start()].strip(" :\n")))
    return rows


def experiments() -> str:
    """Return every experiment with its figure and its outcome, from the front matter of its page."""
    rows = []
    for page in sorted((ROOT / "docs" / "experiments").glob("*.md")):
        said = front_matter(page)
        rows.append((f"[{said['title']}](experiments/{page.name})", said["public_test"], said["outcome"]))
    return table(("experiment", "PublicTest % (95 % interval)", "outcome"), rows)


def decisions() -> str:
    """Return every decision with its date, from the first lines of its record."""
    rows = []
    for page in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        said = front_matter(page)
        rows.append((f"[{said['title']}](decisions/{page.name})", said["choice"], said["decided"]))
    return table(("decision", "in short", "date"), rows)


def front_matter(page: Path) -> dict[str, str]:
    """Return the keys between the two ``---`` lines at the top of a page.

    Raises:
        SystemExit: the page has no such lines.
    """
    import yaml

    _, _, rest = page.read_text(encoding="utf-8").partition("---\n")
    head, end, _ = rest.partition("\n---\n")
    if not end:
        raise SystemExit(f"{page} does not begin with its keys between two lines of ---; see another page of {page.parent.name}/")
    said: dict[str, str] = yaml.safe_load(head)
    return said


def layers() -> str:
    """Return the import layers of the package, from pyproject.toml."""
    return _layers_of("mien")


def train_layers() -> str:
    """Return the import layers of the training wing, from pyproject.toml."""
    return _layers_of("mien.train")


def _layers_of(package: str) -> str:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [one for one in settings["tool"]["importlinter"]["contracts"] if one.get("containers") == [package]]
    return _fenced("text", "\n".join(layer.replace("(", "").replace(")", "") for layer in contract["layers"]))


def recipes() -> str:
    """Return the shipped recipes, each with the comment at its top."""
    rows = []
    for file in sorted((Path(mien.__file__).parent / "train/recipes").glob("*.toml")):
        comment = [line.lstrip("# ") for line in file.read_text(encoding="utf-8").split("\n\n", 1)[0].splitlines() if line.startswith("#")]
        rows.append((f"`{file.stem}`", " ".join(comment)))
    return table(("recipe", ""), rows)


def example_list() -> str:
    """Return every example and what it does."""
    return table(("`examples/`", ""), [(f"`{file.name}`", _first_line(file)) for file in sorted((ROOT / "examples").glob("*.py"))])


def _first_line(file: Path) -> str:
    return str(ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))).split("\n", 1)[0]


def examples() -> str:
    """Return every example with its source code."""
    parts = []
    for file in sorted((ROOT / "examples").glob("*.py")):
        source = file.read_text(encoding="utf-8")
        parts.append(f"## {file.name}\n\n{ast.get_docstring(ast.parse(source))}\n\n{_fenced('python', source)}")
    return "\n\n".join(parts)


def _json(values: dict[str, Any]) -> str:
    text = json.dumps(values, indent=2, ensure_ascii=False)
    return _fenced("json", NUMBERS.sub(lambda match: " ".join(match[0].split()), text))


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.strip()}\n```"


BLOCKS: dict[str, Callable[[], str]] = {
    "benchmarks": benchmarks,
    "card": card,
    "columns": columns,
    "command_line": command_line,
    "decisions": decisions,
    "error_record": error_record,
    "errors": errors,
    "example_list": example_list,
    "examples": examples,
    "experiments": experiments,
    "layers": layers,
    "recipes": recipes,
    "record": record,
    "schema": schema,
    "spec": spec,
    "tools": tools,
    "train_layers": train_layers,
}

if __name__ == "__main__":
    main()
