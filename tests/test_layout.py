"""The house: eight files on top, rooms below, and imports that run one way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STEPS = {"preprocess", "baselines", "main", "predict", "shap_values"}
SHARED = {"dataset", "resnet", "utils"}
FLOORS = (  # rooms of a floor import each other and those below, without circles
    {"simulation", "io", "processing", "running"},
    {"inference"},
    {"training", "evaluation", "explanation"},
    {"plot", "reporting"},
    {"reading"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in [*ROOT.glob("*.py"), *ROOT.glob("ecg/**/*.py")]
    if path.name != "__init__.py"
}


def imports(name):
    """Return the modules of this repository that a module imports, anywhere in its code."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found & set(FILES)


def test_eight_files_on_top_and_every_room_on_a_floor():
    assert {name for name in FILES if "." not in name} == STEPS | SHARED
    assert {name.split(".")[1] for name in FILES if name.count(".") == 2} <= set(FLOOR)
    assert all(not path.read_text() for path in ROOT.glob("ecg/**/__init__.py"))


@pytest.mark.parametrize("name", FILES)
def test_only_steps_and_commands_have_arguments_and_nothing_imports_them(name):
    command = name in STEPS or (name.startswith("ecg.") and name.count(".") == 1)
    text = FILES[name].read_text()
    guard = 'if __name__ == "__main__":\n    run_main(main, parse_args)\n'  # which knows Ctrl-C
    for part in ("def parse_args(argv=None):", "def main(args):", guard):
        assert (part in text) == command, part
    assert not {other for other in FILES if command and name in imports(other)}
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)]
    taken = {argument.arg for function in functions for argument in function.args.args}
    assert command or "args" not in taken, "a module takes values, not the flags"


@pytest.mark.parametrize("name", FILES)
def test_imports_run_one_way(name):
    used = imports(name)
    if name in SHARED:
        assert not {other for other in used if other.startswith("ecg.")}
        assert "dataset" not in used or name == "dataset"
    elif name.count(".") == 2:
        floor = FLOOR[name.split(".")[1]]
        rooms = {other.split(".")[1] for other in used if other.startswith("ecg.")}
        assert all(FLOOR[room] <= floor for room in rooms), used


def test_rooms_have_no_circles():
    below = {room: set() for room in FLOOR}
    for name in FILES:
        if name.count(".") == 2:
            room = name.split(".")[1]
            below[room] |= {n.split(".")[1] for n in imports(name) if n.startswith("ecg.")} - {room}
    while below:
        free = {room for room, others in below.items() if not others & set(below)}
        assert free, below
        below = {room: others for room, others in below.items() if room not in free}


def test_no_module_is_called_like_a_folder_that_a_run_makes():
    ignored = {line.strip().rstrip("/*") for line in (ROOT / ".gitignore").read_text().split()}
    assert {"data", "models", "results", "explanations"} <= ignored
    stems = {path.stem for path in [*FILES.values(), *ROOT.glob("benchmarks/*.py")]}
    assert not stems & (ignored | {"shap"})
