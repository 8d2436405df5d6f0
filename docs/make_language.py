"""Gather the messages of the clinic's pages in its languages: `python docs/make_language.py`.

A message that is new gets an empty translation in each `languages/CODE.po`, to be filled in; one that is gone
is dropped. Another language is begun by `python docs/make_language.py CODE`.
"""

from __future__ import annotations

import ast
import io
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po
from jinja2 import Environment, nodes

from dermsentry.clinic import checklists
from dermsentry.clinic.store.events import ACTIONS
from dermsentry.clinic.worklist.body_map import REGIONS
from dermsentry.image_formats import READ

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "dermsentry"
FOLDER = SOURCE / "clinic" / "languages"
TEMPLATES = {
    "extensions": "jinja2.ext.i18n",
    "trimmed": "true",
    "newstyle_gettext": "true",
    "silent": "false",
}
CALLS = {"_": None, "lazy": None, "ngettext": (1, 2), "word": None}
NAMES = {
    "Diagnosis": (1, "name"),
    "Term": (1, "name"),
    "View": (0, "name"),
    "Check": (0, "name"),
    "Rule": (0, "name"),
}
"""Of what is made by a call, the argument that people read."""
SENTENCES = (
    "screening/triage.py", "screening/quality.py", "guarded.py", "screening/guarded.py", "images.py", "dicom",
    "adoption/fitting.py", "adoption/promise.py", "adoption/report.py",
    *(f"clinic/{name}" for name in (
        "alerts/delivery.py", "checklists.py", "intake/admission.py", "intake/dicom.py", "monitoring",
        "server/processes.py", "store", "web", "worker/screener.py", "worker/worker.py", "worklist",
    )),
)  # fmt: skip
UNSEEN = (
    "web/root_path.py", "web/openid.py", "web/api", "web/app.py", "web/wording.py", "store/folder.py",
    "store/events.py", "store/tables.py", "store/migrations", "dicom/text.py",
)  # fmt: skip
"""Whose sentences, made in English, reach people in front of a page; and what of that does not."""
PROSE = ("adoption_verdict.txt", "adoption_caveats.txt")
"""Text templates of `reporting` whose sentences, made in English, pages show."""
WORDS = (
    "alert", "referral", "below", "refuses", "flags", "much", "somewhat", "starting", "melanoma", "sharpness",
    "patients", "validation",
    "brightness", "contrast", "no-lesion", "out-of-distribution", "screening", "housekeeping", "matching",
    "left", "right", "ABCD rule", "7-point checklist", READ,
)  # fmt: skip
"""Single words that are put into such sentences."""
UNSAID = (
    "log", "say", "axes", "field", "Field", "Query", "Form", "HTTPBearer", "FastAPI", "text",
    "APIRouter", "AssertionError", "RuntimeError", "ValueError", "MarkdownIt", "_", "lazy", "ngettext",
)  # fmt: skip
"""What is called with text that nobody is shown, or with a message that is marked."""


_UNUSED = tuple(
    f'"{name}:' for name in (
        "Project-Id-Version", "Report-Msgid-Bugs-To", "Last-Translator", "Language-Team", "POT-Creation-Date",
        "PO-Revision-Date", "Generated-By",
    )
)  # fmt: skip


def messages() -> Catalog:
    """Every message, and the files that it is in."""
    found = Catalog(project="Dermsentry", charset="utf-8", fuzzy=False)
    for path in sorted((SOURCE / "clinic").rglob("*")):
        if path.suffix in (".html", ".js", ".py") and "min." not in path.name:
            for message in _marked(path):
                _add(found, path, message)
    for name in (
        "diagnoses.py",
        "clinic/worklist/terms.py",
        "clinic/worklist/body_map.py",
        "clinic/web/pages/health.py",
        "clinic/settings.py",
    ):
        for message in _names(ast.parse((SOURCE / name).read_text(encoding="utf-8"))):
            _add(found, SOURCE / name, message)
    for name in SENTENCES:
        place = SOURCE / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            if any(unseen in path.as_posix() for unseen in UNSEEN):
                continue
            for message in sentences(ast.parse(path.read_text(encoding="utf-8"))):
                if path.name != "body_map.py" or message[:1].isupper():  # its regions are below, in parts
                    _add(found, path, message)
    for name in PROSE:
        path = SOURCE / "reporting" / "templates" / name
        for message in prose(path.read_text(encoding="utf-8")):
            _add(found, path, message)
    named = (checklists.COLOURS, checklists.STRUCTURES, checklists.CRITERIA, checklists.VERDICTS)
    listed = [name for own in named for name in own.values()] + [
        *checklists.FIELDS[:4],
        "colour",
        "structure",
    ]
    for word in (
        *WORDS,
        *ACTIONS,
        *listed,
        *(part for region in REGIONS for part in region.split(", ") if part != "close"),
    ):
        _add(found, SOURCE / "clinic" / "language.py", word)
    return found


def _add(catalog: Catalog, path: Path, message: str | tuple[str, ...]) -> None:
    known = catalog.get(message[0] if isinstance(message, tuple) else message)
    place = (path.relative_to(ROOT).as_posix(), 1)
    catalog.add(message, locations=sorted({*(known.locations if known else ()), place}))


def _marked(path: Path) -> Iterator[str | tuple[str, ...]]:
    """What is marked for translation in a template, a script or code."""
    method = {".html": "jinja2.ext:babel_extract", ".js": "javascript", ".py": "python"}[path.suffix]
    options = TEMPLATES if path.suffix == ".html" else {}
    keywords = {**CALLS, "gettext": None}
    with path.open("rb") as file:
        for _line, text, _comments, _context in extract(method, file, keywords, options=options):
            yield text


def _names(tree: ast.AST) -> Iterator[str]:
    """What is named for people in data: diagnoses, views of the body map, checks, rules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMES:
            place, keyword = NAMES[node.func.id]
            given = [own.value for own in node.keywords if own.arg == keyword] or node.args[place : place + 1]
            if given and isinstance(given[0], ast.Constant):
                yield str(given[0].value)


def sentences(tree: ast.AST) -> Iterator[str]:
    """The English sentences that code makes, with `%(name)s` for what is put into them."""
    hidden: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant | ast.JoinedStr):
            hidden.update(ast.walk(node.value))  # a docstring
        if isinstance(node, ast.Call):
            called = node.func
            names = [own.id for own in ast.walk(called) if isinstance(own, ast.Name)]
            if names and names[-1] in UNSAID:
                hidden.update(own for own in ast.walk(node) if own is not called)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            hidden.update(own for made in node.decorator_list for own in ast.walk(made))
        if isinstance(node, ast.Dict):
            hidden.update(own for key in node.keys if key for own in ast.walk(key))
        if isinstance(node, ast.Compare | ast.Subscript):
            hidden.update(ast.walk(node))
        if isinstance(node, ast.Assert):
            hidden.update(ast.walk(node))
    for node in ast.walk(tree):
        if node in hidden:
            continue
        if isinstance(node, ast.JoinedStr):
            hidden.update(own for own in node.values if isinstance(own, ast.Constant))
            text = _template(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = re.sub(r"\{(\w+)\}", r"%(\1)s", node.value.replace("%", "%%"))
        else:
            continue
        if _is_prose(text):
            yield text


def _template(node: ast.JoinedStr) -> str:
    parts, used = [], {}
    for part in node.values:
        if isinstance(part, ast.Constant):
            parts.append(str(part.value).replace("%", "%%"))
        elif isinstance(part, ast.FormattedValue):
            key = ast.unparse(part)
            name = _name(part.value)
            while used.setdefault(name, key) != key:
                name += "_"
            parts.append(f"%({name})s")
    return "".join(parts)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id.strip("_") or "value"
    if isinstance(node, ast.Attribute):
        return node.attr
    inner = [own for own in ast.walk(node) if isinstance(own, ast.Name | ast.Attribute)]
    return _name(inner[-1]) if inner and inner[-1] is not node else "value"


def prose(source: str) -> Iterator[str]:
    """The English sentences of a text template: a block's, one for each way through its conditions."""
    tree = Environment().parse(source)
    for block in tree.find_all(nodes.Block):
        for way in _ways(block.body):
            if text := " ".join("".join(_placed(way)).split()):
                yield text
    for counted in tree.find_all(nodes.Filter):
        if counted.name == "counted":  # what it makes is put into a sentence
            one, *many = [own.as_const() for own in counted.args]
            plural = many[0] if many else f"{one}s"
            yield from (f"%(number)s {one}", f"%(number)s {plural}", f"no {plural}")


def _ways(body: Iterable[nodes.Node]) -> Iterator[tuple[str | nodes.Expr, ...]]:
    """What nodes may write: texts, and expressions that give one."""
    written: list[list[tuple[str | nodes.Expr, ...]]] = []
    for node in body:
        if isinstance(node, nodes.If):
            branches = [node.body, *(own.body for own in node.elif_), node.else_]
            written.append([way for branch in branches for way in _ways(branch)])
        elif isinstance(node, nodes.Output):
            for part in node.nodes:
                if isinstance(part, nodes.CondExpr) and part.expr2 is not None:
                    written.append([(own.as_const(),) for own in (part.expr1, part.expr2)])
                else:
                    written.append([(part.data if isinstance(part, nodes.TemplateData) else part,)])  # type: ignore[list-item]
    for ways in product(*written):
        yield tuple(part for way in ways for part in way)


def _placed(way: Iterable[str | nodes.Expr]) -> Iterator[str]:
    """Texts as they are, and a place for each expression."""
    used: set[str] = set()
    for part in way:
        if isinstance(part, str):
            yield part.replace("%", "%%")
            continue
        inner = [part] if isinstance(part, nodes.Getattr) else list(part.find_all(nodes.Getattr))
        name = inner[0].attr
        while name in used:
            name += "_"
        used.add(name)
        yield f"%({name})s"


def _is_prose(text: str) -> bool:
    plain = re.sub(r"%\(\w+\)s", "", text)
    words = re.findall(r"[A-Za-z]{2,}", plain)
    technical = (
        re.search(r"[<>{}=]|://|^\s*[Dd]ermsentry|^sealed|'none'|no-cache|SELECT", plain) or plain.isupper()
    )
    enough = len(words) >= 2 or (plain != text and len("".join(words)) >= 6)
    return " " in text.strip() and enough and not technical


def update(catalog: Catalog, found: Catalog) -> Catalog:
    """A language with the messages that there are, the translations that it has, and nothing else."""
    made = Catalog(locale=catalog.locale, project="Dermsentry", charset="utf-8", fuzzy=False)
    for message in sorted((own for own in found if own.id), key=lambda own: (own.locations, str(own.id))):
        known = catalog.get(message.id[0] if isinstance(message.id, tuple) else message.id)
        same = known is not None and known.id == message.id
        empty = ("",) * made.num_plurals if isinstance(message.id, tuple) else ""
        made.add(message.id, known.string if same else empty, locations=message.locations)
    return made


def text_of(catalog: Catalog) -> str:
    """A language as its file."""
    written = io.BytesIO()
    write_po(written, catalog, width=110, omit_header=False, include_lineno=False)
    lines = written.getvalue().decode().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(("# ", "#\n", *_UNUSED))).lstrip("\n")


def main(codes: list[str]) -> None:
    """Write every language anew, and those of these codes."""
    found = messages()
    for code in sorted({*codes, *(path.stem for path in FOLDER.glob("*.po"))}):
        path = FOLDER / f"{code}.po"
        text = path.read_bytes() if path.exists() else b""
        path.write_text(text_of(update(read_po(io.BytesIO(text), locale=code), found)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
