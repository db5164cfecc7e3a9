import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
OWN = {"ecg", *(file.stem for file in ROOT.glob("*.py"))}
PROJECT_NAMES = {"sklearn": "scikit-learn", "pywt": "PyWavelets", "PIL": "pillow"}


def test_requirements_are_the_imports_pinned():
    files = [*ROOT.glob("*.py"), *ROOT.glob("ecg/**/*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    imports = [node for node in nodes if isinstance(node, ast.Import)]
    names = {alias.name.split(".")[0] for node in imports for alias in node.names}
    names |= {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
    third_party = names - sys.stdlib_module_names - OWN
    lines = (ROOT / "requirements.txt").read_text().split()
    optional = {}
    for name in ("hospital", "layouts"):
        base, first, *pinned = (ROOT / f"requirements-{name}.txt").read_text().split()
        assert (base, first) == ("-r", "requirements.txt")
        optional[name] = [re.fullmatch(r"(\w+)==[\d.]+", line)[1] for line in pinned]
    assert optional["hospital"] == ["ecgdatakit", "pydicom"]  # which ecgdatakit imports for DICOM
    assert optional["layouts"] == ["h5py", "openpyxl"]
    third_party -= {"ecgdatakit", "h5py", "openpyxl"}
    assert lines == sorted(lines, key=str.lower)
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", line) for line in lines)
    assert {line.split("==")[0] for line in lines} == {
        PROJECT_NAMES.get(name, name) for name in third_party
    }


def pinned(*paths):
    """Return {package: versions} of files of requirements or of locks."""
    found = {}
    for path in paths:
        for name, version in re.findall(r"^([\w-]+)==([\w.]+)", path.read_text(), re.M):
            found.setdefault(name.lower(), set()).add(version)
    return found


def test_the_locks_are_those_of_the_requirements():
    asked, locked = pinned(*ROOT.glob("requirements*.txt")), pinned(*ROOT.glob("locks/*.txt"))
    assert {name: locked.get(name) for name in asked} == asked, "run: make lock"


def test_every_package_of_a_lock_has_its_hashes():
    for path in ROOT.glob("locks/*.txt"):
        text = re.sub(r"\\\n", "", path.read_text())
        for line in filter(lambda line: not line.startswith("#"), text.splitlines()):
            assert re.fullmatch(r"[\w-]+==[\w.]+( ; [^#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+", line)
