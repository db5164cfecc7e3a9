import ast
import dataclasses
import importlib
import re
import shlex
from pathlib import Path

import pytest
from conftest import noise, write_record

from dataset import CLASSES
from ecg.explanation.explanation import Explanation

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    block for page in PAGES for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.S)
]
LINES = [line for block in BLOCKS for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("python ")]
TARGETS = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)


def test_readme_shows_the_five_steps():
    for script in ("preprocess", "baselines", "main", "predict", "shap_values"):
        assert any(line.startswith(f"python {script}.py") for line in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_readme_command_parses(command):
    _, script, *argv = shlex.split(command.split(" > ")[0], comments=True)
    name = argv.pop(0) if script == "-m" else script.removesuffix(".py")
    assert vars(importlib.import_module(name).parse_args(argv))  # it stops at a wrong flag


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_readme_make_target_exists(line):
    assert shlex.split(line, comments=True)[1] in TARGETS


def test_the_page_on_modules_shows_code_that_runs(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs/modules.md").read_text()
    from_file = re.search(r"```python\n(.*?)```", page, re.S)[1]
    write_record(tmp_path / "data/example", "S0002", noise(3, 5000), "426783006")
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    exec(from_file, {})
    printed = capsys.readouterr().out
    assert all(f"'{name}': " in printed for name in CLASSES)


def test_the_page_on_modules_lists_the_keys_of_stored_explanations():
    listed = re.findall(r"^\| `(\w+)` \| \(", (ROOT / "docs/modules.md").read_text(), re.M)
    assert listed == [field.name for field in dataclasses.fields(Explanation)]


def test_readme_names_every_file_of_the_house():
    text = (ROOT / "README.md").read_text()
    for path in [*ROOT.glob("*.py"), *ROOT.glob("ecg/*.py")]:
        assert path.name == "__init__.py" or f"{path.name} " in text, path.name


def test_the_citation_is_of_this_version_and_of_the_paper_that_the_readme_names():
    text = (ROOT / "CITATION.cff").read_text()
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]
    assert f"\nversion: {version}\n" in text and text.startswith("cff-version: 1.2.0\nmessage: ")
    doi = re.search(r"doi.org/(10\.1016/\S+?)[),]", (ROOT / "README.md").read_text())[1]
    assert "\npreferred-citation:\n  type: article\n" in text and f"\n  doi: {doi}\n" in text
    assert "license: MIT" in text and (ROOT / "LICENSE").read_text().startswith("MIT")


@pytest.mark.parametrize("path", [*ROOT.glob("*.py"), *ROOT.glob("ecg/*.py")], ids=lambda p: p.name)
def test_help_explains_every_flag_without_empty_defaults(path, capsys):
    if "def parse_args(" not in path.read_text():
        return
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(name).parse_args(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "None" not in text and "(default: False)" not in text
    examples = re.findall(r"^    python .*", ast.get_docstring(ast.parse(path.read_text())), re.M)
    assert examples and text.rstrip().split("examples:\n")[1].splitlines()[0] == examples[0]


def test_the_flags_of_answers_come_first_and_the_report_trains_nothing(capsys):
    texts = {}
    for name in ("ecg.read", "ecg.report"):
        with pytest.raises(SystemExit):
            importlib.import_module(name).parse_args(["--help"])
        texts[name] = capsys.readouterr().out.split("options:")[1]
    first = re.findall(r"^  (--[\w-]+)", texts["ecg.read"], re.M)
    assert first.index("--json") < first.index("--batch-size") < first.index("--data-dir")
    assert "channels" not in texts["ecg.report"] and "depth" not in texts["ecg.report"]
